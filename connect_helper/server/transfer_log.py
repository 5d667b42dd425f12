"""The transfer log: every session and every file, in SQLite, for the operator's own questions.

One thread writes, in batches; the server never waits for it. When the file has grown large it is set aside
under a name with the date and a new one is begun; old ones are removed, then and once a day. Names are stored
as plain bytes. Reading is for others: `sqlite3 transfers.sqlite 'select * from sessions'`.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connect_helper.server.session_reports import FileReport, SessionReport

_log = logging.getLogger(__name__)
_WAITING: Final = 20_000  # entries; more than a healthy disk ever lets pile up
_BATCH: Final = 1000
LOOK_EVERY_S: Final = 86_400.0  # for logs that have become too old meanwhile
_SCHEMA: Final = """
create table if not exists sessions (
    id text primary key, account text not null, protocol text not null, peer text not null, direction text,
    token_id text, cookie text, started_at real not null, ended_at real, status text not null, error text,
    bytes_in integer not null, bytes_out integer not null, files_in integer not null,
    files_out integer not null, files_failed integer not null
) without rowid;
create table if not exists files (
    session_id text not null, path blob not null, direction text not null, started_at real not null,
    ended_at real not null, size integer not null, digest text, error text
);
create index if not exists files_of_session on files (session_id);
pragma user_version = 1;
"""
_SESSION_COLUMNS: Final = (
    "id", "account", "protocol", "peer", "direction", "token_id", "cookie", "started_at", "ended_at",
    "status", "error", "bytes_in", "bytes_out", "files_in", "files_out", "files_failed",
)  # fmt: skip
_PUT_SESSION: Final = (
    f"insert or replace into sessions ({', '.join(_SESSION_COLUMNS)})"  # noqa: S608  names from the table above
    f" values ({', '.join('?' * len(_SESSION_COLUMNS))})"
)
_PUT_FILE: Final = "insert into files values (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a log is set aside, and how long those are kept."""

    max_bytes: int
    keep_files: int
    keep_days: int


_Entry = tuple[str, Sequence[Any]] | None  # None: the end


class TransferLog:
    """Opened with `start`, closed with `close`; entries may come from the event loop only."""

    def __init__(self, path: Path, rotation: Rotation, tell_queue: Callable[[int], None]) -> None:
        self._path = path
        self._rotation = rotation
        self._tell_queue = tell_queue
        self._queue: queue.Queue[_Entry] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="transfer log", daemon=True)
        self._lost = 0

    def start(self) -> None:
        """Open the file, 0600. Blocking; raises sqlite3.Error and OSError."""
        self._open().close()
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end. Blocking."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def session(self, report: SessionReport) -> None:
        """Note a session when it opens and again when it ends."""
        self._put(_PUT_SESSION, [_storable(getattr(report, name)) for name in _SESSION_COLUMNS])

    def file(self, session_id: str, report: FileReport) -> None:
        """Note a file that ended."""
        direction = "send" if report.way == "in" else "receive"
        times = (report.started_at, report.ended_at)
        path, error = b"/".join(report.path), _storable(report.error)
        self._put(_PUT_FILE, (session_id, path, direction, *times, report.size, report.digest, error))

    def _put(self, statement: str, values: Sequence[Any]) -> None:
        try:
            self._queue.put_nowait((statement, values))
        except queue.Full:
            self._lost += 1
            if self._lost == 1 or self._lost % 10_000 == 0:
                _log.error("the transfer log cannot keep up: %d entries are missing from it", self._lost)
        self._tell_queue(self._queue.qsize())

    def _run(self) -> None:
        going_on, look_at = True, time.monotonic()
        while going_on:
            if time.monotonic() >= look_at:
                self._remove_aged()
                look_at = time.monotonic() + LOOK_EVERY_S
            batch = self._next_batch(look_at)
            going_on = None not in batch
            entries = [entry for entry in batch if entry is not None]
            try:
                self._write(entries)
            except Exception as error:  # noqa: BLE001  ended, this thread would write nothing ever again
                # The log must not stop the transfers; what it lacks is said in the other log.
                _log.error("%d entries of the transfer log could not be written: %s", len(entries), error)

    def _remove_aged(self) -> None:
        try:
            self._remove_old()
        except OSError as error:
            _log.error("transfer logs that are too old cannot be removed: %s", error)

    def _next_batch(self, until: float) -> list[_Entry]:
        """What waits; nothing if nothing comes until then, on the monotonic clock."""
        try:
            batch = [self._queue.get(timeout=max(0.0, until - time.monotonic()))]
        except queue.Empty:
            return []
        while len(batch) < _BATCH and batch[-1] is not None:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        self._tell_queue(self._queue.qsize())
        return batch

    def _write(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> None:
        if not entries:
            return
        connection = self._open()
        try:
            with connection:
                for statement, values in entries:
                    connection.execute(statement, values)
        finally:
            connection.close()
        self._rotate()

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=30)
        connection.executescript(_SCHEMA)
        return connection

    def _rotate(self) -> None:
        if self._path.stat().st_size < self._rotation.max_bytes:
            return
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        aside = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
        count = 1
        while aside.exists():
            aside = aside.with_name(f"{self._path.stem}-{stamp}-{count}{self._path.suffix}")
            count += 1
        self._path.rename(aside)
        self._remove_old()

    def _remove_old(self) -> None:
        found = self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}")
        newest_first = sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
        oldest = time.time() - self._rotation.keep_days * 86_400
        for number, path in enumerate(newest_first):
            if number >= self._rotation.keep_files or path.stat().st_mtime < oldest:
                path.unlink()


def _storable(value: Any) -> Any:
    """Text that SQLite takes: a cookie may hold bytes of a command line that are no UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
