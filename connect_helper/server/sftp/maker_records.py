"""Who began an unfinished file, for disks without extended attributes: SQLite in the server's own folder.

A file is known by device and inode, and a file system gives the inode of a file that is gone to the next one.
So a record holds for a file that has not changed since its maker last closed it, by the change time, which no
program can set. Whatever else touched the file, or took its place, has ended the record.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.storage.database import Schema, open_database

KEPT_S: Final = 30 * 86_400.0  # after the last close; the file itself stays
_TABLES: Final = """
CREATE TABLE makers (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, changed_ns INTEGER NOT NULL, size INTEGER NOT NULL,
    mark BLOB NOT NULL, noted_at REAL NOT NULL, PRIMARY KEY (device, inode)
) STRICT, WITHOUT ROWID;
"""
_SCHEMA: Final = Schema(1, _TABLES)


class MakerRecords:
    """The table. Blocking; its owner calls it from one thread at a time."""

    def __init__(self, file: Path | None) -> None:
        """Open or make `file`, 0600; None keeps all in memory. Raises Unavailable."""
        # What a crash of the machine loses here is an upload that begins anew.
        self._database = open_database(file, _SCHEMA, what="The list of unfinished files")
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise Unavailable(f"The list of unfinished files {file} cannot be used ({error}).") from error

    def _prepare(self) -> None:
        self._database.execute("DELETE FROM makers WHERE noted_at < ?", (time.time() - KEPT_S,))
        (count,) = self._database.execute("SELECT count(*) FROM makers").fetchone()
        self.empty = not count  # as it stays where all disks have attributes: nothing is looked up then

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def put(self, facts: os.stat_result, mark: bytes) -> None:
        """Note whose the file is, as it is now. Raises sqlite3.Error."""
        self.empty = False
        row = (*_key(facts), facts.st_ctime_ns, facts.st_size, mark, time.time())
        self._database.execute("INSERT OR REPLACE INTO makers VALUES (?, ?, ?, ?, ?, ?)", row)

    def get(self, facts: os.stat_result) -> bytes | None:
        """The mark of the file's maker; None where nobody is known. Raises sqlite3.Error."""
        if self.empty:
            return None
        sql = "SELECT mark FROM makers WHERE device = ? AND inode = ? AND changed_ns = ? AND size = ?"
        values = (*_key(facts), facts.st_ctime_ns, facts.st_size)
        with closing(self._database.execute(sql, values)) as rows:
            row = rows.fetchone()
        return None if row is None else bytes(row[0])

    def remove(self, facts: os.stat_result) -> None:
        """Forget a file. Raises sqlite3.Error."""
        if not self.empty:
            self._database.execute("DELETE FROM makers WHERE device = ? AND inode = ?", _key(facts))


def _key(facts: os.stat_result) -> tuple[int, int]:
    """Device and inode, as far as SQLite's numbers go: they have a sign."""
    return _signed(facts.st_dev), _signed(facts.st_ino)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
