"""What the server remembers of each upload over HTTP, so that one survives a restart: SQLite, one thread.

Offsets are of two kinds. `offset` counts what was handed to the system; it holds for as long as the machine
runs, also when this program is killed. `synced` counts what the disk confirmed; after a crash of the machine
only that holds (REL-5, REL-8).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Literal

from connect_helper.spec.block_hash import SHA256
from connect_helper.storage.database import Schema, open_database

Kind = Literal["whole", "partial", "final"]
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TABLES: Final = """
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    path BLOB NOT NULL,
    partial BLOB NOT NULL,
    length INTEGER,
    offset INTEGER NOT NULL,
    synced INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    mtime_ns INTEGER,
    expected BLOB,
    wants_digest INTEGER NOT NULL,
    digest BLOB,
    parts TEXT NOT NULL,
    done INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    inode INTEGER,
    identity TEXT,
    fresh INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    algorithm TEXT NOT NULL DEFAULT 'sha256',
    boot TEXT NOT NULL
) STRICT;
CREATE INDEX uploads_by_account ON uploads (account, done);
CREATE INDEX uploads_by_expiry ON uploads (expires_at);
"""
_FROM_1: Final = "ALTER TABLE uploads ADD COLUMN inode INTEGER;"
_FROM_2: Final = "ALTER TABLE uploads ADD COLUMN identity TEXT;"
_FROM_3: Final = "ALTER TABLE uploads ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;"
_FROM_4: Final = "ALTER TABLE uploads ADD COLUMN token TEXT;"
_FROM_5: Final = """
ALTER TABLE uploads RENAME COLUMN sha256 TO expected;
ALTER TABLE uploads ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'sha256';
"""
_SCHEMA: Final = Schema(6, _TABLES, {1: _FROM_1, 2: _FROM_2, 3: _FROM_3, 4: _FROM_4, 5: _FROM_5})


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One upload; paths are components below the account's docroot, joined with slashes."""

    id: str
    account: str
    kind: Kind
    path: bytes  # where the file will stand; of a part, the folder that keeps it
    partial: bytes  # where its bytes gather meanwhile
    length: int | None  # bytes; None while the client has not said
    offset: int  # bytes received
    synced: int  # bytes that a crash of the machine leaves
    metadata: str  # the Upload-Metadata header
    mtime_ns: int | None
    expected: bytes | None  # what the client says the content's digest is
    wants_digest: bool
    digest: bytes | None  # of what was received, once done
    parts: tuple[str, ...]  # ids, of a final upload; of its first part, the final one's
    done: bool
    expires_at: float  # seconds since 1970
    inode: int | None = None  # of its file, once that is being brought under its name
    identity: str | None = None  # which file `partial` is; None before it is made, or by an older version
    fresh: bool = False  # no file that is there is replaced, whatever the account allows
    token: str | None = None  # the id of the one that began it; None: the account itself
    algorithm: str = SHA256  # of its digests: a name of `spec.block_hash`

    @property
    def complete(self) -> bool:
        """Whether all bytes have come."""
        return self.length is not None and self.offset == self.length


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How many uploads somebody has open, and how many bytes they still promise to bring."""

    count: int = 0
    promised: int = 0
    moving: int = 0  # of those, the bytes of uploads that are under way


_COLUMNS: Final = tuple(field.name for field in fields(UploadRecord))
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)}, boot FROM uploads"  # noqa: S608 - our own field names
_INSERT: Final = (
    f"INSERT OR REPLACE INTO uploads ({', '.join(_COLUMNS)}, boot) "  # noqa: S608 - our own field names
    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"
)


class UploadRecords:
    """The table of uploads. Blocking; its owner calls it from one thread at a time."""

    def __init__(self, file: Path) -> None:
        """Open or make `file`; raises Unavailable when it cannot be used."""
        self._boot = _boot_id()
        # Where a crash of the machine loses the last rows, their uploads start again.
        self._database = open_database(file, _SCHEMA, what="The list of uploads")

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def put(self, record: UploadRecord) -> None:
        """Add or replace one upload."""
        values = [getattr(record, name) for name in _COLUMNS]
        values[_COLUMNS.index("parts")] = " ".join(record.parts)
        self._database.execute(_INSERT, [*values, self._boot])

    def get(self, upload_id: str) -> UploadRecord | None:
        """One upload; its offset is set back to what is certain when the machine was started anew since."""
        with closing(self._database.execute(f"{_SELECT} WHERE id = ?", (upload_id,))) as rows:
            row = rows.fetchone()
        return None if row is None else self._record(row)

    def remove(self, upload_ids: Sequence[str]) -> None:
        """Forget uploads."""
        self._database.executemany("DELETE FROM uploads WHERE id = ?", [(each,) for each in upload_ids])

    def unfinished(self, account: str, *, alive: float, moving: float) -> dict[str | None, Unfinished]:
        """What is open of an account, by the id of the token that began it, None for the account itself.

        Only uploads that expire after `alive` (seconds since 1970) promise anything: they moved lately. Those
        that expire after `moving` are under way, once they brought a hundredth: a byte now and then is cheap.
        """
        sql = (
            "SELECT token, count(*), total(length - offset) FILTER (WHERE expires_at > ?), "
            "total(length - offset) FILTER (WHERE expires_at > ? AND offset * 100 >= length) "
            "FROM uploads WHERE account = ? AND NOT done GROUP BY token"
        )
        with closing(self._database.execute(sql, (alive, moving, account))) as rows:
            return {each[0]: Unfinished(each[1], int(each[2]), int(each[3])) for each in rows}

    def done_before(self, keep: int) -> list[str]:
        """The ids of all finished uploads but the last `keep` of each account."""
        sql = (
            "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY account ORDER BY expires_at DESC) "
            "AS place FROM uploads WHERE done) WHERE place > ?"
        )
        with closing(self._database.execute(sql, (keep,))) as rows:
            return [each[0] for each in rows]

    def expired(
        self, now: float, limit: int = 500, *, without: Collection[str] = frozenset()
    ) -> list[UploadRecord]:
        """Uploads whose time is over, at most `limit` of them, and none of the accounts `without`."""
        others = f"account NOT IN ({', '.join('?' * len(without))})"
        sql = f"{_SELECT} WHERE expires_at < ? AND {others} ORDER BY expires_at LIMIT ?"
        with closing(self._database.execute(sql, (now, *without, limit))) as rows:
            return [self._record(row) for row in rows]

    def _record(self, row: tuple[object, ...]) -> UploadRecord:
        *values, boot = row
        named = dict(zip(_COLUMNS, values, strict=True))
        named["parts"] = tuple(str(named["parts"]).split())
        named.update({name: bool(named[name]) for name in ("wants_digest", "done", "fresh")})
        record = UploadRecord(**named)  # type: ignore[arg-type] # a STRICT table holds what was put in
        return record if boot == self._boot or record.done else replace(record, offset=record.synced)


def _boot_id() -> str:
    """What tells this run of the machine from the next; unknown, every start counts as one."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return secrets.token_hex(16)
