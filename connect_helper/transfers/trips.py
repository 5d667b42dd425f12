"""Many small pieces of disk work in few trips to threads.

A trip costs more than what a small file needs done there. So what came up meanwhile goes together; a lone
piece of work goes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from connect_helper.transfers.blocking import Owed

_Work = tuple[Callable[[], Any], Owed[Any]]
_Result = tuple[Any, BaseException | None]

TOGETHER: Final = 16  # pieces of work in one trip: the first one waits for the last


class Trips:
    """All methods belong to the event loop, all work to the threads of its executor."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes  # trips at a time
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
        while self._waiting and self._under_way < self._lanes:
            free = self._lanes - self._under_way
            share = min(TOGETHER, -(-len(self._waiting) // free))
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

    def _back(self, works: list[_Work], trip: asyncio.Future[list[_Result]]) -> None:
        self._under_way -= 1
        for (_, done), (result, error) in zip(works, trip.result(), strict=True):
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        self._set_off()


def _do(calls: list[Callable[[], Any]]) -> list[_Result]:
    results: list[_Result] = []
    for call in calls:
        try:
            results.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where its result is awaited
            results.append((None, error))
    return results
