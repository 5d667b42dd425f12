"""The files of every transfer, each with what became of it: on disk, for a million of them as for one.

A file is kept once it has ended (done, skipped or failed), under the place it was first heard of. A later
session of the same transfer that meets the same file changes its row. Rows are written in batches, by a
thread of their own; only so many wait in memory. Raised everywhere: Unavailable, when the disk refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import Unavailable
from connect_helper.transfers.database import Schema, open_database
from connect_helper.transfers.disk_thread import DiskThread
from connect_helper.transfers.messages import FileReport

logger = logging.getLogger(__name__)

FILE_NAME: Final = "files.db"
BATCH: Final = 1_000  # reports written at a time
BATCH_S: Final = 0.5  # a report waits no longer than this
WAITING: Final = 10_000  # reports in memory; then who has more waits
SWEEP: Final = 10_000  # rows deleted at a time, so that nobody waits long behind a removal
BASES_KEPT: Final = 10_000
FREED_PAGES: Final = 2_000  # given back to the disk at a time


def _from_1(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE files ADD COLUMN elapsed_usec INTEGER NOT NULL DEFAULT 0")


# A power cut may cost the reports of the last moments, and no more: the list itself is in a file that
# waits for the disk. A killed program costs nothing that was handed to the system.
SCHEMA: Final = Schema(
    version=2,
    synchronous="NORMAL",
    steps={1: _from_1},
    tables="""
CREATE TABLE files (
    transfer INTEGER NOT NULL,      -- position in the list of transfers
    place INTEGER NOT NULL,         -- order of first activity, over all sessions
    name BLOB NOT NULL,             -- digest of both paths: the same file in another session
    path BLOB NOT NULL,             -- UTF-8, where lone surrogates stand for bytes that are none
    remote_path BLOB NOT NULL,
    bytes_expected INTEGER NOT NULL,
    bytes_written INTEGER NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    error_code INTEGER NOT NULL,
    message BLOB NOT NULL,
    proof TEXT NOT NULL,
    digest TEXT NOT NULL,
    elapsed_usec INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (transfer, place)
) WITHOUT ROWID;
CREATE UNIQUE INDEX files_by_name ON files (transfer, name);
CREATE INDEX files_by_state ON files (transfer, state, place);
""",
)

_COLUMNS: Final = (
    "place, path, remote_path, bytes_expected, bytes_written, state, code, error_code, message, proof,"
    " digest, elapsed_usec"
)
# A file that a later session found in its place keeps the receipt of the session that brought it.
_INSERT: Final = f"""
INSERT INTO files (transfer, name, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (transfer, name) DO UPDATE SET
    bytes_expected = excluded.bytes_expected, bytes_written = excluded.bytes_written,
    state = excluded.state, code = excluded.code, error_code = excluded.error_code,
    message = excluded.message, proof = excluded.proof, digest = excluded.digest,
    elapsed_usec = excluded.elapsed_usec
WHERE NOT (files.state = 'done' AND excluded.state IN ('skipped', 'running') AND excluded.code = '')
"""  # noqa: S608 - made of constants

Reports = dict[int, FileReport]  # by index

STATES: Final = ("running", "done", "skipped", "failed")


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
        self._new: list[tuple[int, int, FileReport]] = []  # transfer, session, report
        self._timer: asyncio.TimerHandle | None = None
        self._unwritten = 0
        self._room = asyncio.Event()
        self._room.set()
        self._sessions: dict[int, int] = {}  # transfer -> number of its present session
        self._last_session = 0
        self._bases: dict[int, int] = {}  # session -> place of its first file; the thread's own

    async def open(self) -> Path | None:
        """Returns where a damaged file was put, if it was."""
        return await self._disk.open(lambda: open_database(self._path, SCHEMA))

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

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._new = self._new, []
        if batch:
            done = self._disk.post(lambda connection: self._insert(connection, batch))
            done.add_done_callback(lambda done: self._written(len(batch), done))

    def _written(self, number: int, done: asyncio.Future[Any]) -> None:
        self._unwritten -= number
        if self._unwritten < WAITING:
            self._room.set()
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("%d file reports were not kept: %s", number, error)

    def _insert(self, connection: sqlite3.Connection, batch: list[tuple[int, int, FileReport]]) -> None:
        connection.executemany(
            _INSERT,
            (
                _row(transfer, self._base(connection, transfer, session) + report.index, report)
                for transfer, session, report in batch
            ),
        )

    def _base(self, connection: sqlite3.Connection, transfer: int, session: int) -> int:
        """The place of the session's first file: after all of the sessions before."""
        if session not in self._bases:
            self._bases[session] = next_place(connection, transfer)
            if len(self._bases) > BASES_KEPT:
                del self._bases[next(iter(self._bases))]  # should it still run, its files get later places
        return self._bases[session]

    async def remove(self, transfer: int) -> None:
        """Forget the files of a transfer, in small bites."""
        self._send()
        self._sessions.pop(transfer, None)
        while await self._disk.write(lambda connection: _delete_some(connection, transfer)):
            await self._disk.read(_give_back)

    async def keep_only(self, exists: Callable[[Sequence[int]], Awaitable[list[int]]]) -> None:
        """Remove the files of transfers that are gone: what a kill in the middle of a removal left.

        `exists` is awaited with positions and returns those that are still listed.
        """
        known = await self._disk.read(_transfers)
        for start in range(0, len(known), 500):
            some = known[start : start + 500]
            for gone in set(some) - set(await exists(some)):
                await self.remove(gone)

    # Reading --------------------------------------------------------------------------------------

    async def page(self, transfer: int, states: Sequence[str], *, before: int | None, limit: int) -> FilePage:
        """Files in one of the states, those before the place `before` or the newest."""
        self._send()
        rows = await self._disk.read(
            lambda connection: _select(connection, transfer, states, before, limit + 1)
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
            places = {_place_of(connection, transfer, base, one): one for one in under_way}
            return _slice(connection, transfer, states, places, offset, limit)

        return await self._disk.read(read)

    async def newest(self, transfers: Sequence[int], *, each: int, budget: int) -> dict[int, Reports]:
        """What transfers of the past show of their files: failures first, then the newest.

        At most `each` of one transfer and about `budget` together; who comes first is served first.
        """
        self._send()
        return await self._disk.read(lambda connection: _newest(connection, transfers, each, budget))

    async def last_transfer(self) -> int:
        """The highest transfer that has files; -1 when none has."""
        return await self._disk.read(_last_transfer)

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
    connection, _ = open_database(path, SCHEMA)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            _INSERT, (_row(transfer, report.index, report) for transfer, report in reports)
        )
        connection.execute("COMMIT")


def next_place(connection: sqlite3.Connection, transfer: int) -> int:
    (last,) = connection.execute("SELECT MAX(place) FROM files WHERE transfer = ?", (transfer,)).fetchone()
    return 0 if last is None else int(last) + 1


def _nothing(_: sqlite3.Connection) -> None:
    """Done when all before it is."""


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _name(report: FileReport) -> bytes:
    names = _blob(report.path) + b"\0" + _blob(report.remote_path)
    return hashlib.blake2b(names, digest_size=12).digest()


def _row(transfer: int, place: int, report: FileReport) -> tuple[Any, ...]:
    path, remote_path = _blob(report.path), _blob(report.remote_path)
    name = _name(report)
    sizes = (min(report.bytes_expected, 2**63 - 1), min(report.bytes_written, 2**63 - 1))
    ending = (
        report.state,
        report.code,
        report.error_code,
        _blob(report.message),
        report.proof,
        report.digest,
        min(report.elapsed_usec, 2**63 - 1),
    )
    return (transfer, name, place, path, remote_path, *sizes, *ending)


def _report(row: tuple[Any, ...]) -> FileReport:
    place, path, remote_path, expected, written, state, code, number, message, proof, digest, elapsed = row
    return FileReport(
        index=place,
        path=_text(path),
        remote_path=_text(remote_path),
        bytes_expected=expected,
        bytes_written=written,
        state=state,
        code=code,
        error_code=number,
        message=_text(message),
        proof=proof,
        digest=digest,
        elapsed_usec=elapsed,
    )


def _select(
    connection: sqlite3.Connection, transfer: int, states: Sequence[str], before: int | None, limit: int
) -> list[FileReport]:
    """One search a state, each along an index: a filter costs the same whatever the others hold."""
    last = 2**63 - 1 if before is None else before
    if set(states) == set(STATES):
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM files WHERE transfer = ? AND place < ?"  # noqa: S608 - constants
            " ORDER BY place DESC LIMIT ?",
            (transfer, last, limit),
        ).fetchall()
    else:
        found = [
            row
            for state in states
            for row in connection.execute(
                f"SELECT {_COLUMNS} FROM files WHERE transfer = ? AND state = ? AND place < ?"  # noqa: S608
                " ORDER BY place DESC LIMIT ?",
                (transfer, state, last, limit),
            )
        ]
        found.sort(reverse=True)
    return [_report(row) for row in found[:limit]]


def _place_of(connection: sqlite3.Connection, transfer: int, base: int, report: FileReport) -> int:
    """The place of a file under way: where an earlier session put it, or the one it is going to have."""
    found = connection.execute(
        "SELECT place FROM files WHERE transfer = ? AND name = ?", (transfer, _name(report))
    ).fetchone()
    return base + report.index if found is None else int(found[0])


_LISTED: Final = """
WITH live (place) AS (SELECT value FROM json_each(:live)),
    listed (place) AS (
        SELECT place FROM files WHERE transfer = :transfer
            AND state IN (SELECT value FROM json_each(:states)) AND place NOT IN (SELECT place FROM live)
        UNION ALL SELECT place FROM live
    )
"""
_TOTAL: Final = _LISTED + "SELECT COUNT(*) FROM listed"  # noqa: S608 - made of constants
_PLACES: Final = _LISTED + "SELECT place FROM listed ORDER BY place LIMIT :limit OFFSET :offset"  # noqa: S608


def _slice(
    connection: sqlite3.Connection,
    transfer: int,
    states: Sequence[str],
    under_way: dict[int, FileReport],
    offset: int,
    limit: int,
) -> tuple[list[FileReport], int]:
    """A piece of the list of files by place, where those under way stand in for what the disk has of them."""
    words = {
        "transfer": transfer,
        "states": json.dumps(list(states)),
        "live": json.dumps(list(under_way)),
        "offset": min(offset, 2**62),
        "limit": limit,
    }
    (total,) = connection.execute(_TOTAL, words).fetchone()
    places = [place for (place,) in connection.execute(_PLACES, words)]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM files WHERE transfer = ? AND place IN"  # noqa: S608 - made of constants
        " (SELECT value FROM json_each(?))",
        (transfer, json.dumps([place for place in places if place not in under_way])),
    )
    known = {row[0]: _report(row) for row in rows}
    return [under_way.get(place) or known[place] for place in places], int(total)


def _newest(
    connection: sqlite3.Connection, transfers: Sequence[int], each: int, budget: int
) -> dict[int, Reports]:
    found: dict[int, Reports] = {}
    for transfer in transfers:
        limit = min(each, budget)
        if limit <= 0:
            break
        kept = {one.index: one for one in _select(connection, transfer, ("failed",), None, limit)}
        for one in _select(connection, transfer, STATES, None, limit):
            if len(kept) < limit:
                kept[one.index] = one
        found[transfer] = dict(sorted(kept.items()))
        budget -= len(kept)
    return found


def _last_transfer(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT MAX(transfer) FROM files").fetchone()
    return -1 if last is None else int(last)


def _delete_some(connection: sqlite3.Connection, transfer: int) -> int:
    return connection.execute(
        "DELETE FROM files WHERE transfer = :transfer AND place IN"
        " (SELECT place FROM files WHERE transfer = :transfer LIMIT :number)",
        {"transfer": transfer, "number": SWEEP},
    ).rowcount


def _give_back(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA incremental_vacuum({FREED_PAGES})").fetchall()


def _transfers(connection: sqlite3.Connection) -> list[int]:
    """Every transfer that has files, by jumps along the key."""
    found: list[int] = []
    last = -1
    while True:
        (following,) = connection.execute(
            "SELECT MIN(transfer) FROM files WHERE transfer > ?", (last,)
        ).fetchone()
        if following is None:
            return found
        found.append(last := int(following))
