"""What a scan does when it is ended in the middle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, cast

import pytest

from connect_helper.transfers import scan
from connect_helper.transfers.job import Job, UploadJob
from connect_helper.transfers.ledger import Ledger
from connect_helper.transfers.plan import HostKeys, Login, Server, SessionPlan
from connect_helper.transfers.scan import Scan
from connect_helper.transports.base import Facts
from connect_helper.transports.local_walk import LocalEntry
from tests.support.sessions import upload

LIMIT_S = 10


def jobs_of(folder: Path) -> AsyncGenerator[Job, None]:
    plan = SessionPlan(
        transfer_id="t",
        direction="send",
        server=Server(host="h.example", port=22, addresses=()),
        login=Login(user="ann"),
        host_keys=HostKeys(),
        items=(upload(folder, "there"),),
        resume_folder=str(folder),
    )
    return Scan(plan, cast("Any", None), Ledger(folder, "t")).jobs()


async def test_stopped_while_a_thread_lists_it_waits_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> Generator[LocalEntry, None, None]:
        try:
            listing.set()
            assert go_on.wait(LIMIT_S)
            yield LocalEntry((b"a",), (b"a",), Facts("file", 0, 0))
        finally:
            closed.set()

    monkeypatch.setattr(scan, "walk", slow)
    jobs = jobs_of(tmp_path)

    async def first() -> Job:
        return await anext(jobs)

    task = asyncio.create_task(first())
    assert await asyncio.to_thread(listing.wait, LIMIT_S)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


async def test_a_folder_of_many_comes_in_order_and_whole(tmp_path: Path) -> None:
    names = [f"{number:04}" for number in range(scan.BATCH * 2 + 1)]
    for name in names:
        (tmp_path / name).touch()
    jobs = [job async for job in jobs_of(tmp_path)]
    assert not isinstance(jobs[0], UploadJob)  # the folder itself
    found = sorted(job.target.decode() for job in jobs[1:] if isinstance(job, UploadJob))
    assert found == [f"there/{name}" for name in names]
