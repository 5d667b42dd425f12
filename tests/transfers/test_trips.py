"""Disk work that goes together: everything is done, each caller gets its own result."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from connect_helper.transfers import trips as trips_module
from connect_helper.transfers.blocking import finished, handed_over
from connect_helper.transfers.trips import SLOW_S, STEPS, TOGETHER, TRIP_S, Shared, Trips

NEVER_S = 60.0  # longer than any test
APART_S = 0.5  # of two probes


def fail() -> None:
    raise OSError("the disk is gone")


async def test_each_gets_its_own_result_or_error() -> None:
    trips = Trips(1)

    def answer(number: int) -> Callable[[], int]:
        return lambda: number

    works = [trips.start(answer(number)) for number in range(3)]
    works.insert(1, trips.start(fail))
    results = await asyncio.gather(*works, return_exceptions=True)
    assert [results[0], *results[2:]] == [0, 1, 2]
    assert isinstance(results[1], OSError)


async def test_what_comes_together_goes_together_in_order() -> None:
    trips, seen = Trips(1), list[tuple[int, str]]()
    count = TOGETHER * 2
    work = [
        trips.start(lambda number=number: seen.append((number, threading.current_thread().name)))  # type: ignore[misc] # of the default
        for number in range(count)
    ]
    await asyncio.gather(*work)
    assert [number for number, _ in seen] == list(range(count))
    assert threading.current_thread().name not in {name for _, name in seen}


async def test_a_slow_disk_is_asked_over_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trips_module, "FIRST_APART_S", NEVER_S)
    trips, both = Trips(2), threading.Barrier(2, timeout=10)
    await trips.start(lambda: time.sleep(4 * SLOW_S))
    await asyncio.gather(*(trips.start(both.wait) for _ in range(2)))  # each waits for the other one


async def test_a_disk_that_becomes_slow_is_asked_over_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trips_module, "PROBES_APART_S", NEVER_S)
    monkeypatch.setattr(trips_module, "FIRST_APART_S", APART_S)
    trips, both = Trips(2), threading.Barrier(2, timeout=10)
    await trips.start(lambda: None)
    await asyncio.sleep(APART_S)
    await asyncio.gather(*(trips.start(lambda: time.sleep(4 * SLOW_S)) for _ in range(2)))
    await asyncio.gather(*(trips.start(both.wait) for _ in range(2)))


async def test_one_quick_look_does_not_make_a_slow_disk_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trips_module, "PROBES_APART_S", NEVER_S)
    monkeypatch.setattr(trips_module, "FIRST_APART_S", APART_S)
    trips, both = Trips(2), threading.Barrier(2, timeout=10)
    await trips.start(lambda: time.sleep(4 * SLOW_S))
    await asyncio.sleep(APART_S)
    await trips.start(lambda: None)  # as to open something is where to make it durable is not
    await asyncio.gather(*(trips.start(both.wait) for _ in range(2)))


async def test_a_quick_disk_gets_one_trip_at_a_time_with_all_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trips_module, "FIRST_APART_S", NEVER_S)
    monkeypatch.setattr(trips_module, "SLOW_S", NEVER_S)  # however busy the machine is
    trips, go, seen = Trips(2), threading.Event(), list[float]()
    await trips.start(lambda: None)
    first = trips.start(lambda: go.wait(10))
    await asyncio.sleep(0.01)
    others = [trips.start(lambda: seen.append(time.monotonic())) for _ in range(TOGETHER // 2)]
    await asyncio.sleep(0.05)
    assert not seen  # though there is a second lane
    go.set()
    await asyncio.gather(first, *others)
    assert len(seen) == len(others)


async def test_a_piece_that_hangs_holds_up_only_its_own_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trips_module, "LATE_S", 0.1)
    trips, go = Trips(2), threading.Event()
    await trips.start(lambda: None)
    hangs = trips.start(lambda: go.wait(10))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        for _ in range(3):  # also after the others have shown that the disk is quick
            await asyncio.gather(*(trips.start(lambda: None) for _ in range(TOGETHER)))
    assert not hangs.done()
    go.set()
    await hangs
    assert trips._late == trips._under_way == 0


async def test_results_do_not_wait_for_a_long_trip_to_end() -> None:
    trips, done = Trips(1), list[int]()
    await trips.start(lambda: None)

    def work() -> int:
        time.sleep(TRIP_S / 3)
        done.append(1)
        return len(done)

    works, seen = [trips.start(work) for _ in range(9)], list[int]()
    works[0].add_done_callback(lambda _: seen.append(len(done)))
    assert await asyncio.gather(*works) == list(range(1, 10))  # in their order all the same
    assert seen[0] < len(works)


async def test_a_step_that_pieces_share_is_taken_once_between_what_they_do_before_and_after() -> None:
    trips, seen = Trips(1), list[str]()

    def piece(name: str, key: str) -> Callable[[], Shared]:
        def begin() -> Shared:
            seen.append(f"begin {name}")
            return Shared(key, lambda: seen.append(f"sync {key}"), lambda: seen.append(f"end {name}") or name)  # type: ignore[func-returns-value] # it is None

        return begin

    works = [trips.start(piece(name, key)) for name, key in (("a", "x"), ("b", "y"), ("c", "x"))]
    assert await asyncio.gather(*works, trips.start(lambda: 4)) == ["a", "b", "c", 4]
    begun, x, y = seen[:3], seen[3:6], seen[6:]
    assert begun == ["begin a", "begin b", "begin c"]
    assert (x, y) == (["sync x", "end a", "end c"], ["sync y", "end b"])


async def test_a_step_that_fails_fails_those_that_share_it_and_nothing_of_them_goes_on() -> None:
    trips, ended = Trips(1), list[str]()
    works = [
        trips.start(lambda: Shared("bad", fail, lambda: ended.append("bad"))),
        trips.start(lambda: Shared("good", lambda: None, lambda: "good")),
        trips.start(lambda: Shared("bad", fail, lambda: ended.append("bad"))),
        trips.start(lambda: Shared("good", lambda: None, fail)),
    ]
    results = await asyncio.gather(*works, return_exceptions=True)
    assert [type(one) for one in results] == [OSError, str, OSError, OSError]
    assert ended == []


async def test_a_trip_takes_few_steps_so_that_nobody_waits_long_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trips_module, "PROBED", TOGETHER)
    monkeypatch.setattr(trips_module, "TRIP_S", 60.0)  # however busy the machine is
    trips, seen = Trips(1), list[str]()

    def piece(number: int) -> Callable[[], Shared]:
        def begin() -> Shared:
            seen.append("begin")
            return Shared(number, lambda: seen.append("sync"), lambda: None)

        return begin

    await asyncio.gather(*(trips.start(piece(number)) for number in range(3 * STEPS)))
    assert seen == (["begin"] * STEPS + ["sync"] * STEPS) * 3


async def test_a_step_shared_by_many_does_not_make_a_disk_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trips_module, "PROBED", TOGETHER)
    monkeypatch.setattr(trips_module, "SLOW_S", 0.5)
    monkeypatch.setattr(trips_module, "TRIP_S", 60.0)
    monkeypatch.setattr(trips_module, "STAND_BACK_S", NEVER_S)
    trips = Trips(2)
    shared = Shared("folder", lambda: time.sleep(1.0), lambda: None)
    await asyncio.gather(*(trips.start(lambda: shared) for _ in range(TOGETHER)))
    assert trips._piece_s < 0.5
    await asyncio.sleep(trips_module.FIRST_APART_S)
    await trips.start(lambda: shared)
    assert trips._piece_s > 0.5


async def test_a_cancelled_caller_sees_its_work_through() -> None:
    trips, begun, go = Trips(1), asyncio.Event(), threading.Event()
    loop, done = asyncio.get_running_loop(), list[str]()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        done.append("done")

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(finished(trips.start(work)), name="waiting")
        await begun.wait()
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
    assert done == ["done"]
    assert waiting.cancelled()


async def test_what_was_opened_for_a_cancelled_caller_is_closed() -> None:
    trips, closed = Trips(1), list[str]()
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(handed_over(trips.start(lambda: "file"), closed.append), name="opening")
        await asyncio.sleep(0)
        opening.cancel()
    assert closed == ["file"]
    with pytest.raises(asyncio.CancelledError):
        opening.result()


async def test_nothing_hurries_work_and_its_error_gives_way_to_a_cancellation() -> None:
    trips, go = Trips(1), threading.Event()

    def work() -> None:
        go.wait(10)
        fail()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(finished(trips.start(work)), name="waiting")
        for _ in range(3):
            await asyncio.sleep(0.01)
            waiting.cancel()
        await asyncio.sleep(0.01)
        assert not waiting.done()
        go.set()
    assert waiting.cancelled()


class Refusing(ThreadPoolExecutor):
    """As where the system gives no more threads."""

    def submit(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("can't start new thread")


async def test_work_that_no_thread_can_be_had_for_fails_and_hangs_nobody() -> None:
    trips, loop = Trips(1), asyncio.get_running_loop()
    loop.set_default_executor(Refusing())
    works = [trips.start(fail) for _ in range(3)]
    ended, _ = await asyncio.wait(works, timeout=10)
    assert [type(one.exception()) for one in ended] == [RuntimeError] * 3
    loop.set_default_executor(ThreadPoolExecutor(1))
    assert await trips.start(lambda: 1) == 1
