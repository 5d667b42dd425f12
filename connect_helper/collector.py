"""Python's garbage collector and the C library's memory, set for processes in which much comes and goes."""

from __future__ import annotations

import gc
from typing import Final

KEPT: Final = 8 * 1024 * 1024  # bytes


def calm_collector(more_objects: int) -> None:
    """Look for circles of objects seldom: nearly nothing here makes any, and a look stops everything else.

    `more_objects` than went since the last look have to have come before the next one; Python's own choice is
    700. What is loaded at the time of the call is never looked at again. The price is some megabytes that are
    given back later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(more_objects, 10, 10)


def keep_memory() -> None:
    """Have glibc keep what is freed, up to twice `KEPT`, for what comes next; elsewhere nothing happens.

    The largest block ever given back sets how much it keeps (mallopt(3), M_MMAP_THRESHOLD). It begins with
    too little for pieces of some 100 KiB: each came into pages that had just gone back to the system and had
    to be filled with zeros first, which took a tenth of a download over HTTPS.
    """
    block = bytes(KEPT)  # never written to, so that it takes no memory itself
    del block
