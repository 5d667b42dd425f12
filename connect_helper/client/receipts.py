"""Where the receipts of one transfer are kept: in memory for a program that asks for them, else on disk.

The first session that brought a file has the best receipt of it: one that finds the file in its place later
adds nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Final, Protocol

from connect_helper.client.results import Receipt, as_json
from connect_helper.errors import Unavailable


class Receipts(Protocol):
    """Iterated, it gives one receipt for each file, in the order in which the files first ended."""

    def put(self, receipt: Receipt, *, earlier: bool = False) -> bool:
        """Keep a receipt; False when it is no news. Raises Unavailable when there is no room for it.

        `earlier`: it only repeats that an earlier session brought the file.
        """
        ...

    def __iter__(self) -> Iterator[Receipt]: ...


class NoReceipts:
    """Keeps none; everything is news."""

    def put(self, _receipt: Receipt, *, earlier: bool = False) -> bool:
        return True

    def __iter__(self) -> Iterator[Receipt]:
        return iter(())


class HeldReceipts:
    """Keeps all of them in memory: some 500 bytes for each file."""

    def __init__(self) -> None:
        self._receipts: dict[tuple[str, str], Receipt] = {}

    def put(self, receipt: Receipt, *, earlier: bool = False) -> bool:
        key = (receipt.path, receipt.remote_path)
        before = self._receipts.get(key)
        if before is not None and before.state == "done" and (earlier or receipt.state == "skipped"):
            return False
        self._receipts[key] = receipt
        return True

    def __iter__(self) -> Iterator[Receipt]:
        return iter(self._receipts.values())


class SpooledReceipts:
    """Keeps them in a temporary file without a name that goes with this object; a few in memory."""

    def __init__(self) -> None:
        # "" is SQLite's word for such a file, in $TMPDIR or the system's own folder for them. It is written
        # to when more gathers than SQLite's cache holds (2 MB), and never waited for.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLE)

    def put(self, receipt: Receipt, *, earlier: bool = False) -> bool:
        names = f"{receipt.path}\0{receipt.remote_path}".encode("utf-8", "surrogatepass")
        name = hashlib.blake2b(names, digest_size=16).digest()
        row = (name, receipt.state, json.dumps(as_json(receipt)), earlier)
        try:
            return self._database.execute(_PUT, row).rowcount > 0
        except sqlite3.Error as error:
            raise Unavailable(
                f"The receipts of the files cannot be kept in the folder for temporary files ({error});"
                " free some space there and start again. What was transferred is kept."
            ) from error

    def __iter__(self) -> Iterator[Receipt]:
        for (fields,) in self._database.execute("SELECT fields FROM receipts ORDER BY place"):
            yield Receipt(**json.loads(fields))

    def close(self) -> None:
        """Forget them."""
        self._database.close()


_TABLE: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE receipts (
    place INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,  -- digest of both paths
    state TEXT NOT NULL,
    fields TEXT NOT NULL        -- JSON; ASCII, so that lone surrogates fit in
);
BEGIN;
"""
_PUT: Final = """
INSERT INTO receipts (name, state, fields) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET state = excluded.state, fields = excluded.fields
WHERE NOT (receipts.state = 'done' AND (excluded.state = 'skipped' OR ?))
"""
