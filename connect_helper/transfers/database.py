"""Opening one of the helper's SQLite files: private, ours alone, of a known version, and not damaged.

A file of a newer program is refused and left as it is. A damaged one is set aside under another name and
a new one begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.transfers.disk_thread import primary_code

logger = logging.getLogger(__name__)

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Check = Callable[[sqlite3.Connection], None]
"""Looks for damage; raises sqlite3.DatabaseError when it finds some."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file is to look like.

    `steps[n]` brings version n to n + 1 inside the transaction it is given; a new file begins with
    `tables` at once.
    """

    version: int
    tables: str  # SQL of a new file
    steps: Mapping[int, Callable[[sqlite3.Connection], None]]
    synchronous: str  # "FULL": a commit survives a power cut; "NORMAL": it survives the end of the program


def open_database(
    path: Path, schema: Schema, *, check: Check | None = None
) -> tuple[sqlite3.Connection, Path | None]:
    """Open or make the file; with it comes where a damaged one was put.

    Raises Unavailable when a newer program wrote it, another program holds it or the disk does not let us.
    """
    try:
        return _open(path, schema, check), None
    except sqlite3.DatabaseError as error:
        if primary_code(error) not in _DAMAGE:
            raise _unopened(path, error) from error
        logger.error("%s is damaged: %s", path.name, error)
    except OSError as error:
        raise Unavailable(f"The list of transfers in {path} cannot be opened: {error.strerror}.") from error
    aside = _set_aside(path)
    try:
        return _open(path, schema, check), aside
    except sqlite3.DatabaseError as error:
        raise _unopened(path, error) from error


def quick_check(connection: sqlite3.Connection) -> None:
    """Read every page once; raises sqlite3.DatabaseError when one does not fit."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        damage = sqlite3.DatabaseError(verdict)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _unopened(path: Path, error: sqlite3.Error) -> Unavailable:
    if primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"Another connect-helper uses the list of transfers in {path}; end it first.")
    return Unavailable(f"The list of transfers in {path} cannot be opened: {error}.")


def _open(path: Path, schema: Schema, check: Check | None) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        # Exclusive: a second program is told at once, and no shared-memory file is needed.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if _version(connection) > schema.version:
            raise Unavailable(
                f"The list of transfers in {path} was written by a newer connect-helper;"
                " install that one again."
            )
        if _version(connection) == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table is made
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {schema.synchronous}")
        if check is not None:
            check(connection)
        _bring_up_to_date(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _bring_up_to_date(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables of a new file, or change those of an older one: all or nothing."""
    version = _version(connection)
    if version == schema.version:
        return
    if version == 0:
        connection.executescript(f"BEGIN; {schema.tables} PRAGMA user_version = {schema.version}; COMMIT;")
        return
    logger.info("the journal goes from version %d to %d", version, schema.version)
    connection.execute("BEGIN IMMEDIATE")
    for step in range(version, schema.version):
        schema.steps[step](connection)
    connection.execute(f"PRAGMA user_version = {schema.version}")
    connection.execute("COMMIT")


def _set_aside(path: Path) -> Path:
    """Rename a damaged file and its log, beside it; nothing of it is deleted."""
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
