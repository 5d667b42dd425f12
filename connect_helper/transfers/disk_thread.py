"""One thread that owns one SQLite file: the event loop hands it jobs and never waits for the disk itself.

Writes that have gathered become one commit, all or nothing. Reads see every write handed over before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from connect_helper.errors import Unavailable

logger = logging.getLogger(__name__)

WAITING: Final = 256  # jobs at most; who has more to do waits
COMMIT_SIZE: Final = 64  # writes in one commit
ENDING: Final = "The helper is ending; start it again."

Opened = TypeVar("Opened")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    reads: bool
    done: asyncio.Future[Any]
    result: Any = None


class DiskThread:
    """All methods belong to the event loop, all jobs to the thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._held: list[_Job | None] = []  # the job after the present batch; the thread's own
        self._room = asyncio.Semaphore(WAITING)
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    async def open(self, opener: Callable[[], tuple[sqlite3.Connection, Opened]]) -> Opened:
        """Start the thread and open the file in it. Raises what `opener` may raise: Unavailable only."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Opened] = loop.create_future()
        self._thread = threading.Thread(
            target=self._work, args=(loop, opener, opened), name=self._name, daemon=True
        )
        self._thread.start()
        try:
            return await opened
        except Unavailable:
            self._thread = None
            raise

    async def close(self) -> None:
        """Do what is waiting and end the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do it inside a commit; durable on return. Raises Unavailable when the disk does not take it."""
        return await self._run(work, reads=False)

    async def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Ask, outside any commit. Raises Unavailable."""
        return await self._run(work, reads=True)

    async def _run(self, work: Callable[[sqlite3.Connection], Result], *, reads: bool) -> Result:
        async with self._room:
            result: Result = await self.post(work, reads=reads)
            return result

    def post(self, work: Callable[[sqlite3.Connection], Any], *, reads: bool = False) -> asyncio.Future[Any]:
        """Hand a job over at once; for callers who bound by themselves how much they hand over."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._thread is None:
            done.set_exception(Unavailable(ENDING))
        else:
            self._jobs.put(_Job(work, reads, done))
        return done

    # The thread -----------------------------------------------------------------------------------

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        opener: Callable[[], tuple[sqlite3.Connection, Opened]],
        opened: asyncio.Future[Opened],
    ) -> None:
        try:
            connection, found = opener()
        except Unavailable as error:
            loop.call_soon_threadsafe(_fail, opened, error)
            return
        loop.call_soon_threadsafe(_succeed, opened, found)
        with contextlib.closing(connection):
            while batch := self._next_batch():
                failure = (_read if batch[0].reads else _commit)(connection, batch)
                # The loop may be gone when the program ends without closing us.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_settle, batch, failure)

    def _next_batch(self) -> list[_Job]:
        """Wait for jobs: one read, or some writes; an empty list is the end."""
        job = self._held.pop() if self._held else self._jobs.get()
        if job is None or job.reads:
            return [job] if job is not None else []
        batch = [job]
        while len(batch) < COMMIT_SIZE and not self._jobs.empty():
            job = self._jobs.get()
            if job is None or job.reads:
                self._held.append(job)
                break
            batch.append(job)
        return batch


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Unavailable) -> None:
    if not future.done():
        future.set_exception(error)


def _settle(batch: list[_Job], failure: Unavailable | None) -> None:
    for job in batch:
        if failure is not None:
            _fail(job.done, failure)
        else:
            _succeed(job.done, job.result)


def _read(connection: sqlite3.Connection, batch: list[_Job]) -> Unavailable | None:
    (job,) = batch
    try:
        job.result = job.work(connection)
    except sqlite3.Error as error:
        logger.error("The journal answered no question: %s", error)
        return _as_ours(error)
    return None


def _commit(connection: sqlite3.Connection, batch: list[_Job]) -> Unavailable | None:
    """Write all or nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in batch:
            job.result = job.work(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        logger.error("The journal took no write: %s", error)
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return _as_ours(error)
    return None


def _as_ours(error: sqlite3.Error) -> Unavailable:
    if primary_code(error) == sqlite3.SQLITE_FULL:
        text = "The disk with the helper's list of transfers is full; free some space and try again."
    else:
        text = "The helper's list of transfers cannot be saved; look into its log and try again."
    return Unavailable(text, internal_message=f"journal: {error}")


def primary_code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for errors that sqlite itself did not raise."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
