"""Range requests (RFC 9110 section 14) for one representation of known length. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t,]*(\d{0,19})-(\d{0,19})[ \t,]*", re.ASCII | re.IGNORECASE)
_STRONG_TAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end` of a representation, `end` not included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes it covers."""
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The value of Content-Range for a representation of `size` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


class Unsatisfiable(Exception):
    """A well-formed range that no byte of the representation lies in: 416."""


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """The part of `size` bytes that a Range header asks for; None for all of it.

    A header that is no byte range, is malformed or names several ranges is ignored, as section 14.2 allows:
    the answer is then the whole, which no client can take for a part. Raises Unsatisfiable.
    """
    if header is None or (match := _ONE_RANGE.fullmatch(header.strip())) is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, min(int(last) + 1, size) if last else size)


def _suffix(digits: str, size: int) -> ByteRange | None:
    if not digits:
        return None
    if not int(digits) or not size:
        raise Unsatisfiable
    return ByteRange(max(0, size - int(digits)), size)


def range_applies(if_range: str | None, etag: str) -> bool:
    """Whether a Range header counts, given the If-Range beside it (section 13.1.5).

    Only the very same strong tag will do. A date never does: two versions of a file can share a second.
    """
    return if_range is None or (if_range.strip() == etag and _STRONG_TAG.fullmatch(etag) is not None)


def names_tag(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header lists `etag`, or is `*` (sections 13.1.1 and 13.1.2)."""
    if header.strip() == "*":
        return True
    return etag in _STRONG_TAG.findall(header)
