"""Which parts of a file a sparse checksum looks at. Both sides get the same list from the same size."""

from __future__ import annotations

from typing import Final

EDGE: Final = 64 * 1024  # bytes looked at first and last
BLOCK: Final = 16 * 1024  # bytes of each sample between them
WHOLE_BELOW: Final = 1024 * 1024  # smaller files are looked at whole
_PER_BYTES: Final = 64 * 1024 * 1024  # one sample more for each of these
_FEWEST: Final = 14
_MOST: Final = 62  # 62 * 16 KiB + 2 * 64 KiB is just above 1 MiB, whatever the file


def sparse_ranges(size: int) -> tuple[tuple[int, int], ...]:
    """Return (offset, length) pairs in bytes, ascending and apart, for a file of `size` bytes.

    Files up to 1 MiB are covered whole; of larger ones the first and last 64 KiB and 14 to 62 samples of
    16 KiB spread evenly between them. An empty file has no ranges.
    """
    if size <= WHOLE_BELOW:
        return ((0, size),) if size > 0 else ()
    count = min(_MOST, max(_FEWEST, size // _PER_BYTES))
    room = size - 2 * EDGE - count * BLOCK  # bytes not looked at
    gaps = count + 1
    samples = ((EDGE + index * BLOCK + (index + 1) * room // gaps, BLOCK) for index in range(count))
    return ((0, EDGE), *samples, (size - EDGE, EDGE))
