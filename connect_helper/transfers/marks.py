"""A set of short digests that stays small with a million of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

MARK: Final = 16  # bytes of a mark
_FIRST: Final = 2  # bytes of it that choose the bucket


class Marks:
    """A set of marks of 16 bytes each, evenly spread as digests are.

    It takes some 25 bytes for each; Python's own set of `bytes` takes four times as much.
    """

    def __init__(self, marks: Iterable[bytes] = ()) -> None:
        self._buckets: dict[bytes, bytes] = {}  # marks with the same first bytes, one after the other
        for mark in marks:
            self.add(mark)

    def add(self, mark: bytes) -> bool:
        """Put a mark in; False when it was there."""
        first = mark[:_FIRST]
        bucket = self._buckets.get(first, b"")
        if _holds(bucket, mark):
            return False
        self._buckets[first] = bucket + mark
        return True

    def __contains__(self, mark: object) -> bool:
        return isinstance(mark, bytes) and _holds(self._buckets.get(mark[:_FIRST], b""), mark)

    def begins(self, start: bytes) -> bool:
        """Tell whether a mark begins with `start`, which is at least as long as what chooses the bucket."""
        return self.beginning(start) is not None

    def beginning(self, start: bytes) -> bytes | None:
        """The first mark that begins with `start`, see `begins`; None when there is none."""
        bucket = self._buckets.get(start[:_FIRST], b"")
        at = _find(bucket, start)
        return None if at < 0 else bucket[at : at + MARK]

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values())) // MARK

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def __iter__(self) -> Iterator[bytes]:
        for bucket in self._buckets.values():
            for at in range(0, len(bucket), MARK):
                yield bucket[at : at + MARK]


def _holds(bucket: bytes, start: bytes) -> bool:
    return _find(bucket, start) >= 0


def _find(bucket: bytes, start: bytes) -> int:
    at = bucket.find(start)
    while at > 0 and at % MARK:  # found inside of one, or across two others
        at = bucket.find(start, at + 1)
    return at
