"""Listings kept between the pages of one browse, so that page 100 of a folder costs no hundredth look at it.

A listing is kept as names in order, under all that it depends on, the folder's own change among it: as soon
as something comes into the folder or leaves it, another listing is made. Sizes and times of files change
without that: where order or filters ask about them, the first page looks anew, and later pages go on in the
order that the first one was cut from. Safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

KEEP_S: Final = 60.0
MOST_NAMES: Final = 1_000_000  # in all listings together, some 60 MB
LONGEST: Final = 200_000  # names of one listing; longer ones are not kept


class Listings:
    """The listings of one server."""

    def __init__(self, *, most: int = MOST_NAMES, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._turn = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, tuple[bytes, ...]]] = OrderedDict()
        self._names = 0

    def get(self, key: Hashable) -> tuple[bytes, ...] | None:
        """The names kept under `key`, if that was not long ago."""
        with self._turn:
            self._forget()
            found = self._kept.get(key)
            return None if found is None else found[1]

    def put(self, key: Hashable, names: tuple[bytes, ...]) -> None:
        """Keep names; the oldest listings go when there are too many."""
        with self._turn:
            self._drop(key)
            self._kept[key] = (self._clock(), names)
            self._names += len(names)
            self._forget()

    def _forget(self) -> None:
        old = self._clock() - KEEP_S
        while self._kept and (self._names > self._most or next(iter(self._kept.values()))[0] < old):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        if key in self._kept:
            self._names -= len(self._kept.pop(key)[1])
