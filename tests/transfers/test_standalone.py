"""One transfer without a manager, with workers that play scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from connect_helper.settings import Folders
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.messages import Connected, Ended, Event, Progress, Question
from connect_helper.transfers.retry import RetryRules
from connect_helper.transfers.standalone import Standalone
from connect_helper.transfers.workers import WorkerPool
from tests.support.managing import COMPLETES, FAKE_WORKER, HOLDS, request, until

LOST = ["end", "failed", "connection_lost", True]


class Ears:
    """Notes what it hears."""

    def __init__(self, *, accepts: bool | None = True) -> None:
        self.heard: list[Event] = []
        self.sessions = 0
        self.waited: list[tuple[str, float]] = []
        self.asked: list[Question] = []
        self._accepts = accepts

    def begins(self) -> None:
        self.sessions += 1

    def hear(self, event: Event | None) -> None:
        if event is not None:
            self.heard.append(event)

    def waits(self, ended: Ended, delay_s: float) -> None:
        self.waited.append((ended.code, delay_s))

    async def accept(self, question: Question) -> bool:
        self.asked.append(question)
        if self._accepts is None:
            await asyncio.Event().wait()
        return bool(self._accepts)


def transfer(
    folders: Folders, ears: Ears, *attempts: Sequence[Any], tries: int = 3, enabled: bool = True
) -> tuple[Standalone, WorkerPool]:
    pool = WorkerPool(folder=folders.state, command=FAKE_WORKER)
    plan = request(*attempts).plan.model_copy(update={"transfer_id": "one"})
    rules, clock = RetryRules(enabled, tries), Clock(fraction=lambda: 0.0)
    return Standalone(plan, ears, pool=pool, rules=rules, clock=clock), pool


async def test_it_hears_the_session_and_leaves_no_process(folders: Folders) -> None:
    ears = Ears()
    one, pool = transfer(folders, ears, COMPLETES)
    assert (await one.run()).outcome == "completed"
    assert isinstance(ears.heard[0], Connected)
    assert any(isinstance(event, Progress) and event.bytes_written == 100 for event in ears.heard)
    assert pool.pids == []


async def test_a_lost_line_is_tried_again_and_an_accepted_key_is_not_asked_for_twice(
    folders: Folders,
) -> None:
    ears = Ears()
    one, _ = transfer(folders, ears, [["question"], ["connect"], ["progress", 10], LOST], COMPLETES)
    assert (await one.run()).outcome == "completed"
    assert ears.sessions == 2
    assert ears.waited == [("connection_lost", 1.0)]
    assert len(ears.asked) == 1
    starts = [line for line in (folders.state / "fake.log").read_text().splitlines() if '"start"' in line]
    assert [line.split(", ")[-2] for line in starts] == ["0", "1"]  # keys it was told to trust


async def test_a_server_that_restarts_is_tried_again_until_it_is_back(folders: Folders) -> None:
    ears = Ears()
    refused = [["end", "failed", "connect_refused", False]]
    one, _ = transfer(folders, ears, [["connect"], ["progress", 10], LOST], refused, COMPLETES)
    assert (await one.run()).outcome == "completed"
    assert [code for code, _ in ears.waited] == ["connection_lost", "connect_refused"]


async def test_a_worker_that_dies_counts_as_a_lost_line(folders: Folders) -> None:
    ears = Ears()
    one, _ = transfer(folders, ears, [["connect"], ["die"]], COMPLETES)
    assert (await one.run()).outcome == "completed"
    assert ears.sessions == 2


@pytest.mark.parametrize(
    ("attempt", "enabled", "code"),
    [
        ([LOST], True, "connection_lost"),  # never connected: more likely a wrong address
        ([["end", "failed", "connect_refused", False]], True, "connect_refused"),
        ([["connect"], LOST], False, "connection_lost"),
        ([["connect"], ["end", "failed", "disk_full", False]], True, "disk_full"),
        ([["question"], ["connect"]], True, "host_key_unknown"),
        ([["die"]], True, "unavailable"),
    ],
)
async def test_what_is_not_worth_another_try_ends_it(
    folders: Folders, attempt: list[Any], enabled: bool, code: str
) -> None:
    ears = Ears(accepts=False)
    one, _ = transfer(folders, ears, attempt, enabled=enabled)
    ended = await one.run()
    assert (ended.outcome, ended.code, ears.sessions, ears.waited) == ("failed", code, 1, [])


async def test_fruitless_tries_are_counted_and_progress_counts_anew(folders: Folders) -> None:
    ears = Ears()
    further = [["connect"], ["progress", 20], LOST]
    one, _ = transfer(folders, ears, [["connect"], LOST], further, [["connect"], LOST], tries=2)
    assert (await one.run()).code == "connection_lost"
    assert ears.sessions == 4  # fruitless, further, fruitless, fruitless


@pytest.mark.parametrize("attempt", [HOLDS, [["connect"], ["ignore"]], [["question"]]])
async def test_it_stops_when_told_even_a_deaf_worker(folders: Folders, attempt: list[Any]) -> None:
    ears = Ears(accepts=None)
    one, pool = transfer(folders, ears, attempt)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        await until(lambda: bool(ears.heard or ears.asked))
        one.stop()
        one.stop()
        assert (await running).outcome == "stopped"
    assert pool.pids == []


async def test_it_stops_while_it_waits_for_another_try(folders: Folders) -> None:
    ears = Ears()
    one, _ = transfer(folders, ears, [["connect"], LOST])
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        await until(lambda: bool(ears.waited))
        one.stop()
        assert (await running).outcome == "stopped"
    assert ears.sessions == 1


async def test_cancelled_it_tells_the_worker_to_stop(folders: Folders) -> None:
    ears = Ears()
    one, pool = transfer(folders, ears, HOLDS)
    task = asyncio.create_task(one.run())
    await until(lambda: bool(ears.heard))
    (pid,) = pool.pids
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert '"stop"' in (folders.state / "fake.log").read_text()
    assert not psutil.pid_exists(pid)


async def test_a_bug_while_asking_ends_the_session(folders: Folders) -> None:
    class Broken(Ears):
        async def accept(self, question: Question) -> bool:
            raise ZeroDivisionError

    one, pool = transfer(folders, Broken(), [["question"]])
    with pytest.raises(ZeroDivisionError):
        await one.run()
    assert pool.pids == []
