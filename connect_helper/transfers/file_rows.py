"""How the files of transfers are kept in their database: its tables, its rows, and what it is asked.

Everything here runs in the thread that owns the database.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from connect_helper.transfers.database import Schema
from connect_helper.transfers.messages import FileReport

SWEEP: Final = 10_000  # rows deleted at a time, so that nobody waits long behind a removal
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
# A file that a later session found in its place keeps the receipt of the session that brought it: the last
# parameter tells whether the report says so.
INSERT: Final = f"""
INSERT INTO files (transfer, name, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (transfer, name) DO UPDATE SET
    bytes_expected = excluded.bytes_expected, bytes_written = excluded.bytes_written,
    state = excluded.state, code = excluded.code, error_code = excluded.error_code,
    message = excluded.message, proof = excluded.proof, digest = excluded.digest,
    elapsed_usec = excluded.elapsed_usec
WHERE NOT (files.state = 'done' AND (excluded.state IN ('skipped', 'running') AND excluded.code = '' OR ?))
"""  # noqa: S608 - made of constants

Reports = dict[int, FileReport]  # by index

STATES: Final = ("running", "done", "skipped", "failed")
GOOD_ENDS: Final = ("done", "skipped")
_BAD_ENDS: Final = ("running", "failed")


def next_place(connection: sqlite3.Connection, transfer: int) -> int:
    """The place after all files of a transfer."""
    (last,) = connection.execute("SELECT MAX(place) FROM files WHERE transfer = ?", (transfer,)).fetchone()
    return 0 if last is None else int(last) + 1


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _name(report: FileReport) -> bytes:
    names = _blob(report.path) + b"\0" + _blob(report.remote_path)
    return hashlib.blake2b(names, digest_size=12).digest()


def row_of(transfer: int, place: int, report: FileReport) -> tuple[Any, ...]:
    """What `INSERT` takes."""
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
    return (transfer, name, place, path, remote_path, *sizes, *ending, report.earlier)


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


def select(
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


def place_of(connection: sqlite3.Connection, transfer: int, base: int, report: FileReport) -> int:
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


def piece(
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


def newest(
    connection: sqlite3.Connection, transfers: Sequence[int], each: int, budget: int
) -> dict[int, Reports]:
    """Files of several transfers, failures first, then the newest; see `FileReports.newest`."""
    found: dict[int, Reports] = {}
    for transfer in transfers:
        limit = min(each, budget)
        if limit <= 0:
            break
        kept = {one.index: one for one in select(connection, transfer, ("failed",), None, limit)}
        for one in select(connection, transfer, STATES, None, limit):
            if len(kept) < limit:
                kept[one.index] = one
        found[transfer] = dict(sorted(kept.items()))
        budget -= len(kept)
    return found


def last_transfer(connection: sqlite3.Connection) -> int:
    """The highest transfer that has files; -1 when none has."""
    (last,) = connection.execute("SELECT MAX(transfer) FROM files").fetchone()
    return -1 if last is None else int(last)


def delete_some(connection: sqlite3.Connection, transfer: int) -> int:
    """Delete up to SWEEP files of a transfer; how many it were."""
    return connection.execute(
        "DELETE FROM files WHERE transfer = :transfer AND place IN"
        " (SELECT place FROM files WHERE transfer = :transfer LIMIT :number)",
        {"transfer": transfer, "number": SWEEP},
    ).rowcount


def has_bad_ends(connection: sqlite3.Connection, transfer: int) -> bool:
    """Tell whether files of a transfer are kept as failed or under way."""
    return any(select(connection, transfer, _BAD_ENDS, None, 1))


def delete_bad_ends(connection: sqlite3.Connection, transfer: int) -> None:
    """Delete what is kept of files of a transfer that failed or were under way."""
    connection.execute(
        "DELETE FROM files WHERE transfer = ? AND state IN (SELECT value FROM json_each(?))",
        (transfer, json.dumps(_BAD_ENDS)),
    )


def give_back(connection: sqlite3.Connection) -> None:
    """Return room in the file to the disk."""
    connection.execute(f"PRAGMA incremental_vacuum({FREED_PAGES})").fetchall()


def transfers(connection: sqlite3.Connection) -> list[int]:
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
