"""Jobs that wait on disk come back as they were; a tree that is listed first is listed once."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import NameCollision
from connect_helper.transfers import spool as spool_module
from connect_helper.transfers.job import (
    DownloadJob,
    Job,
    LocalFolderJob,
    LocalLinkJob,
    MishapJob,
    RemoteFolderJob,
    RemoteLinkJob,
    UploadJob,
)
from connect_helper.transfers.plan import Afterwards
from connect_helper.transfers.scan import Scan
from connect_helper.transfers.spool import BATCH, Spool
from connect_helper.transports.base import Facts
from connect_helper.transports.local_files import Granted
from tests.support.policies import Trip, plant, tree

GRANTED = Granted(b"/here", 1, 2)
ODD = os.fsdecode(b"odd \xff")
KINDS: list[Job] = [
    UploadJob(GRANTED, (b"a\xff",), ODD, b"there/a", 3, ("proj", ODD), linked=True),
    DownloadJob(b"there/a", Facts("file", 3, 4), GRANTED, (b"a",), ("proj", "a"), sealed=True),
    RemoteLinkJob(GRANTED, (b"l",), ODD, b"there/l", b"a", ("proj",)),
    LocalLinkJob(b"there/l", GRANTED, (b"l",), b"a", 1, ("proj",)),
    RemoteFolderJob(b"there", 5, 6, b"/here"),
    LocalFolderJob(GRANTED, (b"sub",), 5, 6, b"there/sub"),
]


async def found(*jobs: Job) -> AsyncGenerator[Job, None]:
    for job in jobs:
        yield job


@pytest.mark.parametrize("times", [0, 1, BATCH, BATCH + 1])
async def test_jobs_come_back_in_their_order(tmp_path: Path, times: int) -> None:
    seen: list[Job] = []
    spool = Spool(tmp_path / "new")
    assert await spool.fill(found(*KINDS * times), seen.append)
    assert [job async for job in spool.jobs()] == seen == KINDS * times
    assert list((tmp_path / "new").iterdir()) == []  # it has no name
    spool.close()


async def test_a_mishap_keeps_its_words(tmp_path: Path) -> None:
    error = NameCollision("Two of them.", internal_message="for the log")
    spool = Spool(tmp_path)
    assert await spool.fill(found(MishapJob(ODD, "there", error)), lambda _: None)
    (job,) = [job async for job in spool.jobs()]
    assert isinstance(job, MishapJob)
    assert isinstance(job.error, NameCollision)
    assert (job.path, job.error.user_message, job.error.internal_message) == (
        ODD, "Two of them.", "for the log",
    )  # fmt: skip
    spool.close()


async def test_a_disk_that_takes_nothing_is_told_and_all_are_seen(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen: list[Job] = []
    spool = Spool(tmp_path / "file" / "below")
    assert not await spool.fill(found(*KINDS * BATCH), seen.append)
    assert len(seen) == BATCH * len(KINDS)
    spool.close()


@pytest.mark.parametrize(
    ("changes", "scans"),
    [
        ({"policies": {"count_first": "yes"}}, 1),
        ({"afterwards": Afterwards(remove_files=True)}, 1),
        ({"policies": {"count_first": "yes"}, "afterwards": Afterwards(remove_files=True)}, 1),
        ({"policies": {"count_first": "briefly"}}, 2),
        ({}, 1),
    ],
)
async def test_a_tree_is_listed_once(
    trip: Trip, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], scans: int
) -> None:
    begun = count_scans(monkeypatch)
    plant(trip.source, "proj/a", "proj/sub/b", "proj/empty/")
    (trip.source / "proj" / "link").symlink_to("sub/b")
    ended = await trip.go("proj", **changes)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == {"proj", "proj/a", "proj/sub", "proj/sub/b", "proj/empty", "proj/link"}
    assert len(begun) == scans


async def test_where_the_disk_takes_no_list_the_tree_is_listed_again(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.tempfile, "TemporaryFile", full)
    begun = count_scans(monkeypatch)
    plant(trip.source, "proj/a", "proj/sub/b")
    (trip.source / "proj" / "link").symlink_to("sub/b")
    ended = await trip.go("proj", afterwards=Afterwards(remove_files=True))
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == {"proj", "proj/sub", "proj/link"}
    assert len(begun) == 2


def count_scans(monkeypatch: pytest.MonkeyPatch) -> list[Scan]:
    begun: list[Scan] = []
    jobs = Scan.jobs

    def counted(scan: Scan) -> AsyncGenerator[Job, None]:
        begun.append(scan)
        return jobs(scan)

    monkeypatch.setattr(Scan, "jobs", counted)
    return begun
