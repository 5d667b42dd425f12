"""The connections of one session: how many there are, and what each has on its way.

One is enough where answers come at once. On a long line each connection is held back by the server's window
and by every lost packet, so more of them are opened while they help: at once where answers take long and
there is much to move, then twice as many as long as each is slow and the sum still grows. A server that lets
in fewer is no fault. Bytes, seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from connect_helper.errors import TransferError
from connect_helper.spec.sessions import divides
from connect_helper.transports.error_map import Side
from connect_helper.transports.lane import UNKNOWN_S, Lane
from connect_helper.transports.line import Line
from connect_helper.transports.packing import SMALL_FILE, Packing
from connect_helper.transports.sftp_answers import Answer
from connect_helper.transports.sftp_wire import SftpWire
from connect_helper.transports.tcp_facts import TcpFacts

_log = logging.getLogger(__name__)

MOST: Final = 64  # connections this program opens by itself
AT_ONCE: Final = 9  # logins at a time: a stock server turns some away when ten are under way
FIRST: Final = 16
SHORT_S: Final = 0.008  # answers this quick: one connection fills the line
TABLE_S: Final = 0.001  # a line this short ends in the same room
BUSY_S: Final = 0.06  # how late a busy machine may answer
PER_LANE: Final = 1024 * 1024  # bytes to move that are worth a connection
OWED_PER_LANE: Final = 64  # requests of small files under way that are worth a connection
FILES_PER_LANE: Final = 500  # files to move that are worth a connection
SLOW: Final = 3_000_000  # bytes/s of one connection; below, more of them may help
GAIN: Final = 1.1  # times the sum has to grow for the next step
STEP_S: Final = 0.6
FILLED_S: Final = 5.0  # so long after the line was full, the connections there are will do
LOOK_S: Final = 0.05

SHARED_FROM: Final = 4 * 1024 * 1024  # bytes; a smaller file stays on one connection

_T = TypeVar("_T")

Opener = Callable[[Callable[[], None]], Awaitable[Lane]]
"""Makes a further connection; calls what it is given once it is logged in."""


class Lanes:
    """All connections of a session. `run` has to run beside the work and ends when cancelled.

    Further ones may be on their way before the first, which is made elsewhere, can be used: `admit` it then.
    """

    def __init__(
        self,
        opener: Opener,
        fixed: int | None,
        limit: Callable[[], float | None],
        line: Line,
        divide_from: int | None = None,
    ) -> None:
        self.all: list[Lane] = []
        self.bytes_left = 0  # of the files under way
        self.moves = 0  # files that several connections move
        self._opener = opener
        self._fixed = fixed
        self._limit = limit  # the rate limit in bytes/s
        self._divide_from = divide_from
        self.line = line
        self._stuck = 0  # bytes on stalled connections
        self._disturbed: dict[Lane, int] = {}  # packets each had lost at the last look
        self._moved_before = 0  # bytes, by connections that are gone
        self._first: Lane | None = None
        self._more: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the limit has grown
        self._news = asyncio.Event()  # a reason to look before it is time
        self._hint = 0  # bytes to move, guessed before anything was looked at
        self._expected = 0  # bytes to move, all told, as far as known
        self._expected_files = 0
        self._target = fixed or 1
        self._most = fixed or MOST
        self._step_at = 0.0
        self._best = 0.0
        self._rate = _Rate()
        self._packing = Packing()
        self._starting = 0
        self._logging_in = 0

    def admit(self, first: Lane, *others: Lane) -> None:
        """The connection everything else hangs on is ready, with others that are there already."""
        self._first = first
        self.all.insert(0, first)
        for lane in others:
            self._join(lane)

    def _join(self, lane: Lane) -> None:
        self.all.append(lane)
        lane.wire.on_lost = lambda: self.lost(lane)

    @property
    def first(self) -> Lane:
        if self._first is None:
            raise RuntimeError("there is no connection yet")
        return self._first

    def hint(self, size: int) -> None:
        """About so many bytes will have to be moved, all told."""
        self._hint = self._shared(size)
        self._news.set()

    def expect(self, size: int, files: int) -> None:
        """So many bytes more, in so many files, will have to be moved."""
        self._expected += self._shared(size)
        self._expected_files += files
        self._news.set()

    def _shared(self, size: int) -> int:
        """How much of a file counts: a large one that stays on one connection calls for no other."""
        return size if size < SHARED_FROM or self.divides(size) else 0

    def divides(self, size: int) -> bool:
        """Tell whether several connections move a file together."""
        return divides(size, self._divide_from, own_threshold=SHARED_FROM)

    def lightest(self) -> Lane:
        """The connection with the least to do; of several the last, for small requests fill the first."""
        lane = min(reversed(self.all), key=Lane.load)
        if lane.is_stalled:  # rarely so, and to ask each of them costs more than the rest
            lane = min(reversed(self.all), key=lambda one: (one.is_stalled, one.load()))
        return lane

    def witness(self) -> Lane:
        """As `lightest`, for a question about a file that another connection has moved."""
        lane = self.lightest()
        if lane.is_elsewhere:  # rarely so, too
            lane = min((one for one in self.all if not one.is_elsewhere), key=Lane.load, default=self.first)
        return lane

    def only_lane_for(self, size: int = 0) -> Lane:
        """The connection that a request goes over, or all of a file of `size` bytes."""
        packed = self._packing.choose(self.all, size) if size <= SMALL_FILE else None
        return packed or self.lightest()

    def lane_for(self, size: int) -> Lane:
        """The connection that a file of so many bytes begins on."""
        return self.first if self.divides(size) else self.only_lane_for(size)

    async def call(self, ask: Callable[[SftpWire], Awaitable[_T]], side: Side, name: bytes) -> _T:
        """One small request, its error translated."""
        lane = self.only_lane_for()
        return await lane.call(ask(lane.wire), side, name)

    def has_room(self, lane: Lane) -> bool:
        """Tell whether another block may be on its way over `lane`; with nothing there it always may."""
        if lane.on_way == 0:
            return True
        return lane.has_room and not lane.is_stalled and not self._is_full

    @property
    def _is_full(self) -> bool:
        return sum(one.on_way for one in self.all) - self._stuck >= self.line.limit

    async def more_room(self, lane: Lane, answer: asyncio.Future[Answer]) -> None:
        """Wait for an answer, or only until the line takes more if nothing else holds `lane` back."""
        if lane.has_room and not answer.done() and self._is_full:
            await asyncio.wait((answer, self._more), return_when=asyncio.FIRST_COMPLETED)

    def lost(self, lane: Lane) -> None:
        """A connection broke; the first one takes the session with it."""
        if lane is not self._first and lane in self.all:
            self.drop(lane)
            self._most = max(1, len(self.all))

    def drop(self, lane: Lane) -> None:
        """A further connection is of no more use."""
        if lane in self.all:
            self.all.remove(lane)
            self._moved_before += lane.moved
        lane.abort()

    @property
    def silent_s(self) -> float:
        return max((lane.silent_s for lane in self.all), default=0.0)

    def abort(self) -> None:
        for lane in self.all:
            lane.abort()

    async def run(self) -> None:
        """Open connections as they help, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                self._aim(time.monotonic())
                there = max(1, len(self.all)) + self._starting
                wanted = min(self._target, self._most) - there
                for _ in range(min(wanted, AT_ONCE - self._logging_in)):
                    self._starting += 1
                    self._logging_in += 1
                    group.create_task(self._start(), name="connection")
                await self._any_news()

    async def _any_news(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._news.wait()
        except TimeoutError:
            return

    async def _start(self) -> None:
        login = _Login(self._logged_in)
        try:
            lane = await self._opener(login.over)
        except TransferError as error:
            _log.info("no further connection: %s", error.internal_message)
            self._most = max(len(self.all), 1, min(self._most, len(self.all) + self._starting - 1))
        else:
            if not lane.wire.is_lost:  # nobody would hear of it any more
                self._join(lane)
        finally:
            login.over()
            self._starting -= 1

    def _logged_in(self) -> None:
        """The next one may begin: servers count the logins under way."""
        self._logging_in -= 1
        self._news.set()

    @property
    def _moved(self) -> int:
        """Bytes, all told."""
        return self._moved_before + sum(lane.moved for lane in self.all)

    def _useful(self) -> int:
        """How many connections what is left to do is worth."""
        owed = sum(lane.wire.owed for lane in self.all)
        moved = self._moved
        left = max(self.bytes_left, max(self._hint, self._expected) - moved)
        files = self._expected_files if moved < self._expected else 0
        return max(left // PER_LANE, owed // OWED_PER_LANE, files // FILES_PER_LANE)

    def _is_near(self) -> bool:
        """Tell whether one connection fills the line.

        A busy machine at the other end of the table answers late too, so what the system saw of the line
        counts; but where something near by only passes the connection on, answers take really long.
        """
        first = self._first
        answer_s = first.round_trip_s if first is not None else UNKNOWN_S
        if answer_s == UNKNOWN_S:
            return self.line.round_trip_s < SHORT_S
        return answer_s < SHORT_S or (self.line.round_trip_s < TABLE_S and answer_s < BUSY_S)

    def _look(self, told: Mapping[Lane, TcpFacts | None], now: float) -> None:
        """`told` is what the system says about each connection."""
        used = [lane for lane in self.all if lane.on_way]
        # What the system says before anything has come back is of the login, or of an earlier transfer.
        facts = [one for lane in used if lane.moved and (one := told[lane]) is not None]
        self._stuck = sum(lane.on_way for lane in used if lane.is_stalled)
        before = self.line.limit
        on_way = sum(lane.on_way for lane in used) - self._stuck
        self.line.look(self._moved, facts, now, used=on_way, lost=self._lost_since(told))
        if self.line.limit > before:
            more, self._more = self._more, asyncio.get_running_loop().create_future()
            more.set_result(None)

    def _lost_since(self, told: Mapping[Lane, TcpFacts | None]) -> int:
        """Packets that the connections lost since this was asked before; of new ones none."""
        before = self._disturbed
        self._disturbed = {lane: facts.disturbed for lane, facts in told.items() if facts is not None}
        return sum(max(0, count - before.get(lane, count)) for lane, count in self._disturbed.items())

    def _aim(self, now: float) -> None:
        rate = self._rate.of(self._moved, now)
        facts = {lane: lane.tcp_facts() for lane in self.all}
        self._packing.look(list(facts.values()), now)
        if self._is_near():
            return
        self._look(facts, now)
        if self._fixed is not None:
            return
        useful = self._useful()
        if self._target < min(FIRST, useful, self._most):
            self._target, self._step_at = min(FIRST, useful, self._most), now
            self._best = rate
            return
        self._aim_at_losses()
        if len(self.all) < min(self._target, self._most) or now - self._step_at < STEP_S:
            if len(self.all) < self._target:
                self._step_at = now
            return
        limit = self._limit()
        slow = rate / len(self.all) < SLOW and (limit is None or rate < 0.9 * limit)
        has_room = not self.line.is_starting and now - self.line.full_at > FILLED_S
        if slow and has_room and rate > GAIN * self._best and useful > self._target:
            self._best = rate
            self._target = min(2 * self._target, useful, self._most)
        self._step_at = now

    def _aim_at_losses(self) -> None:
        """Each lost packet slows one connection down, whatever the line could carry."""
        slow = self.line.rate < SLOW * len(self.all)
        if self.line.is_lossy and slow and self._limit() is None:
            self._target = max(self._target, min(2 * self._useful(), self._most))


class _Login:
    """Tells once that one login is over."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def over(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()


class _Rate:
    """Bytes per second of the last half second or so."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def of(self, total: int, now: float) -> float:
        self._points.append((now, total))
        while len(self._points) > 2 and now - self._points[1][0] >= STEP_S:
            del self._points[0]
        at, before = self._points[0]
        return max(0, total - before) / (now - at) if now > at else 0.0
