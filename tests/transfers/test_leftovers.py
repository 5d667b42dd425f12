"""Partial files nobody will go on with."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers.leftovers import forget, sweep
from connect_helper.transfers.state import Status
from connect_helper.transports.base import Proof
from connect_helper.transports.resume import Record, RecordStore, SourceId
from tests.support.managing import COMPLETES, manager, reaches, request, until


def leave(
    folder: Path, name: str, transfer_id: str, direction: Literal["send", "receive"] = "receive"
) -> Path:
    """Make a partial file with its record."""
    partial = folder / f"{name}.partial"
    partial.write_bytes(b"half")
    facts = partial.stat()
    proof = Proof(4, (), "")
    record = Record(
        transfer_id, direction, str(partial), facts.st_dev, facts.st_ino, SourceId(size=8, mtime_ns=1), proof
    )
    RecordStore(folder / "resume").save(name, record)
    return partial


def records(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "resume").glob("*.json"))


def test_what_a_removed_transfer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    mine, other = leave(tmp_path, "mine", "t1"), leave(tmp_path, "other", "t2")
    sent = leave(tmp_path, "sent", "t1", "send")  # its partial file is on the server, not at this path
    replaced = leave(tmp_path, "replaced", "t1")
    (tmp_path / "new").write_bytes(b"of the user")
    (tmp_path / "new").replace(replaced)
    gone = leave(tmp_path, "gone", "t1")
    gone.unlink()
    (tmp_path / "resume" / "odd.json").write_text("no record")
    assert forget(tmp_path / "resume", "t1") == 4
    assert not mine.exists()
    assert other.exists()
    assert sent.exists()
    assert replaced.read_bytes() == b"of the user"
    assert records(tmp_path) == ["odd", "other"]


@pytest.mark.parametrize("folder", ["missing", "resume"])
def test_where_nothing_is_nothing_is_done(tmp_path: Path, folder: str) -> None:
    (tmp_path / "resume").mkdir()
    assert forget(tmp_path / folder, "t1") == 0
    sweep([tmp_path / folder])


async def test_the_manager_sweeps_old_partial_files_when_it_starts(folders: Folders, tmp_path: Path) -> None:
    old, young = leave(tmp_path, "old", "t1"), leave(tmp_path, "young", "t2")
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(tmp_path / "resume" / "old.json", (long_ago, long_ago))
    plan = request(COMPLETES).plan.model_copy(update={"resume_folder": str(tmp_path / "resume")})
    async with manager(folders) as transfers:
        transfer = await transfers.submit(replace(request(), plan=plan))
        await reaches(transfer, Status.COMPLETED)
        assert old.exists()
    async with manager(folders):
        await until(lambda: not old.exists())
        assert young.exists()
