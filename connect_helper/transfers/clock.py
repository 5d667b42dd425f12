"""Time and dice, handed in so that tests own them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall` is for people and may jump; whatever is measured or waited for uses `monotonic`."""

    wall: Callable[[], float] = time.time  # seconds since the epoch
    monotonic: Callable[[], float] = time.monotonic  # seconds
    fraction: Callable[[], float] = random.random  # 0 <= fraction < 1
