"""The line that all connections of a session share: how long it is, what it carries, whether it queues.

TCP finds out how much a line takes by sending more until packets are lost, and a lost packet costs a long
line dearly. So at first no more is on its way than twice what came back per round trip, and once packets
begin to queue up, little more than the line holds: the connections then share it without losing anything.
Where nothing ever queues, nothing is held back: what limits such a line is not its length. Bytes, seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from connect_helper.transports.tcp_facts import TcpFacts

UNKNOWN: Final = 4 * 1024 * 1024  # bytes that may be on their way before anything is known
FLOOR: Final = 2 * 1024 * 1024  # and as soon as so many have come
START_GAIN: Final = 2.5
FULL_GAIN: Final = 1.5
STEPS: Final = 4  # looks, until a line that is known is used as it was
PROBE: Final = 1.05  # times as much at the next look when nothing queues any more
NEAR: Final = 0.8  # of the limit
GROWTH: Final = 1.25  # a line that carries less than this much more is no longer starting
STILL: Final = 3  # looks in a row without growth
QUEUE_PART: Final = 0.15  # of a round trip
QUEUE_S: Final = 0.01
LOUD: Final = 2.0  # times as much is a queue at the first look; less has to be there at two
FALL: Final = 0.8  # of the limit at the look before, at least, where the line is known
KEPT_S: Final = 1.0  # how long measurements count
DRAINED_S: Final = 1.0  # so long after a queue, a lost packet has another cause
ODD: Final = 3  # such packets are no accident


class Line:
    """Look at it every twentieth of a second or so. Times in seconds, from any clock that goes forward."""

    def __init__(self, round_trip_s: float) -> None:
        self.round_trip_s = round_trip_s  # without queues, as far as seen
        self.limit = math.inf  # bytes that may be on their way, over all connections
        self.is_full = False  # packets queue up
        self.is_lossy = False  # packets are lost without a queue
        self.is_starting = True  # it still gets quicker
        self.full_at = -math.inf  # when packets last queued up
        self.rate = 0.0  # bytes/s over the last round trip
        self._points: deque[tuple[float, int]] = deque()
        self._rates: deque[tuple[float, float]] = deque()
        self._answers: deque[tuple[float, float]] = deque()
        self._queued = False  # at the last look
        self._loses = False  # packets, at any time
        self._odd = 0  # packets lost long after a queue
        self._known = 0.0  # the limit of the transfer before
        self._anew = False
        self._filled = False  # in this transfer
        self._best = 0.0  # the highest rate at the last growth
        self._still = 0
        self._judged_at = 0.0

    def begin_again(self) -> None:
        """Another transfer begins: what was measured goes, what it says about the line stays."""
        self._points.clear()
        self._rates.clear()
        self._answers.clear()
        self.is_full = self._queued = False
        self.rate = self._best = 0.0
        self.is_starting = not self.was_full
        self._still = 0
        self._anew = True
        if not self.is_starting:  # TCP would send at once what it sent last, and the queue overflow
            # One that was too small to fill the line tells nothing new about it.
            self._known = self.limit if self._filled else max(self.limit, self._known)
            self.limit = self._known / STEPS
        self._filled = False

    @property
    def was_full(self) -> bool:
        """Tell whether packets ever queued up, in this transfer or one before."""
        return self.full_at > -math.inf

    @property
    def _least(self) -> float:
        """What a transfer begins with comes in bursts: their queue says little of a line that is known."""
        begins = self._points[-1][1] < self._known
        return self._known / 2 if begins else 0.0

    def answered(self, after_s: float, now: float) -> None:
        """A request was answered after so many seconds."""
        _keep_least(self._answers, after_s, now)

    def look(self, moved: int, facts: Sequence[TcpFacts], now: float, *, used: float, lost: int = 0) -> None:
        """`moved` and `used` are bytes all told and on their way, `facts` those of the connections in use.

        `lost` are packets that they lost since the look before.
        """
        if facts:
            self.round_trip_s = min([self.round_trip_s, *(one.quickest_s for one in facts)])
        self._measure(moved, now)
        queued_s = self._queued_s(facts)
        queue_s = max(QUEUE_PART * self.round_trip_s, QUEUE_S)
        # A little may be a burst, or a machine that was busy for a moment.
        self.is_full = queued_s > (queue_s if self._queued else LOUD * queue_s)
        self._queued = queued_s > queue_s
        was_starting = self.is_starting
        self._filled = self._filled or self.is_full
        if self.is_full or (self._anew and self.was_full):
            self.is_starting, self.full_at = False, now
        elif self.is_starting and now - self._judged_at >= self.round_trip_s:
            self._judged_at = now
            self._judge()
        self._anew = False
        self._loses = self._loses or any(one.disturbed for one in facts)
        if now - self.full_at > DRAINED_S:
            self._odd += lost
        # A line may do both: what fills it at first is no reason why packets are lost later on.
        self.is_lossy = self._odd >= ODD if self.was_full else self._loses
        self.limit = self._limit(queued_s, used, known=not was_starting)

    def _measure(self, moved: int, now: float) -> None:
        points = self._points
        points.append((now, moved))
        span_s = max(self.round_trip_s, 0.05)
        while len(points) > 2 and now - points[1][0] >= span_s:
            points.popleft()
        at, before = points[0]
        self.rate = max(0, moved - before) / (now - at) if now > at else 0.0
        _keep_most(self._rates, self.rate, now)

    def _queued_s(self, facts: Sequence[TcpFacts]) -> float:
        """Half of the connections have at least so much queue before them."""
        queues = sorted(one.round_trip_s - self.round_trip_s for one in facts)
        return queues[len(queues) // 2] if queues else 0.0

    def _judge(self) -> None:
        """Nothing queues: tell whether the line still gets quicker, once a round trip."""
        if self.rate == 0 or self.rate > GROWTH * self._best:
            self._best = max(self._best, self.rate)
            self._still = 0
            return
        self._still += 1
        if self._still >= STILL:
            self.is_starting = False

    def _limit(self, queued_s: float, used: float, *, known: bool) -> float:
        best = self._rates[0][1]
        if self.is_starting:
            floor = UNKNOWN if self._points[-1][1] < FLOOR else FLOOR
            return max(floor, START_GAIN * best * self.round_trip_s)
        if not self.was_full:
            return math.inf
        # What the server itself takes for an answer is no queue of the line.
        answer_s = max(self.round_trip_s, (self._answers[0][1] if self._answers else 0.0) - queued_s)
        holds = max(FLOOR / 2, FULL_GAIN * best * answer_s)
        if not known or self.limit == math.inf:
            return holds
        if self.is_full:
            return max(holds, min(self.limit, max(self.limit * FALL, self._least)))
        if used < NEAR * self.limit:  # a limit that held nothing back says nothing
            return max(holds, self.limit)
        return max(holds, self.limit * PROBE, min(self.limit + self._known / STEPS, self._known))


def _keep_most(kept: deque[tuple[float, float]], value: float, now: float) -> None:
    """The first of `kept` is the greatest value of the last KEPT_S."""
    while kept and kept[-1][1] <= value:
        kept.pop()
    kept.append((now, value))
    while now - kept[0][0] > KEPT_S:
        kept.popleft()


def _keep_least(kept: deque[tuple[float, float]], value: float, now: float) -> None:
    """The first of `kept` is the smallest value of the last KEPT_S."""
    while kept and kept[-1][1] >= value:
        kept.pop()
    kept.append((now, value))
    while now - kept[0][0] > KEPT_S:
        kept.popleft()
