"""Python's garbage collector and the C library's memory, set for a server: much comes and goes."""

from __future__ import annotations

import gc
from typing import Final

MORE_OBJECTS: Final = 10_000  # than went since the last look, before the next one; Python's own choice is 700
KEPT: Final = 8 * 1024 * 1024  # bytes


def calm_collector() -> None:
    """Look for circles of objects more seldom; what is loaded by now is never looked at again.

    A look at everything stops all sessions for as long as it takes, which grows with their number.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MORE_OBJECTS, 10, 10)


def keep_memory() -> None:
    """Have glibc keep what is freed, up to twice `KEPT`, for what comes next; elsewhere nothing happens.

    The largest block ever given back sets how much it keeps (mallopt(3), M_MMAP_THRESHOLD), and it begins
    with less than one answer's data.
    """
    block = bytes(KEPT)  # never written to, so that it takes no memory itself
    del block
