"""The folders a session receives into: files that come within a moment share an open one.

To open a folder takes several calls of the system, more than to make a small file in it. It is not shared for
long, so that a folder that was moved away or replaced is noticed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from connect_helper.transports.free_space import Spare
from connect_helper.transports.local_files import Granted
from connect_helper.transports.local_target import TargetFolder, open_target_folder

SHARED_S: Final = 0.1  # after it was opened a folder gets no further users
KEPT: Final = 16  # folders

_Key = tuple[Granted, tuple[bytes, ...]]


class TargetFolders:
    """All methods block and may be called from several threads."""

    def __init__(self, spare: Spare, clock: Callable[[], float] = time.monotonic) -> None:
        """Files leave `spare` on the volume; `clock` tells seconds."""
        self._spare = spare
        self._clock = clock
        self._mutex = threading.Lock()
        self._kept: dict[_Key, tuple[TargetFolder, float]] = {}  # with the time of opening, the oldest first
        self._over = False

    def open(self, granted: Granted, names: Sequence[bytes]) -> TargetFolder:
        """As `open_target_folder`; the caller closes it."""
        key = granted, tuple(names)
        with self._mutex:
            self._drop(older_than=self._clock() - SHARED_S)
            if key in self._kept:
                return self._kept[key][0].share()
        opened_at = self._clock()
        folder = open_target_folder(granted, names, self._spare)
        with self._mutex:
            if key not in self._kept and not self._over:
                self._kept[key] = folder.share(), opened_at
        return folder

    def close(self) -> None:
        """Keep none any more; each is closed with its last user."""
        with self._mutex:
            self._over = True
            self._drop(older_than=float("inf"))

    def _drop(self, older_than: float) -> None:
        while self._kept:
            key, (folder, opened_at) = next(iter(self._kept.items()))
            if opened_at >= older_than and len(self._kept) <= KEPT:
                return
            del self._kept[key]
            folder.close()
