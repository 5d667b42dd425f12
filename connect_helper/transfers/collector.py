"""Python's garbage collector, set for processes that make and drop many small objects."""

from __future__ import annotations

import gc
from typing import Final

MORE_OBJECTS: Final = 50_000  # than went since the last look, before the next one; Python's own choice is 700


def calm_collector() -> None:
    """Look for cycles seldom: nearly nothing here makes any, and looking took a tenth of a session's time.

    What is loaded at the time of the call is never looked at again. The price is some megabytes that are
    given back later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(MORE_OBJECTS, 10, 10)
