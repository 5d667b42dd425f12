"""The list of transfers on disk: what survives a restart, a crash and a kill.

SQLite with a write-ahead log and synchronous=FULL, written by one thread that takes what has gathered as
one commit. It never holds a secret: plans are kept without their login. A file of a newer program is
refused, a damaged one is set aside under another name and the list starts empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.transfers import records
from connect_helper.transfers.records import Record
from connect_helper.transfers.transfer import Transfer

logger = logging.getLogger(__name__)

FILE_NAME: Final = "transfers.db"
SCHEMA_VERSION: Final = 1
REMOVALS_KEPT: Final = 1_000
WRITES_WAITING: Final = 256  # at most; who has more to write waits
COMMIT_SIZE: Final = 64  # writes in one commit

_SCHEMA: Final = """
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), ceiling INTEGER NOT NULL);
CREATE TABLE transfers (
    id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,     -- order of submission
    facts TEXT NOT NULL,           -- JSON of Transfer without files
    figures TEXT NOT NULL,         -- JSON of what of it changed since by mere progress
    files TEXT NOT NULL,           -- JSON list of FileReport
    keeping TEXT NOT NULL          -- JSON of the rest of Record: plan without login, limits
) WITHOUT ROWID;
CREATE TABLE removals (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, facts TEXT NOT NULL);
"""

_Write = Callable[[sqlite3.Connection], None]


@dataclass(slots=True)
class Loaded:
    """What the journal knew when it was opened."""

    records: list[Record] = field(default_factory=list)  # in order of submission
    removals: list[Transfer] = field(default_factory=list)  # oldest first
    token: int = 0  # no token above this one was ever given out
    set_aside: Path | None = None  # where a damaged journal was put


class Journal:
    """Opened once per program; all methods belong to the event loop, all SQL to the writer thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._writes: queue.SimpleQueue[tuple[_Write, asyncio.Future[None] | None] | None] = (
            queue.SimpleQueue()
        )
        self._room = asyncio.Semaphore(WRITES_WAITING)
        self._soon = 0  # writes waiting that nobody waits for
        self._thread: threading.Thread | None = None

    async def open(self) -> Loaded:
        """Start the writer and read everything.

        Raises Unavailable when a newer program wrote the file, when another program holds it or when
        the disk does not let us.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Loaded] = loop.create_future()
        self._thread = threading.Thread(target=self._work, args=(loop, opened), name="journal", daemon=True)
        self._thread.start()
        try:
            return await opened
        except Unavailable:
            self._thread = None
            raise

    async def close(self) -> None:
        """Write what is waiting and end the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._writes.put(None)
            await asyncio.to_thread(thread.join)

    async def save(self, record: Record) -> None:
        """Keep `record`; durable on return. Raises Unavailable when the disk does not take it."""
        await self._durably(records.upsert(record))

    def save_soon(self, transfer: Transfer) -> None:
        """Keep progress some time soon; dropped when the disk is slow, for the next one says more."""
        if self._thread is not None and self._soon < COMMIT_SIZE:
            self._soon += 1
            self._writes.put((records.update(transfer), None))

    async def remove(self, removed: Transfer) -> None:
        """Replace a transfer by the memory that it was removed; durable on return. Raises Unavailable."""
        await self._durably(records.removal(removed, keep=REMOVALS_KEPT))

    async def reserve(self, ceiling: int) -> None:
        """Promise that no token above `ceiling` is given out before the next call. Raises Unavailable."""
        await self._durably(records.reservation(ceiling))

    async def _durably(self, write: _Write) -> None:
        if self._thread is None:
            raise Unavailable("The helper is ending; start it again.")
        async with self._room:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writes.put((write, done))
            await done

    # The writer thread ----------------------------------------------------------------------------

    def _work(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[Loaded]) -> None:
        try:
            connection, loaded = _open(self._path)
        except Unavailable as error:
            loop.call_soon_threadsafe(_fail, opened, error)
            return
        loop.call_soon_threadsafe(_succeed, opened, loaded)
        with contextlib.closing(connection):
            while batch := self._next_batch():
                failure = _commit(connection, [write for write, _ in batch])
                # The loop may be gone when the program ends without closing us.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._settle, [done for _, done in batch], failure)

    def _next_batch(self) -> list[tuple[_Write, asyncio.Future[None] | None]]:
        """Wait for writes; an empty list is the end."""
        batch: list[tuple[_Write, asyncio.Future[None] | None]] = []
        item = self._writes.get()
        while item is not None:
            batch.append(item)
            if len(batch) == COMMIT_SIZE or self._writes.empty():
                return batch
            item = self._writes.get()
        if batch:
            self._writes.put(None)
        return batch

    def _settle(self, dones: list[asyncio.Future[None] | None], error: Unavailable | None) -> None:
        for done in dones:
            if done is None:
                self._soon -= 1
            elif error is not None:
                _fail(done, error)
            elif not done.done():
                done.set_result(None)


def _succeed(future: asyncio.Future[Loaded], loaded: Loaded) -> None:
    if not future.done():
        future.set_result(loaded)


def _fail(future: asyncio.Future[None] | asyncio.Future[Loaded], error: Unavailable) -> None:
    if not future.done():
        future.set_exception(error)


def _commit(connection: sqlite3.Connection, writes: list[_Write]) -> Unavailable | None:
    """Write all or nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for write in writes:
            write(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        logger.error("The journal took no write: %s", error)
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return _as_ours(error)
    return None


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for errors that sqlite itself did not raise."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _as_ours(error: sqlite3.Error) -> Unavailable:
    if _code(error) == sqlite3.SQLITE_FULL:
        text = "The disk with the helper's list of transfers is full; free some space and try again."
    else:
        text = "The helper's list of transfers cannot be saved; look into its log and try again."
    return Unavailable(text, internal_message=f"journal: {error}")


def _open(path: Path) -> tuple[sqlite3.Connection, Loaded]:
    try:
        return _open_and_read(path)
    except sqlite3.DatabaseError as error:
        if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _unopened(path, error) from error
        logger.error("The journal is damaged: %s", error)
    except OSError as error:
        raise Unavailable(f"The list of transfers in {path} cannot be opened: {error.strerror}.") from error
    aside = _set_aside(path)
    try:
        connection, loaded = _open_and_read(path)
    except sqlite3.DatabaseError as error:
        raise _unopened(path, error) from error
    loaded.set_aside = aside
    # The counter is lost too. Milliseconds since the epoch are above any token we ever gave out.
    loaded.token = time.time_ns() // 1_000_000
    return connection, loaded


def _unopened(path: Path, error: sqlite3.Error) -> Unavailable:
    if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"Another connect-helper uses the list of transfers in {path}; end it first.")
    return Unavailable(f"The list of transfers in {path} cannot be opened: {error}.")


def _open_and_read(path: Path) -> tuple[sqlite3.Connection, Loaded]:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        # Exclusive: a second program is told at once, and no shared-memory file is needed.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _refuse_newer(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check(connection)
        return connection, _read(connection)
    except BaseException:
        connection.close()
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Raise Unavailable, with nothing written, when a newer program made the file."""
    if _version(connection) > SCHEMA_VERSION:
        raise Unavailable(
            f"The list of transfers in {path} was written by a newer connect-helper; install that one again."
        )


def _check(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; find damage now, not later."""
    if _version(connection) == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        damage = sqlite3.DatabaseError(verdict)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _read(connection: sqlite3.Connection) -> Loaded:
    loaded = Loaded()
    for row in connection.execute(
        "SELECT position, facts, figures, files, keeping FROM transfers ORDER BY position"
    ):
        try:
            loaded.records.append(records.from_row(*row))
        except (ValueError, TypeError, KeyError) as error:
            logger.error("A transfer in the journal cannot be read and is left out: %s", type(error).__name__)
    for (facts,) in connection.execute("SELECT facts FROM removals ORDER BY position"):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            loaded.removals.append(records.transfer_from(json.loads(facts)))
    ceiling = connection.execute("SELECT ceiling FROM counter").fetchone()
    loaded.token = ceiling[0] if ceiling else 0
    return loaded


def _set_aside(path: Path) -> Path:
    """Rename a damaged journal and its log, beside it; nothing of it is deleted."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside
