"""How many files and folders clients may have open: in one connection, and in all of the server together.

Each takes a descriptor of the process, a folder two. Without any left, the server could neither take
connections nor write its log. Belongs to the event loop's thread.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

MOST: Final = 1000  # of one connection, on all its channels
FEW: Final = 100  # of one connection, once half of all there are is taken


@dataclass(slots=True)
class AllHandles:
    """Those of the whole server."""

    most: int
    taken: int = 0

    @classmethod
    def for_descriptors(cls, count: int) -> AllHandles:
        """Of a process that may have `count` descriptors open.

        If all were folders, a third would still be left for connections, docroots, uploads by HTTP and logs.
        """
        return cls(count // 3)


class OpenHandles:
    """Those of one connection."""

    def __init__(self, everybody: AllHandles) -> None:
        self._everybody = everybody
        self._taken = 0

    def take(self) -> None:
        """Count one in. Raises OSError EMFILE or ENFILE, with a sentence for the client."""
        everybody = self._everybody
        if self._taken >= MOST:
            raise OSError(errno.EMFILE, "too many files are open in this connection: close some first")
        scarce = everybody.taken >= everybody.most // 2
        if everybody.taken >= everybody.most or (scarce and self._taken >= FEW):
            raise OSError(errno.ENFILE, "the server has too many files open: try again in a while")
        self._taken += 1
        everybody.taken += 1

    def give_back(self) -> None:
        """Count one out."""
        self._taken -= 1
        self._everybody.taken -= 1
