"""What is known of one file on its way to a server in parts, and which parts are still to be begun. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

PART: Final = 16 * 1024 * 1024  # bytes, where a file is cut for several connections
CUTS: Final = 64  # parts of the largest size a file is cut into at most; the smaller ones come to 80
FINEST: Final = 8  # times smaller the last parts are
SHARES: Final = 16  # of what is left, one of which a part has at most
PARTS_LIMIT: Final = 256  # that servers join
Span = tuple[int, int]  # where it begins in the file, and how long it is


@dataclass(slots=True)
class UploadPart:
    """One upload of the server: `length` bytes of the file from `start` on."""

    address: str
    start: int
    length: int
    sent: int = 0  # what the server has confirmed

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(slots=True)
class Upload:
    """An unfinished file. `parts` are in the order of the file and do not overlap."""

    size: int
    parts: list[UploadPart] = field(default_factory=list)
    sha256: str = ""  # of all that was read here, in hex; "": not known yet
    mtime_ns: int | None = None

    @property
    def offset(self) -> int:
        """Up to where the server has confirmed everything."""
        at = 0
        for part in self.parts:
            if part.start != at:
                break
            at += part.sent
            if part.sent < part.length:
                break
        return at

    @property
    def confirmed(self) -> int:
        """Bytes the server has confirmed, wherever they lie."""
        return sum(part.sent for part in self.parts)

    @property
    def is_one_stream(self) -> bool:
        """What is there is one stretch from the start, so that the rest can follow it."""
        return not self.parts or (len(self.parts) == 1 and self.parts[0].start == 0)

    def add(self, part: UploadPart) -> None:
        self.parts.append(part)
        self.parts.sort(key=lambda one: (one.start, one.length))

    def gaps(self) -> Iterator[Span]:
        """What no part covers; an empty file is one empty gap."""
        if not self.size and not self.parts:
            yield 0, 0
        at = 0
        for part in self.parts:
            if part.start > at:
                yield at, part.start - at
            at = part.end
        if at < self.size:
            yield at, self.size - at


def cut(upload: Upload) -> list[Span]:
    """The gaps of `upload` in pieces that several connections share, smaller towards the end of the file.

    A slow connection that has the last piece would hold up everything, and a large one for long.
    """
    largest = max(PART, -(-upload.size // CUTS))
    pieces: list[Span] = []
    for start, length in upload.gaps():
        at, end = start, start + length
        while at < end or at == start:
            size = min(largest, max(largest // FINEST, (upload.size - at) // SHARES), end - at)
            pieces.append((at, size))
            at += max(size, 1)
    return pieces
