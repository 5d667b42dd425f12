"""Many small pieces of disk work in few trips to threads.

A trip costs more than what a small file needs done there. So what came up meanwhile goes together; a lone
piece of work goes at once.

A quick disk is served by one trip at a time, with all that waits. A thread that makes many short calls takes
the interpreter from the event loop and gives it back at each, so the fewer of them there are and the more
they do while the loop waits for them, the better. A slow disk is asked from several threads: it is the disk
that these wait for. Which it is shows when a trip has the interpreter for itself: now and then the loop
stands back for a short one.

What takes a disk longest is to make something durable, and it takes no longer for many changes than for one.
So a piece of work may leave that to its trip, see `Shared`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connect_helper.transfers.blocking import Owed

_Work = tuple[Callable[[], Any], Owed[Any]]
_Result = tuple[Any, BaseException | None]

TOGETHER: Final = 128  # pieces of work in one trip, at most: they wait for each other
STEPS: Final = 8  # that pieces of one trip share; after so many it begins no further piece
TRIP_S: Final = 0.1  # after which it begins none either
SLOW_S: Final = 0.001  # for a piece of work
PROBED: Final = 8  # pieces in a probe, a trip that shows how quick the disk is
STAND_BACK_S: Final = 0.01  # how long the event loop leaves the interpreter to a probe, at most
PROBES_APART_S: Final = 0.5
FIRST_APART_S: Final = 0.05  # between the first two probes; then twice as long each time
FORGETS: Final = 0.7  # part of what a probe showed that still counts after the next one
LATE_S: Final = 1.0  # a trip that takes longer has a piece of work that hangs


@dataclass(frozen=True, slots=True)
class Shared:
    """Returned by a piece of work that is done but for a `step`, and for what comes after it, `then`.

    The step is taken once for all pieces of the trip that have the same `key`, when the last of them is so
    far. Its error is that of each of them; else each has the result, or the error, of its own `then`.
    """

    key: Hashable
    step: Callable[[], object]
    then: Callable[[], Any]


@dataclass(slots=True, eq=False)
class _Trip:
    works: list[_Work]
    probes: bool = False
    late: bool = False
    over: threading.Event = field(default_factory=threading.Event)  # for who cannot await it


class Trips:
    """All methods belong to the event loop, all work to the threads of its executor."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes  # trips at a time, at most
        self._piece_s = SLOW_S  # what the slowest piece of work lately took the disk
        self._probe_at = 0.0  # on the loop's clock
        self._apart_s = FIRST_APART_S  # the next probe and the one after it
        self._under_way = 0
        self._late = 0  # of those under way
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
        while self._waiting:
            probes = asyncio.get_running_loop().time() >= self._probe_at
            alone = probes or self._piece_s < SLOW_S
            free = (min(self._lanes, 1 + self._late) if alone else self._lanes) - self._under_way
            if free <= 0:
                return
            share = min(PROBED if probes else TOGETHER, -(-len(self._waiting) // free))
            self._go(_Trip([self._waiting.popleft() for _ in range(share)], probes))

    def _go(self, trip: _Trip) -> None:
        loop, calls = asyncio.get_running_loop(), [call for call, _ in trip.works]
        try:
            results = loop.run_in_executor(None, _do, calls, trip.over)
        except RuntimeError as error:  # the system gives no more threads; nobody can wait for it for ever
            calls.clear()  # they stay with the executor
            for _, done in trip.works:
                done.set_exception(error)
            return
        self._under_way += 1
        timer = loop.call_later(LATE_S, self._is_late, trip)

        def back(_: object) -> None:
            timer.cancel()
            self._back(trip, *results.result())

        results.add_done_callback(back)
        if trip.probes:
            self._probe_at = loop.time() + self._apart_s
            self._apart_s = min(2 * self._apart_s, PROBES_APART_S)
            trip.over.wait(STAND_BACK_S)  # with the interpreter for itself only the disk can hold it up

    def _is_late(self, trip: _Trip) -> None:
        """Something in it hangs: the others do not wait for that, as far as there are lanes."""
        trip.late = True
        self._late += 1
        self._set_off()

    def _back(self, trip: _Trip, results: list[_Result], slowest_s: float) -> None:
        self._under_way -= 1
        self._late -= trip.late
        if trip.probes:
            self._piece_s = max(slowest_s, FORGETS * self._piece_s)
        self._waiting.extendleft(reversed(trip.works[len(results) :]))  # what there was no time for
        for (_, done), (result, error) in zip(trip.works, results, strict=False):
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        self._set_off()


def _do(calls: list[Callable[[], Any]], over: threading.Event) -> tuple[list[_Result], float]:
    """What each gave, as far as there was time, and how many seconds the slowest took."""
    results: list[_Result] = []
    steps: dict[Hashable, list[int]] = {}  # by key: which results wait for it
    slowest_s, began = 0.0, time.perf_counter()
    end, ended = began + TRIP_S, began
    for number, call in enumerate(calls):
        if ended > end or len(steps) >= STEPS:
            break
        result = _tried(call)
        results.append(result)
        if isinstance(result[0], Shared):
            steps.setdefault(result[0].key, []).append(number)
        ended = time.perf_counter()
        slowest_s, began = max(slowest_s, ended - began), ended
    for numbers in steps.values():
        _go_on(results, numbers)
        ended = time.perf_counter()
        # The more share it, the more still would in a longer trip: that helps then, and no further lane.
        slowest_s, began = max(slowest_s, (ended - began) / len(numbers) ** 2), ended
    over.set()
    return results, slowest_s


def _go_on(results: list[_Result], numbers: Sequence[int]) -> None:
    """Take the step that these results wait for, and put what comes of it in their place."""
    pieces = [(number, results[number][0]) for number in numbers]
    _, error = _tried(pieces[0][1].step)
    for number, piece in pieces:
        results[number] = (None, error) if error is not None else _tried(piece.then)


def _tried(call: Callable[[], Any]) -> _Result:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - raised again where its result is awaited
        return None, error
