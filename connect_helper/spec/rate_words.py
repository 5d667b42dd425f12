"""Rates as people type them: "200M", "800k", "1.5Gbit/s", or a plain number of kbit/s."""

from __future__ import annotations

import re
from typing import Final

from connect_helper.errors import InvalidRequest

LOWEST_KBPS: Final = 8
HIGHEST_KBPS: Final = 1_000_000_000  # 1 Tbit/s; above it is a mistake
_RATE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmg]?)(?:bit/s|bps)?", re.ASCII | re.IGNORECASE)
_KBPS: Final = {"": 1.0, "k": 1.0, "m": 1_000.0, "g": 1_000_000.0}


def parse_rate(text: str, field: str = "rate") -> int:
    """Return the rate in kbit/s of 1000 bit. Raises InvalidRequest naming `field`."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(
            f'"{field}" must be a number of kbit/s, or one with k, M or G: 200M.', field=field
        )
    kbps = int(float(found[1]) * _KBPS[found[2].lower()])
    if not LOWEST_KBPS <= kbps <= HIGHEST_KBPS:
        raise InvalidRequest(
            f'"{field}" must be from {LOWEST_KBPS} kbit/s to 1000 Gbit/s; leave it out for no limit.',
            field=field,
        )
    return kbps
