"""Opening one of the server's SQLite files: private, and of a known version; what goes wrong there.

Opening blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connect_helper.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file is to look like; `steps[n]` is the SQL that brings version n to n + 1."""

    version: int
    tables: str  # SQL of a new file
    steps: Mapping[int, str] = field(default_factory=dict)


def open_database(file: Path | None, schema: Schema, *, what: str) -> sqlite3.Connection:
    """Open or make `file`, 0600; None keeps all in memory. Threads may share it, one at a time.

    A crash of the program loses nothing, one of the machine the last rows at most. Raises Unavailable, which
    says `what` the file holds, when that is damaged, of another version, or out of reach.
    """
    try:
        if file is not None:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            _bring_up_to_date(database, schema)
        except BaseException:
            database.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{what} {file} cannot be used ({error}); move it away or repair it.") from error
    return database


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether there was no room for what was to be written."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _bring_up_to_date(database: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables of a new file, or change those of an older one: all or nothing."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == schema.version:
        return
    if version > schema.version or version < 0:
        raise sqlite3.DatabaseError(f"it was written by another version of this program, {version}")
    steps = [schema.steps[step] for step in range(version, schema.version)] if version else [schema.tables]
    sql = " ".join(steps)
    try:
        database.executescript(f"BEGIN; {sql} PRAGMA user_version = {schema.version}; COMMIT;")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
