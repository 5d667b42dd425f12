"""Which bytes of a file a transfer was sent, over all its requests: it is done when none is missing. Pure.

Clients fetch large files in parts, over several connections side by side and in any order, and go on in the
middle after a loss. An answer that ended well counts whole. Of one that broke off nobody knows how much
arrived; but a client that then asks for what begins inside it has all before that.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from connect_helper.server.set_rates import Transfer
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.file_data import Version, version_of

FILES: Final = 10_000  # begun and not done; those nobody asked for longest are forgotten, and not counted
PIECES: Final = 1000  # of one file that do not touch; a client that leaves more gaps is not followed further
ALL_PIECES: Final = 200_000  # of all files; beyond them files are forgotten too
_Piece = tuple[int, int]  # where it begins in the file, and where it ends


class SentFile:
    """One version of a file, as far as one transfer was sent it."""

    def __init__(self, size: int, grew: Callable[[int], None]) -> None:
        """`grew` is told by how many the pieces become more or less."""
        self.whole = False  # the client was sent all of it, once; the next time is counted by another
        self.fetches = 0  # under way side by side
        self.lost = False  # one of them broke off
        self._size = size  # bytes
        self._grew = grew
        self._sent: list[_Piece] = []  # in order, not touching
        self._broken: list[_Piece] = []
        self._followed = True

    def asked(self, start: int) -> None:
        """The client asks for what begins at `start`."""
        begins = [piece[0] for piece in self._broken if piece[0] < start <= piece[1]]
        if begins:
            self._add((min(begins), start))

    def broke_off(self, start: int, end: int) -> None:
        """An answer from `start` broke off; what lies behind `end` was never handed to the system."""
        if self._followed and end > start and len(self._broken) < PIECES:
            self._broken.append((start, end))
            self._grew(1)

    def arrived(self, start: int, end: int) -> None:
        """An answer ended well: the client has what lies between."""
        self._add((start, min(end, self._size)))
        if self._sent == [(0, self._size)]:
            self.whole = True

    def forget(self) -> None:
        """Follow it no further."""
        self._followed = False
        self._grew(-len(self._sent) - len(self._broken))
        self._sent, self._broken = [], []

    def _add(self, piece: _Piece) -> None:
        start, end = piece
        apart = []
        for other in self._sent:
            if other[1] < start or end < other[0]:
                apart.append(other)
            else:
                start, end = min(start, other[0]), max(end, other[1])
        if self._followed and start <= end and len(apart) < PIECES:
            before, self._sent = len(self._sent), sorted([*apart, (start, end)])
            self._grew(len(self._sent) - before)


class SentFiles:
    """The files that transfers are fetching."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[Transfer, DocPath, Version], SentFile] = OrderedDict()
        self.pieces = 0  # remembered

    def of(self, transfer: Transfer, path: DocPath, facts: os.stat_result) -> SentFile:
        """The file at `path` in the version that `facts` tell of, as far as it was sent."""
        key = (transfer, path, version_of(facts))
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = SentFile(facts.st_size, self._grew)
        self._files.move_to_end(key)
        while len(self._files) > FILES:
            self._drop_oldest()
        return file

    def done(self, transfer: Transfer, path: DocPath, facts: os.stat_result) -> None:
        """The file was sent whole: counting begins anew, also for what is under way."""
        file = self._files.pop((transfer, path, version_of(facts)), None)
        if file is not None:
            file.forget()

    def _grew(self, more: int) -> None:
        self.pieces += more
        while more > 0 and self.pieces > ALL_PIECES and self._files:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._files.popitem(last=False)[1].forget()
