"""Cuts the bytes of a pipe into lines, however they are broken up on their way. Pure."""

from __future__ import annotations


class TooLong(ValueError):
    """A line goes on and on."""


class Lines:
    """What came so far of a line that has not ended. `limit` is in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # joined when the line ends: it may come in thousands
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that end in `data`, without their ends. Raises TooLong."""
        first, *others = data.split(b"\n")
        self._add(first)
        if not others:
            return []
        *whole, last = [b"".join(self._pieces), *others]
        self._pieces, self._length = [], 0
        self._add(last)
        return whole

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._limit:
            raise TooLong(f"a line of more than {self._limit} bytes")
        self._pieces.append(piece)
