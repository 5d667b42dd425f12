"""The server's own log: one line per event, as text or as JSON, to standard error or to a file that rotates.

A line cannot be forged by a name that came over the network: control characters are escaped in both forms.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final, cast

from connect_helper.server.configuration import LogSection

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# These log what they carry: names from the other side, headers, and at DEBUG far more.
_QUIET: Final = {
    "asyncssh": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiohttp.access": logging.CRITICAL + 1,
    "aiohttp.server": logging.CRITICAL + 1,
    "aiohttp.web": logging.CRITICAL + 1,
}
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127) if code not in (9, 10)}


class TextFormatter(logging.Formatter):
    """Time, level, logger, message; a line end inside a message is visible and does not end the line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name logging gives it
        return super().formatMessage(record).replace("\n", "\\n").translate(_ESCAPES)


class JsonFormatter(logging.Formatter):
    """{"time": RFC 3339 in UTC, "level", "logger", "message", "error": traceback, if any}"""

    def format(self, record: logging.LogRecord) -> str:
        # UTC, to the millisecond, whatever the machine's zone is.
        self.converter = time.gmtime
        line = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """A log that no other account may read, also after it was set aside and begun anew.

    Others may set it aside too, as logrotate does: lines must not go to where nobody looks any more.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and self._moved_away(self.stream.fileno()):
                old = self.setStream(cast("TextIOWrapper", self._open()))
                if old is not None:
                    old.close()
        except (OSError, ValueError):  # its folder has gone, too: what is open must do
            pass
        super().emit(record)

    def _moved_away(self, handle: int) -> bool:
        try:
            return not os.path.samestat(Path(self.baseFilename).stat(), os.fstat(handle))
        except FileNotFoundError:
            return True

    def _open(self) -> IO[Any]:  # type: ignore[override]
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_private)

    def doRollover(self) -> None:  # noqa: N802  the name logging gives it
        if not self.backupCount:  # the library would go on with the same file, however large
            Path(self.baseFilename).unlink(missing_ok=True)
        super().doRollover()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def set_up(section: LogSection) -> logging.Handler:
    """Send the log of this process where the configuration says. Raises OSError."""
    handler = _handler(section)
    handler.setFormatter(JsonFormatter() if section.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(_LEVELS[section.level])
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    return handler


def _handler(section: LogSection) -> logging.Handler:
    if section.file is None:
        return logging.StreamHandler(sys.stderr)
    return PrivateRotatingFile(
        section.file,
        maxBytes=section.max_megabytes * 1_000_000,
        backupCount=section.keep_files,
        encoding="utf-8",
        errors="backslashreplace",
    )
