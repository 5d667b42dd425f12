"""The pool of worker processes, with real processes that play scripts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from connect_helper.settings import Folders
from connect_helper.transfers import wire
from connect_helper.transfers.messages import Ended, Event, Start, Stop
from connect_helper.transfers.workers import (
    EVENTS_IN_A_ROW,
    Worker,
    WorkerLost,
    WorkerPool,
    scrubbed,
    worker_command,
)
from tests.support.managing import COMPLETES, FAKE_WORKER, HOLDS, REPOSITORY, request, until


def pool_of(folders: Folders, **changes: Any) -> WorkerPool:
    return WorkerPool(folder=folders.state, command=FAKE_WORKER, **changes)


@pytest.fixture
async def pool(folders: Folders) -> AsyncIterator[WorkerPool]:
    async with pool_of(folders) as running:
        yield running


async def session(worker: Worker, *script: Sequence[Any]) -> list[Event]:
    """Run one session to its end."""
    await worker.start(Start(plan=request(*script).plan))
    heard: list[Event] = []
    while not heard or not isinstance(heard[-1], Ended):
        event = await worker.next_event(10.0)
        assert event is not None
        heard.append(event)
    return heard


async def to_the_end(worker: Worker) -> None:
    while await worker.next_event(10.0):
        pass


async def test_a_worker_is_used_again_and_kept_warm(pool: WorkerPool) -> None:
    pids = []
    for _ in range(3):
        async with pool.worker() as worker:
            pids.append(worker.pid)
            await session(worker, COMPLETES)
    assert len(set(pids)) == 1
    assert pool.pids == pids[:1]


async def test_at_most_two_idle_workers_stay_and_they_end_after_a_while(folders: Folders) -> None:
    async with pool_of(folders, idle_s=0.3) as pool:
        async with pool.worker() as one, pool.worker() as two, pool.worker() as three:
            for worker in (one, two, three):
                await session(worker, COMPLETES)
            assert len(pool.pids) == 3
        await until(lambda: len(pool.pids) == 2)
        await until(lambda: not pool.pids)
        async with pool.worker() as four:
            assert await session(four, COMPLETES)


async def test_a_worker_is_replaced_after_so_many_sessions(folders: Folders) -> None:
    async with pool_of(folders, sessions_each=2) as pool:
        pids = []
        for _ in range(3):
            async with pool.worker() as worker:
                pids.append(worker.pid)
                await session(worker, COMPLETES)
        assert pids[0] == pids[1] != pids[2]


async def test_a_worker_that_dies_is_lost_and_not_used_again(pool: WorkerPool) -> None:
    async with pool.worker() as worker:
        await worker.start(Start(plan=request(HOLDS).plan))
        await worker.next_event(10.0)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="ended"):
            await to_the_end(worker)
        worker.post(Stop())  # harmless
    await until(lambda: worker.pid not in pool.pids)
    async with pool.worker() as another:
        assert another.pid != worker.pid
        assert await session(another, COMPLETES)


async def test_an_idle_worker_that_died_is_not_lent(pool: WorkerPool) -> None:
    async with pool.worker() as worker:
        await session(worker, COMPLETES)
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: not pool.pids)
    async with pool.worker() as another:
        assert await session(another, COMPLETES)


async def test_a_line_that_is_no_event_is_a_lost_worker_and_is_not_quoted(pool: WorkerPool) -> None:
    async with pool.worker() as worker:
        await worker.start(Start(plan=request([["garbage"]]).plan))
        with pytest.raises(WorkerLost, match="no event") as lost:
            await worker.next_event(10.0)
        assert "this is" not in str(lost.value)
    await until(lambda: not pool.pids)


async def test_a_worker_left_in_mid_session_is_killed(pool: WorkerPool) -> None:
    async with pool.worker() as worker:
        await worker.start(Start(plan=request([["ignore"]]).plan))
    await until(lambda: not pool.pids)


async def test_a_burst_of_events_leaves_turns_to_others(pool: WorkerPool) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with pool.worker() as worker:
        await worker.start(Start(plan=request([["files", 0, 800, "done"], *COMPLETES]).plan))
        await worker.next_event(10.0)
        task = asyncio.create_task(others(), name="others")
        heard, before = 0, 0
        gaps: list[int] = []
        while not isinstance(await worker.next_event(10.0), Ended):
            heard += 1
            if turns > before:
                gaps.append(heard)
                heard, before = 0, turns
        task.cancel()
    assert max(gaps) <= EVENTS_IN_A_ROW


async def test_a_line_that_came_in_part_is_read_to_its_end_later(folders: Folders) -> None:
    line = wire.encode(Ended(outcome="completed", message="x" * 100_000)).decode()
    parts = f"import sys, time; line = {line!r}; sys.stdin.readline(); sys.stdout.write(line[:70_000]);"
    parts += "sys.stdout.flush(); sys.stdin.readline(); sys.stdout.write(line[70_000:]); sys.stdout.flush();"
    program = (sys.executable, "-c", parts)
    async with WorkerPool(folder=folders.state, command=program) as pool, pool.worker() as worker:
        await worker.start(Start(plan=request().plan))
        assert await worker.next_event(0.5) is None
        worker.post(Stop())
        event = await worker.next_event(30.0)
    assert isinstance(event, Ended)
    assert len(event.message) == 100_000


async def test_a_line_without_end_is_a_lost_worker(folders: Folders) -> None:
    endless = "import sys; [sys.stdout.write('x' * 65536) for _ in range(1000)]; sys.stdin.read()"
    program = (sys.executable, "-c", endless)
    async with WorkerPool(folder=folders.state, command=program) as pool, pool.worker() as worker:
        with pytest.raises(WorkerLost, match="too long"):
            await worker.next_event(30.0)


async def test_nothing_in_time_is_no_event(pool: WorkerPool) -> None:
    async with pool.worker() as worker:
        await worker.start(Start(plan=request([["hold"]]).plan))
        assert await worker.next_event(0.05) is None
        worker.post(Stop())
        event = await worker.next_event(10.0)
        assert isinstance(event, Ended)
        assert event.outcome == "stopped"


async def test_what_a_worker_writes_to_its_standard_error_is_logged(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with pool.worker() as worker:
        await session(worker, [["leak"], *COMPLETES])
        await until(lambda: "a line for the log" in caplog.text)
        assert f"worker {worker.pid}" in caplog.text


async def test_a_program_that_cannot_be_started_is_a_lost_worker(folders: Folders) -> None:
    async with WorkerPool(folder=folders.state, command=("/nowhere/worker",)) as pool:
        with pytest.raises(WorkerLost, match="can be started"):
            async with pool.worker():
                raise AssertionError("not reached")


async def test_leaving_the_pool_leaves_no_process(folders: Folders) -> None:
    async with pool_of(folders) as pool:
        async with pool.worker() as idle:
            await session(idle, COMPLETES)
        assert psutil.pid_exists(idle.pid)
    assert not psutil.pid_exists(idle.pid)


HOLD_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from connect_helper.transfers.messages import Start
from tests.support.managing import FAKE_WORKER, HOLDS, request
from connect_helper.transfers.workers import WorkerPool

async def main():
    async with WorkerPool(folder=Path(sys.argv[1]), command=FAKE_WORKER) as pool:
        async with pool.worker() as busy:
            await busy.start(Start(plan=request(HOLDS).plan))
            await busy.next_event(10)
            print(busy.pid, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_worker_outlives_a_killed_helper(folders: Folders) -> None:
    command = (sys.executable, "-c", HOLD_AND_WAIT, str(folders.state))
    helper = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert helper.stdout is not None
    pid = int(await helper.stdout.readline())
    assert psutil.pid_exists(pid)
    helper.kill()
    await helper.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_worker_gets_few_variables_and_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    environment = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "HOME": "/home/ann", "PYTHONPATH": "/evil"}
    environment |= {"SSH_AUTH_SOCK": "/agent", "HTTPS_PROXY": "http://p", "AWS_SECRET_ACCESS_KEY": "s"}
    assert scrubbed(environment) == {"PATH": "/bin", "LC_ALL": "C.UTF-8", "HOME": "/home/ann"}
    (tmp_path / "asyncssh.py").write_text("raise SystemExit(99)")
    done = subprocess.run(
        [*worker_command()[:-2], "-c", "import asyncssh, connect_helper.transfers.messages"],
        cwd=tmp_path,
        env=scrubbed(os.environ),
        check=False,
    )
    assert done.returncode == 0
