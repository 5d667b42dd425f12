"""Loads many modules at once, as quickly as they can be loaded.

Of the half second a process needs before it can do anything, a third went into looking for garbage among what
had just been loaded, and into starting compilers and linkers: the SSH library asks with their help for C
libraries of ciphers and key exchanges that this program never offers.
"""

from __future__ import annotations

import ctypes.util
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """Load modules inside; threads must not load others meanwhile."""
    collects, find = gc.isenabled(), ctypes.util.find_library
    gc.disable()
    ctypes.util.find_library = _not_found
    try:
        yield
    finally:
        ctypes.util.find_library = find
        if collects:
            gc.enable()


def _not_found(name: str) -> str | None:
    return None
