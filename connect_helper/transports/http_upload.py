"""What is known of one file on its way to a server in parts, and which parts are still to be begun. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from connect_helper.spec.block_hash import SHA256

PART: Final = 16 * 1024 * 1024  # bytes, where a file is cut for several connections
LARGE_CUTS: Final = 64  # parts of the largest size that a huge file has
SMALL_CUTS: Final = 128  # parts of the smallest, but for those near its end
FINEST: Final = 8  # times smaller the smallest parts are
PORTIONS: Final = 16  # of what is left, one of which a part has at most
CUTS: Final = 192  # parts of a file, with those of earlier sessions
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
    digest: str = ""  # of all that was read here, in hex; "": not known yet
    algorithm: str = SHA256  # of that: a name of `spec.block_hash`
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


class Cutter:
    """Hands out the gaps of an upload as parts: whole, or `divided` for several connections.

    Divided they get smaller towards the end of the file, and there are no more of them than servers join.
    """

    def __init__(self, upload: Upload, *, divided: bool) -> None:
        self._divided = divided
        self._gaps = deque(upload.gaps())
        self._left = sum(length for _, length in self._gaps)
        self._room = CUTS - len(upload.parts)  # for further parts
        self._largest = max(PART, -(-upload.size // LARGE_CUTS))
        self._least = upload.size // SMALL_CUTS

    def size(self, wanted: int) -> int | None:
        """The length of the part that is next, if one of `wanted` bytes is best; None: there is none."""
        if not self._gaps or not self._divided:
            return self._gaps[0][1] if self._gaps else None
        few = -(-self._left // max(1, self._room - len(self._gaps)))
        portion = min(max(wanted, self._least), self._largest, self._left // PORTIONS)
        return min(self._gaps[0][1], max(self._largest // FINEST, few, portion))

    def take(self, size: int) -> Span:
        """The next part; `size` is what it was told to be."""
        start, length = self._gaps.popleft()
        if size < length:
            self._gaps.appendleft((start + size, length - size))
        self._left -= size
        self._room -= 1
        return start, size

    def give_back(self, span: Span) -> None:
        """What was taken is to be handed out again."""
        self._gaps.appendleft(span)
        self._left += span[1]
        self._room += 1
