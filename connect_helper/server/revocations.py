"""Tokens withdrawn before their time: a text file that several servers and the command may share.

One line each: the token's id, a blank, and the second since the epoch after which the line may be forgotten.
The file is looked at whenever it changed. It is only ever replaced whole, so a reader never sees half a list;
writers take turns by a lock on a file beside it. A list that cannot be read refuses every token.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from connect_helper.errors import ConnectHelperError
from connect_helper.server.tokens import UNDER_WAY_S

_LINE: Final = re.compile(r"([0-9A-Za-z_-]{1,64}) ([0-9]{1,12})")
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
# A session under way outlives its token, and clocks differ.
_KEPT_S: Final = UNDER_WAY_S + 3600
_Seen = tuple[int, int, int]  # the list as read: inode, size, mtime in ns


class RevocationsUnreadable(ConnectHelperError):
    """The list cannot be read, so nobody knows which tokens are still good."""

    code: ClassVar[str] = "revocations_unreadable"
    http_status: ClassVar[int] = 503


class Revocations:
    """The list at one path. Blocking; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._seen: _Seen | None = None
        self._until: dict[str, int] = {}

    def revoked(self, token_id: str) -> bool:
        """Tell whether that token was withdrawn. Raises RevocationsUnreadable."""
        with self._turn:
            self._reread()
            return token_id in self._until

    def revoke(self, token_id: str, until: int) -> None:
        """Withdraw a token; `until` is when it would have expired anyway. Durable when this returns.

        Raises RevocationsUnreadable, and ValueError for an id that no token has.
        """
        if not _ID.fullmatch(token_id):
            raise ValueError("A token id has letters, digits, - and _ only.")
        with self._turn, self._alone():
            self._reread()
            now = time.time()
            kept = {name: end for name, end in self._until.items() if end + _KEPT_S >= now}
            kept[token_id] = max(until, kept.get(token_id, 0))
            self._write(kept)

    def _reread(self) -> None:
        try:
            with self._path.open(encoding="ascii") as file:
                facts = os.fstat(file.fileno())
                seen = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
                if seen != self._seen:
                    self._until = dict(_parsed(line) for line in file if line.strip())
                    self._seen = seen
        except FileNotFoundError:
            self._seen, self._until = None, {}
        except (OSError, ValueError) as error:
            raise RevocationsUnreadable(
                "Tokens cannot be checked at the moment. Tell the operator of the server.",
                internal_message=f"the list of revoked tokens {self._path} cannot be read: {error}",
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(
            self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, until: dict[str, int]) -> None:
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=self._path.parent, prefix=f".{self._path.name}.", delete=False
        ) as file:
            try:
                file.writelines(f"{name} {end}\n" for name, end in until.items())
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _parsed(line: str) -> tuple[str, int]:
    found = _LINE.fullmatch(line.rstrip("\n"))
    if found is None:
        raise ValueError("a line is neither an id nor a time")
    return found[1], int(found[2])
