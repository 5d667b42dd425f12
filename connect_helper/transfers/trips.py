"""Many small pieces of disk work in few trips to threads.

A trip costs more than what a small file needs done there. So what came up meanwhile goes together; a lone
piece of work goes at once.

A quick disk is served by one trip at a time, with all that waits. A thread that makes many short calls takes
the interpreter from the event loop and gives it back at each, so the fewer of them there are and the more
they do while the loop waits for them, the better. A slow disk is asked from several threads: it is the disk
that these wait for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from connect_helper.transfers.blocking import Owed

_Work = tuple[Callable[[], Any], Owed[Any]]
_Result = tuple[Any, BaseException | None]

TOGETHER: Final = 256  # pieces of work in one trip at most: the first one waits for the last
TRIP_S: Final = 0.25  # what a trip should take at most
SLOW_S: Final = 0.004  # a piece of work that takes longer waits for the disk, not for the interpreter


class Trips:
    """All methods belong to the event loop, all work to the threads of its executor."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes  # trips at a time, at most
        self._piece_s = SLOW_S  # what a piece of work took in the last trip, on average
        self._under_way = 0
        self._waiting: deque[_Work] = deque()
        self._called = False

    def start(self, call: Callable[[], Any]) -> Owed[Any]:
        """Do it soon; the result is the caller's to await, to its end (see `blocking`)."""
        loop = asyncio.get_running_loop()
        done: Owed[Any] = Owed(loop=loop)
        self._waiting.append((call, done))
        if not self._called:
            self._called = True
            loop.call_soon(self._set_off)  # with all that comes up until then
        return done

    def _set_off(self) -> None:
        self._called = False
        lanes = self._lanes if self._piece_s >= SLOW_S else 1
        together = max(1, min(TOGETHER, int(TRIP_S / self._piece_s)))
        while self._waiting and self._under_way < lanes:
            free = lanes - self._under_way
            share = min(together, -(-len(self._waiting) // free))
            works = [self._waiting.popleft() for _ in range(share)]
            self._under_way += 1
            calls = [call for call, _ in works]
            try:
                trip = asyncio.get_running_loop().run_in_executor(None, _do, calls)
            except RuntimeError as error:  # the system gives no more threads; nobody can wait for it for ever
                calls.clear()  # they stay with the executor
                self._under_way -= 1
                for _, done in works:
                    done.set_exception(error)
                continue
            trip.add_done_callback(lambda ended, works=works: self._back(works, ended))  # type: ignore[misc] # mypy cannot infer the default

    def _back(self, works: list[_Work], trip: asyncio.Future[tuple[list[_Result], float]]) -> None:
        self._under_way -= 1
        results, seconds = trip.result()
        self._piece_s = max(seconds / len(works), TRIP_S / TOGETHER)
        for (_, done), (result, error) in zip(works, results, strict=True):
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        self._set_off()


def _do(calls: list[Callable[[], Any]]) -> tuple[list[_Result], float]:
    """What each gave, and how many seconds all of them took."""
    results: list[_Result] = []
    began = time.perf_counter()
    for call in calls:
        try:
            results.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where its result is awaited
            results.append((None, error))
    return results, time.perf_counter() - began
