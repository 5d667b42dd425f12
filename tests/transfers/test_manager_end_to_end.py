"""The manager with its real worker processes against a stock sshd."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Download, HostKeys, LocalRef, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Status
from tests.support.managing import Askers, reaches, until
from tests.support.managing import request as scripted
from tests.support.sshd import SshServer

SIZE = 6 * 1024 * 1024
SLOW_KBPS = 6_000  # eight seconds for a file, so that a busy machine has time to do something in the middle
LIMIT_KBPS = 16_000


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mov"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def real_manager(folders: Folders, questions: Askers | None = None) -> TransferManager:
    return TransferManager(
        folders=folders,
        preferences=PreferencesStore(folders),
        questions=questions or Askers(),
        clock=Clock(fraction=lambda: 0.0),
    )


def local(path: Path) -> LocalRef:
    facts = path.stat()
    return LocalRef(path=str(path), device=facts.st_dev, inode=facts.st_ino)


def start(
    sshd: SshServer,
    folders: Folders,
    item: Upload | Download,
    *,
    rate_kbps: int | None = None,
    known: bool = True,
) -> StartRequest:
    plan = SessionPlan(
        transfer_id="",
        direction="send" if isinstance(item, Upload) else "receive",
        server=Server(host=sshd.host, port=sshd.port, addresses=(sshd.host,)),
        login=Login(user=sshd.user, private_key=SecretStr(sshd.client_key)),
        host_keys=HostKeys(trusted=(sshd.host_key_line,) if known else ()),
        items=(item,),
        rate_kbps=rate_kbps,
        resume_folder=str(folders.state / "resume"),
    )
    return replace(scripted(), plan=plan)


async def test_an_upload_to_a_new_server_asks_for_its_key_and_arrives(
    folders: Folders, sshd: SshServer, film: Path
) -> None:
    questions = Askers(True)
    target = sshd.root / "film.mov"
    async with real_manager(folders, questions) as transfers:
        item = Upload(source=local(film), target=str(target))
        transfer = await transfers.submit(start(sshd, folders, item, known=False))
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc == ""
        assert digest(target) == digest(film)
        assert [one.fingerprint for one in questions.asked] == [sshd.fingerprint]
        assert (transfer.bytes_written, transfer.bytes_expected) == (SIZE, SIZE)
        assert (transfer.counts.completed, transfer.counts.failed) == (1, 0)
        assert transfer.files[0].state == "done"
        assert transfer.elapsed_usec > 0


async def test_a_stopped_download_goes_on_where_it_was(folders: Folders, sshd: SshServer, film: Path) -> None:
    source = sshd.root / "film.mov"
    source.write_bytes(film.read_bytes())
    folders.downloads.mkdir()
    item = Download(source=str(source), root=local(folders.downloads), target=("film.mov",))
    async with real_manager(folders) as transfers:
        transfer = await transfers.submit(start(sshd, folders, item, rate_kbps=SLOW_KBPS))
        await until(lambda: transfer.bytes_written > 1536 * 1024)
        await transfers.stop(transfer.id)
        assert transfer.status is Status.CANCELLED
        assert [path.name for path in folders.downloads.iterdir()] != ["film.mov"]
        await transfers.set_rate(transfer.id, None, {})
        await transfers.resume(transfer.id)
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc == ""
        assert [path.name for path in folders.downloads.iterdir()] == ["film.mov"]
        assert digest(folders.downloads / "film.mov") == digest(film)


async def test_what_failed_at_first_is_not_told_of_a_transfer_that_completed(
    folders: Folders, sshd: SshServer
) -> None:
    """Folders that could not be made, and a file in one that is gone from the source by the next try."""
    source, target = sshd.root / "reel", folders.downloads / "reel"
    for name in ("in a folder/one", "in a folder/two", "three"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"content")
    (source / "empty").mkdir()
    target.mkdir(parents=True)
    for name in ("in a folder", "empty"):
        (target / name).write_bytes(b"in the way")
    item = Download(source=str(source), root=local(folders.downloads), target=("reel",))
    async with real_manager(folders) as transfers:
        transfer = await transfers.submit(start(sshd, folders, item))
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc.startswith("3 of 4 files failed. ")
        for name in ("in a folder", "empty"):
            (target / name).unlink()
        (source / "in a folder" / "two").unlink()
        await transfers.resume(transfer.id)
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc == ""
        page = await transfers.files(await transfers.look(transfer.id), limit=10)
        assert {Path(one.path).name: one.state for one in page.reports} == {"one": "done", "three": "done"}
    async with real_manager(folders) as transfers:
        shown = transfers.get(transfer.id).files.values()
        assert {one.state for one in shown} == {"done"}


async def test_a_removed_download_leaves_nothing_behind(
    folders: Folders, sshd: SshServer, film: Path
) -> None:
    source = sshd.root / "film.mov"
    source.write_bytes(film.read_bytes())
    folders.downloads.mkdir()
    item = Download(source=str(source), root=local(folders.downloads), target=("film.mov",))
    async with real_manager(folders) as transfers:
        transfer = await transfers.submit(start(sshd, folders, item, rate_kbps=SLOW_KBPS))
        await until(lambda: transfer.bytes_written > 1536 * 1024)
        await until(lambda: list((folders.state / "resume").glob("*.json")))
        await transfers.remove(transfer.id)
        assert list(folders.downloads.iterdir()) == []
        assert list((folders.state / "resume").glob("*.json")) == []


async def test_a_worker_killed_in_the_middle_costs_nothing(
    folders: Folders, sshd: SshServer, film: Path
) -> None:
    target = sshd.root / "film.mov"
    async with real_manager(folders) as transfers:
        item = Upload(source=local(film), target=str(target))
        transfer = await transfers.submit(start(sshd, folders, item, rate_kbps=SLOW_KBPS))
        await until(lambda: transfer.bytes_written > 1024 * 1024)
        assert not target.exists()
        (pid,) = transfers._pool.pids
        os.kill(pid, 9)
        await reaches(transfer, Status.WILL_RETRY)
        await transfers.set_rate(transfer.id, None, {})
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc == ""
        assert digest(target) == digest(film)


async def test_a_server_that_comes_back_is_tried_again(folders: Folders, sshd: SshServer, film: Path) -> None:
    target = sshd.root / "film.mov"
    async with real_manager(folders) as transfers:
        item = Upload(source=local(film), target=str(target))
        transfer = await transfers.submit(start(sshd, folders, item, rate_kbps=SLOW_KBPS))
        await until(lambda: transfer.bytes_written > 1024 * 1024)
        sshd.kill()
        sshd.start()
        await reaches(transfer, Status.WILL_RETRY)
        assert transfer.error == "connection_lost"
        await transfers.set_rate(transfer.id, None, {})
        await reaches(transfer, Status.COMPLETED, Status.FAILED)
        assert transfer.error_desc == ""
        assert digest(target) == digest(film)


async def test_the_limit_of_all_uploads_holds_on_the_wire(
    folders: Folders, sshd: SshServer, film: Path
) -> None:
    async with real_manager(folders) as transfers:
        transfers._queue._preferences.change({"upload_limit_kbps": LIMIT_KBPS})
        both = []
        for number in range(2):
            item = Upload(source=local(film), target=str(sshd.root / f"film-{number}.mov"))
            both.append(await transfers.submit(start(sshd, folders, item)))
        for transfer in both:
            await reaches(transfer, Status.COMPLETED, Status.FAILED)
        bits = 8 * sum(one.bytes_written for one in both)
        seconds = max(one.end_time for one in both) - min(one.start_time for one in both)
        assert bits == 16 * SIZE
        assert bits / seconds / 1000 < LIMIT_KBPS * 1.15
        history = transfers._list.find(both[0].id, None).figures.rates
        assert len(history) >= 2
        assert max(kbps for _, kbps in history) < LIMIT_KBPS * 1.5
