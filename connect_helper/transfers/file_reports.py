"""The files of every transfer, each with what became of it: on disk, for a million of them as for one.

A file is kept once it has ended (done, skipped or failed), under the place it was first heard of. A later
session of the same transfer that meets the same file changes its row. Rows are written in batches, by a
thread of their own; only so many wait in memory. What a full disk does not take is tried again, as far as
memory may hold it. Raised everywhere: Unavailable, when the disk refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import Unavailable
from connect_helper.transfers import file_rows
from connect_helper.transfers.database import open_database
from connect_helper.transfers.disk_thread import DiskThread
from connect_helper.transfers.file_rows import GOOD_ENDS, STATES, Reports, piece, place_of
from connect_helper.transfers.messages import FileReport

logger = logging.getLogger(__name__)

FILE_NAME: Final = "files.db"
BATCH: Final = 1_000  # reports written at a time
BATCH_S: Final = 0.5  # a report waits no longer than this
WAITING: Final = 10_000  # reports in memory; then who has more waits
LATE_S: Final = 5.0  # until what the disk did not take is tried again
LATE: Final = 10_000  # reports that may wait for that
BASES_KEPT: Final = 10_000


_New = tuple[int, int, FileReport]  # transfer, session, report


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files, the newest first, and how to go on."""

    under_way: list[FileReport]  # by the session that runs; only on the first page
    reports: list[FileReport]  # their `index` is the place in the whole transfer
    before: int | None  # what to ask with for older ones; None: there are none


class FileReports:
    """Made once per program. Transfers are named by their position in the list."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._disk = DiskThread("file-reports")
        self._new: list[_New] = []
        self._late: list[_New] = []  # the disk did not take them
        self._timer: asyncio.TimerHandle | None = None
        self._unwritten = 0
        self._room = asyncio.Event()
        self._room.set()
        self._sessions: dict[int, int] = {}  # transfer -> number of its present session
        self._last_session = 0
        self._bases: dict[int, int] = {}  # session -> place of its first file; the thread's own

    async def open(self) -> Path | None:
        """Returns where a damaged file was put, if it was."""
        return await self._disk.open(lambda: open_database(self._path, file_rows.SCHEMA))

    async def close(self) -> None:
        """Write what is waiting. Idempotent."""
        if self._disk.is_open:
            self._send()
        await self._disk.close()

    # Writing --------------------------------------------------------------------------------------

    def begin(self, transfer: int) -> None:
        """A new session of a transfer begins; its indexes start at 0 again."""
        self._last_session += 1
        self._sessions[transfer] = self._last_session

    def put(self, transfer: int, report: FileReport) -> None:
        """Keep a report some time soon. Await `room` now and then."""
        if not self._disk.is_open:
            return
        if transfer not in self._sessions:
            self.begin(transfer)
        self._new.append((transfer, self._sessions[transfer], report))
        self._unwritten += 1
        if self._unwritten >= WAITING:
            self._room.clear()
        if len(self._new) >= BATCH:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_S, self._send)

    async def room(self) -> None:
        """Return when not too many reports wait for the disk."""
        await self._room.wait()

    async def flush(self) -> None:
        """Return when everything put so far is written, or could not be."""
        self._send()
        with contextlib.suppress(Unavailable):
            await self._disk.read(_nothing)

    async def end(self, transfer: int) -> None:
        """The session is over: nothing of it waits any more."""
        await self.flush()
        self._sessions.pop(transfer, None)

    async def completed(self, transfer: int) -> None:
        """Forget what an earlier session could not bring and the last one, without failures, did not name.

        So it is with a folder that could be made in the end, and with a source that is gone from its folder.
        """
        self._late = [one for one in self._late if one[0] != transfer or one[2].state in GOOD_ENDS]
        try:
            if await self._disk.read(lambda connection: file_rows.has_bad_ends(connection, transfer)):
                await self._disk.write(lambda connection: file_rows.delete_bad_ends(connection, transfer))
        except Unavailable as error:
            logger.error("reports of earlier failures stay: %s", error.internal_message)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        late, new, self._late, self._new = self._late, self._new, [], []
        if batch := [*late, *new]:
            done = self._disk.post(lambda connection: self._insert(connection, batch, anew=bool(late)))
            done.add_done_callback(lambda done: self._written(batch, len(new), done))

    def _written(self, batch: list[_New], new: int, done: asyncio.Future[Any]) -> None:
        """Count the last `new` of a batch as written, or have all of it tried again."""
        self._unwritten -= new
        if self._unwritten < WAITING:
            self._room.set()
        if done.cancelled() or (error := done.exception()) is None:
            return
        # Several batches may have been on their way. Of one transfer an earlier session comes first: the last
        # word on a file is that of the later one, and places are given session by session.
        self._late = sorted([*self._late, *batch], key=_session)
        if lost := self._late[:-LATE]:
            logger.error("%d file reports were not kept: %s", len(lost), error)
            del self._late[:-LATE]
        if self._disk.is_open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE_S, self._send)

    def _insert(self, connection: sqlite3.Connection, batch: list[_New], *, anew: bool) -> None:
        """Write a batch; `anew`: places that were thought of for it may be taken by now."""
        if anew:
            self._bases.clear()
        connection.executemany(
            file_rows.INSERT,
            (
                file_rows.row_of(transfer, self._base(connection, transfer, session) + report.index, report)
                for transfer, session, report in batch
            ),
        )

    def _base(self, connection: sqlite3.Connection, transfer: int, session: int) -> int:
        """The place of the session's first file: after all of the sessions before."""
        if session not in self._bases:
            self._bases[session] = file_rows.next_place(connection, transfer)
            if len(self._bases) > BASES_KEPT:
                del self._bases[next(iter(self._bases))]  # should it still run, its files get later places
        return self._bases[session]

    async def remove(self, transfer: int) -> None:
        """Forget the files of a transfer, in small bites."""
        self._late = [one for one in self._late if one[0] != transfer]
        self._send()
        self._sessions.pop(transfer, None)
        while await self._disk.write(lambda connection: file_rows.delete_some(connection, transfer)):
            await self._disk.read(file_rows.give_back)

    async def keep_only(self, exists: Callable[[Sequence[int]], Awaitable[list[int]]]) -> None:
        """Remove the files of transfers that are gone: what a kill in the middle of a removal left.

        `exists` is awaited with positions and returns those that are still listed.
        """
        known = await self._disk.read(file_rows.transfers)
        for start in range(0, len(known), 500):
            some = known[start : start + 500]
            for gone in set(some) - set(await exists(some)):
                await self.remove(gone)

    # Reading --------------------------------------------------------------------------------------

    async def page(self, transfer: int, states: Sequence[str], *, before: int | None, limit: int) -> FilePage:
        """Files in one of the states, those before the place `before` or the newest."""
        self._send()
        rows = await self._disk.read(
            lambda connection: file_rows.select(connection, transfer, states, before, limit + 1)
        )
        return FilePage([], rows[:limit], rows[limit - 1].index if len(rows) > limit else None)

    async def in_order(
        self, transfer: int, under_way: Sequence[FileReport], *, live: bool, offset: int, limit: int
    ) -> tuple[list[FileReport], int]:
        """Files in the order of their first activity, and how many there are in all.

        `under_way` are those of the session that runs now (`live`), with the indexes it gave them. What the
        disk has as under way belongs to the session before then, and is left out.
        """
        self._send()
        states = [state for state in STATES if not (live and state == "running")]
        session = self._sessions.get(transfer)

        def read(connection: sqlite3.Connection) -> tuple[list[FileReport], int]:
            base = self._base(connection, transfer, session) if session is not None else 0
            places = {place_of(connection, transfer, base, one): one for one in under_way}
            return piece(connection, transfer, states, places, offset, limit)

        return await self._disk.read(read)

    async def newest(self, transfers: Sequence[int], *, each: int, budget: int) -> dict[int, Reports]:
        """What transfers of the past show of their files: failures first, then the newest.

        At most `each` of one transfer and about `budget` together; who comes first is served first.
        """
        self._send()
        return await self._disk.read(lambda connection: file_rows.newest(connection, transfers, each, budget))

    async def last_transfer(self) -> int:
        """The highest transfer that has files; -1 when none has."""
        return await self._disk.read(file_rows.last_transfer)

    async def every(self, transfer: int, states: Sequence[str] = STATES) -> AsyncIterator[list[FileReport]]:
        """All files, the newest first, a batch at a time: for exports."""
        before: int | None = None
        while True:
            page = await self.page(transfer, states, before=before, limit=BATCH)
            if page.reports:
                yield page.reports
            if page.before is None:
                return
            before = page.before


def add_reports(path: Path, reports: Iterable[tuple[int, FileReport]]) -> None:
    """Bring in what an older journal kept in another place; in the caller's thread. Raises Unavailable."""
    connection, _ = open_database(path, file_rows.SCHEMA)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            file_rows.INSERT,
            (file_rows.row_of(transfer, report.index, report) for transfer, report in reports),
        )
        connection.execute("COMMIT")


def _session(one: _New) -> int:
    return one[1]


def _nothing(_: sqlite3.Connection) -> None:
    """Done when all before it is."""
