"""Which bytes of a file a transfer was sent, over all its requests: it is done when none is missing. Pure.

Clients fetch large files in parts, side by side and in any order, and go on in the middle after a loss. An
answer that ended well counts whole. Of one that broke off nobody knows how much arrived; but a client that
then asks for what begins inside it has all before that.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from connect_helper.server.set_rates import Transfer
from connect_helper.storage.docpath import DocPath

FILES: Final = 10_000  # begun and not done; those nobody asked for longest are forgotten, and not counted
PIECES: Final = 1000  # of one file that do not touch; a client that leaves more gaps is not followed further
_Piece = tuple[int, int]  # where it begins in the file, and where it ends


class SentFile:
    """One version of a file, as far as one transfer was sent it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sent: list[_Piece] = []  # in order, not touching
        self._broken: list[_Piece] = []

    def asked(self, start: int) -> None:
        """The client asks for what begins at `start`."""
        for piece in self._broken:
            if piece[0] < start <= piece[1]:
                self._add((piece[0], start))

    def broke_off(self, start: int, end: int) -> None:
        """An answer from `start` broke off; what lies behind `end` was never handed to the system."""
        if end > start and len(self._broken) < PIECES:
            self._broken.append((start, end))

    def arrived(self, start: int, end: int) -> bool:
        """An answer ended well; tell whether that was the last one missing. Counting begins anew then."""
        self._add((start, end))
        whole = self._sent == [(0, self._size)]
        if whole:
            self._sent, self._broken = [], []
        return whole

    def _add(self, piece: _Piece) -> None:
        start, end = piece
        apart = []
        for other in self._sent:
            if other[1] < start or end < other[0]:
                apart.append(other)
            else:
                start, end = min(start, other[0]), max(end, other[1])
        if len(apart) < PIECES:
            self._sent = sorted([*apart, (start, end)])


class SentFiles:
    """The files that transfers are fetching."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[Transfer, DocPath, str], SentFile] = OrderedDict()

    def of(self, transfer: Transfer, path: DocPath, etag: str, size: int) -> SentFile:
        """The file at `path` in the version `etag`, of `size` bytes, as far as it was sent."""
        key = (transfer, path, etag)
        file = self._files.setdefault(key, SentFile(size))
        self._files.move_to_end(key)
        if len(self._files) > FILES:
            self._files.popitem(last=False)
        return file

    def forget(self, transfer: Transfer, path: DocPath, etag: str) -> None:
        """The file is done."""
        self._files.pop((transfer, path, etag), None)
