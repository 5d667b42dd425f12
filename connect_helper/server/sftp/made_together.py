"""What the sessions of one holder made between them: those of a token, or of an account without one.

Programs bring several files side by side, each over a connection of its own. Things are known by what they
are and not by their place, so that it holds wherever somebody moves them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from connect_helper.storage.kernel import Identity

LIMIT: Final = 20_000  # files and folders remembered


class MadeTogether:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._made: OrderedDict[Identity, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, what: Identity) -> None:
        """Remember it; the oldest is forgotten where there are too many."""
        with self._lock:
            self._made[what] = None
            if len(self._made) > LIMIT:
                self._made.popitem(last=False)

    def remove(self, what: Identity) -> None:
        """Forget what is gone: without a time of birth on the disk, a later file is known by the same."""
        with self._lock:
            self._made.pop(what, None)

    def __contains__(self, what: Identity) -> bool:
        with self._lock:
            return what in self._made
