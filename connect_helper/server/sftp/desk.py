"""What the requests of one session share: who asks, where answers go, who does the work, what is bounded.

Everything here belongs to the event loop's thread; what touches a disk goes to the threads of `Workers`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from connect_helper.server.fair_turns import FairTurns
from connect_helper.server.sessions import Session
from connect_helper.server.sftp import packets
from connect_helper.server.sftp.digests import Slices
from connect_helper.server.sftp.failures import failure
from connect_helper.server.sftp.files import Files
from connect_helper.server.sftp.free_space import FreeSpace
from connect_helper.server.sftp.lane import Answer
from connect_helper.server.sftp.order import Order
from connect_helper.server.sftp.packets import Data, Request, Status
from connect_helper.server.sftp.room import Room
from connect_helper.server.shares import by_hand
from connect_helper.server.turns import Turns
from connect_helper.storage.docpath import DocPath

_T = TypeVar("_T")

MOST_REQUESTS: Final = 512  # waiting for their answers
_PART_BYTES: Final = 50  # of memory for each name of a path, beside its own bytes
MOST_LONG: Final = 4  # that take long, of one session, ask for a turn at once; the others stand behind them


class Outlet(Protocol):
    """The way to the client."""

    def send(self, *parts: Data) -> None:
        """Send bytes in order; they stay unchanged until they have left."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes that have not left."""
        ...

    async def room(self, limit: int) -> None:
        """Wait until at most `limit` bytes wait, or the client is gone."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Workers:
    """What all sessions share: threads for short disk jobs and for slices of long ones, memory, the disk."""

    quick: ThreadPoolExecutor
    slow: ThreadPoolExecutor
    room: Room
    turns: FairTurns  # for the slow threads
    lists: Turns  # for parts of folders read, by who asks: they are work for the processor
    space: FreeSpace


class Desk:
    """Counts requests in and answers out, and has work done in between."""

    def __init__(
        self,
        files: Files,
        session: Session,
        outlet: Outlet,
        workers: Workers,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.files = files
        self.session = session
        self.outlet = outlet
        self.space = workers.space
        self.order = Order()
        self.stop = threading.Event()  # for long jobs in threads
        self.idle = asyncio.Event()  # no answer is owed
        self.idle.set()
        self.owed = 0
        self.room = workers.room
        self._workers = workers
        self._tasks = tasks
        self._long = asyncio.Semaphore(MOST_LONG)
        self._who = by_hand(session.access, session.peer)
        self._bytes = 0  # of data not written, and of paths that wait for their turn
        self._paused = False
        self._flooded = False  # answers wait, far more than they may
        self._reserved = 0  # bytes of answers on their way here
        self._reserving = asyncio.Lock()  # held by the next who gets room
        self._released = asyncio.Event()

    def took(self, request: Request) -> None:
        """A request has come in; beyond a limit, the channel is not read until half of it is answered."""
        self.owed += 1
        self.idle.clear()
        self._hold(request.size)

    def holds(self, paths: Sequence[DocPath], more: int = 0) -> int:
        """Count what a request keeps while it waits: its paths and `more` bytes. Give the sum to `answer`."""
        size = more + sum(sum(map(len, path)) + _PART_BYTES * len(path) for path in paths)
        self._hold(size)
        return size

    def _hold(self, size: int) -> None:
        self._bytes += size
        if not self._paused and (self.owed >= MOST_REQUESTS or self._bytes >= self.room.data):
            self._paused = True
            self.outlet.pause_reading()

    def answer(self, answer: Answer, size: int = 0) -> None:
        """Send the answer to one request, for which `size` bytes were kept."""
        self.outlet.send(*answer)
        self.owed -= 1
        self._bytes -= size
        if not self.owed:
            self.idle.set()
        if not self._flooded and self.outlet.waiting > 2 * self.room.answers:
            self._flooded = True
            self.spawn(self._until_taken(), "answers")
        self._read_on()

    async def _until_taken(self) -> None:
        """Who does not take its answers is not asked for more requests, however short those are."""
        if not self._paused:
            self._paused = True
            self.outlet.pause_reading()
        await self.outlet.room(self.room.answers)
        self._flooded = False
        self._read_on()

    def _read_on(self) -> None:
        few = self.owed <= MOST_REQUESTS // 2 and self._bytes <= self.room.data // 2
        if self._paused and not self._flooded and few:
            self._paused = False
            self.outlet.resume_reading()

    @property
    def has_room(self) -> bool:
        """Tell whether `reserve` would not wait."""
        return not self._reserving.locked() and self.outlet.waiting + self._reserved <= self.room.answers

    async def reserve(self, size: int) -> None:
        """Wait for room before `size` bytes of answers are made; `release` them once the answers are given.

        Who waits must hold no other answers back.
        """
        async with self._reserving:
            while self._reserved and self.outlet.waiting + self._reserved > self.room.answers:
                self._released.clear()
                await self._released.wait()
            await self.outlet.room(self.room.answers)
            self._reserved += size

    def release(self, size: int) -> None:
        """The answers that had room reserved wait in the outlet, or never came."""
        self._reserved -= size
        self._released.set()

    def spawn(
        self, work: Coroutine[Any, Any, None], name: str, over: Callable[[], None] | None = None
    ) -> None:
        """Have `work` done beside everything else; it ends with the session, perhaps before it begins.

        `over` is called then in any case.
        """
        task = self._tasks.create_task(work, name=f"sftp {name} {self.session.id}")
        if over is not None:
            task.add_done_callback(lambda _task: over())

    def start(self, run: Callable[[], _T]) -> asyncio.Future[_T]:
        """Have `run` done in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._workers.quick, run)

    async def in_slices(self, step: Callable[[], Answer | None], over: Callable[[], None]) -> Answer:
        """Have `step` done in a thread, in turn with others, again and again until it gives the answer.

        `over` is called when that is over, the session's end included, and no thread is in `step`.
        """
        turns = self._workers.turns
        working: asyncio.Future[Answer | None] | None = None
        answer: Answer | None = None
        try:
            async with self._long:
                while answer is None:
                    await turns.take(self._who)
                    working = asyncio.get_running_loop().run_in_executor(self._workers.slow, step)
                    working.add_done_callback(lambda _working: turns.give_back())
                    answer = await asyncio.shield(working)
                await self.outlet.room(self.room.answers)  # a thousand digests are long too
        finally:
            if working is None or working.done():
                over()
            else:
                working.add_done_callback(_noticed)
                working.add_done_callback(lambda _working: over())
        return answer

    async def in_thread(self, run: Callable[[], _T]) -> _T:
        """What has begun is not taken back when the session ends: a thread cannot be."""
        working = self.start(run)
        working.add_done_callback(_noticed)  # nobody may be left to hear how it ended
        return await asyncio.shield(working)

    async def in_list_turn(self, run: Callable[[], _T]) -> _T:
        """As `in_thread`, for a part of a folder: a few at a time of all that come from the same hand.

        Python makes such a list in one thread at a time: dozens at it would have the event loop wait for each
        of them again and again, and be no sooner done.
        """
        async with self._workers.lists.of(self._who):
            return await self.in_thread(run)

    def in_turn(
        self,
        number: int,
        paths: Sequence[DocPath],
        run: Callable[[], Answer],
        *,
        changes: bool,
        more: int = 0,
    ) -> None:
        """Have `run` done in a thread when its turn has come, and send what it returns.

        `more` are the bytes it keeps beside `paths`.
        """
        self._in_turn(number, paths, lambda _leave: self.in_thread(run), changes=changes, more=more)

    def long_in_turn(
        self, number: int, paths: Sequence[DocPath], slices: Slices[Answer], over: Callable[[], None]
    ) -> None:
        """As `in_turn`, for what takes long and changes nothing.

        The first slice is short: with it the file is open, and nobody waits for the others. `over` is called
        once when the slices are closed, however that came, and also when they never began.
        """
        begun = False

        def close() -> None:
            slices.close()
            over()

        def ended() -> None:
            if not begun:
                close()

        def step() -> Answer | None:
            try:
                next(slices)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            return None

        async def act(leave: Callable[[], None]) -> Answer:
            nonlocal begun
            begun = True
            answer = await self._first_slice(step, close)
            if answer is None:
                leave()
                answer = await self.in_slices(step, close)
            else:
                close()
            return answer

        self._in_turn(number, paths, act, changes=False, over=ended)

    async def _first_slice(
        self, step: Callable[[], Answer | None], over: Callable[[], None]
    ) -> Answer | None:
        working = self.start(step)
        try:
            return await asyncio.shield(working)
        except BaseException:
            working.add_done_callback(_noticed)
            working.add_done_callback(lambda _working: over())
            raise

    def _in_turn(
        self,
        number: int,
        paths: Sequence[DocPath],
        act: Callable[[Callable[[], None]], Coroutine[Any, Any, Answer]],
        *,
        changes: bool,
        more: int = 0,
        over: Callable[[], None] | None = None,
    ) -> None:
        """`act` may call what it is given to let those behind it go on before it is done.

        `over` is that of `spawn`.
        """
        turn, before = self.order.enter(paths, changes=changes)
        size = self.holds(paths, more)

        async def work() -> None:
            try:
                await Order.wait(before)
                try:
                    answer = await act(lambda: self.order.leave(turn))
                except OSError as error:
                    answer = failure(number, error)
                self.answer(answer, size)
            finally:
                self.order.leave(turn)

        self.spawn(work(), "path", over)


def _noticed(working: asyncio.Future[Any]) -> None:
    if not working.cancelled():
        working.exception()


def done(number: int, act: Callable[[], object]) -> Callable[[], Answer]:
    """`act`, with an answer that it was done."""

    def run() -> Answer:
        act()
        return packets.status(number, Status.OK)

    return run


def space_answer(number: int, facts: os.statvfs_result) -> Answer:
    """The answer to statvfs@openssh.com and its like."""
    numbers = (
        facts.f_bsize, facts.f_frsize, facts.f_blocks, facts.f_bfree, facts.f_bavail, facts.f_files,
        facts.f_ffree, facts.f_favail, facts.f_fsid, facts.f_flag & 3, facts.f_namemax,
    )  # fmt: skip
    return packets.answer(packets.EXTENDED_REPLY, number, packets.space(numbers))
