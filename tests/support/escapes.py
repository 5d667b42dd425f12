"""How many names the tests of path escapes make up: few in passing, all of them by `make fuzz`."""

from __future__ import annotations

import os

NAMES_TRIED = int(os.environ.get("ESCAPE_NAMES", "2000"))
THOROUGH = "ESCAPE_NAMES" in os.environ  # other names each time, where the quick run keeps to the same
TIME_LIMIT_S = 120 + NAMES_TRIED // 10  # a name takes a few milliseconds, on a busy machine some more
