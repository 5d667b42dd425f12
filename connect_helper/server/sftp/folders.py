"""Open folders: read a part at a time, in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Final

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.files import Files
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Entry

ANSWER_BYTES: Final = 64 * 1024  # of one NAME answer; the largest message of OpenSSH's client is 256 KiB


class OpenFolder:
    """A folder a client lists; the methods block. Making it opens the folder and raises OSError.

    `turn` keeps the requests of a client in their order: the end must not be told before the last names.
    """

    def __init__(self, files: Files, path: DocPath, owner: bytes) -> None:
        self.path = path
        self.turn = asyncio.Lock()
        self._owner = owner
        self._lock = threading.Lock()
        self._entries: Iterator[Entry] | None = files.entries(path)
        self._next = next(self._entries, None)
        here = files.stat(path)
        self._first = [self._name(Entry(name, here)) for name in (b".", b"..")]

    def read(self) -> list[bytes]:
        """The next entries in the form of a NAME answer; [] at the end."""
        with self._lock:
            names, self._first = self._first, []
            size = sum(map(len, names))
            while self._next is not None and self._entries is not None and size < ANSWER_BYTES:
                names.append(self._name(self._next))
                size += len(names[-1])
                self._next = next(self._entries, None)
            return names

    def close(self) -> None:
        with self._lock:
            self._entries = None  # the generator closes its folder when it goes
            self._next = None

    def _name(self, entry: Entry) -> bytes:
        line = packets.long_line(entry.name, entry.facts, self._owner, time.time())
        return packets.name(entry.name, line, packets.attrs(entry.facts))
