"""One helper per user: the lock, and the records by which others find the one that runs.

`http.uri` holds the address pages use and, on a second line, a key that proves its reader can read the
user's files (Connect reference 2.5). `control.json` tells our own command line where to ask.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from connect_helper.errors import ConnectHelperError
from connect_helper.settings import Folders, write_private

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCK: Final = "instance.lock"
_CONTROL: Final = "control.json"
_ADDRESS: Final = "http.uri"


class AlreadyRunning(ConnectHelperError):
    """Another helper of this user runs."""

    code = "already_running"


@dataclass(frozen=True, slots=True)
class Record:
    """How to reach the running helper. No repr of the keys."""

    pid: int
    pages: str  # "http://127.0.0.1:33003"
    window: str  # "http://127.0.0.1:33030"
    key: str
    authorization_key: str = ""  # line 2 of http.uri
    desktop: str = ""  # "http://127.0.0.1:33024", for pages of the newer SDK; "" when its ports are taken

    def __repr__(self) -> str:
        return (
            f"Record(pid={self.pid}, pages={self.pages!r}, window={self.window!r}, desktop={self.desktop!r})"
        )


class Instance:
    """Holds the lock while a helper runs; the kernel frees it when the process ends, however it ends."""

    def __init__(self, folders: Folders) -> None:
        self._run = folders.run
        self._lock: IO[str] | None = None

    def __enter__(self) -> Instance:
        lock = (self._run / _LOCK).open("a+", encoding="utf-8")
        for patience_s in (0.05, 0.1, 0.2, 0.0):  # `running_record` of another process holds it for a moment
            try:
                _lock(lock)
            except OSError:
                time.sleep(patience_s)
            else:
                self._lock = lock
                return self
        lock.close()
        found = read_record(self._run)
        where = f" at {found.pages}" if found else ""
        raise AlreadyRunning(f"connect-helper runs already{where}.")

    def record(self, pages: str, window: str, desktop: str = "") -> Record:
        """Write the records; returns what was written."""
        key, proof = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        record = Record(os.getpid(), pages, window, key, proof, desktop)
        write_private(self._run / _CONTROL, json.dumps(asdict(record)) + "\n")
        write_private(self._run / _ADDRESS, f"{pages}\n{proof}\n")
        return record

    def __exit__(self, *_: object) -> None:
        for name in (_CONTROL, _ADDRESS):
            (self._run / name).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _lock(file: IO[str]) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def read_record(run: Path) -> Record | None:
    """The record of the running helper; None when there is none or it cannot be read."""
    try:
        return Record(**json.loads((run / _CONTROL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def running_record(folders: Folders) -> Record | None:
    """The record, if a helper really runs: what a killed one left behind does not count."""
    record = read_record(folders.run)
    if record is None:
        return None
    try:
        with (folders.run / _LOCK).open("a+", encoding="utf-8") as lock:
            _lock(lock)
    except OSError:
        return record
    return None
