"""Python's garbage collector, set for a server: many small objects come and go, and hardly any in circles."""

from __future__ import annotations

import gc
from typing import Final

MORE_OBJECTS: Final = 10_000  # than went since the last look, before the next one; Python's own choice is 700


def calm_collector() -> None:
    """Look for circles more seldom; what is loaded at the time of the call is never looked at again.

    A look at everything stops all sessions for as long as it takes, which grows with their number.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MORE_OBJECTS, 10, 10)
