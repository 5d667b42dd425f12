"""How values are written in aspera.conf (configuration reference, section 3.2). Pure functions of text."""

from __future__ import annotations

import re
from typing import Final

_TRUE: Final = frozenset({"true", "1", "yes", "enable", "enabled"})
_FALSE: Final = frozenset({"false", "0", "no", "disable", "disabled"})
_NONE: Final = frozenset({"unlimited", "disabled", "undefined"})
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PART: Final = re.compile(r"\s*([0-9]{1,12})([smhd])?", re.IGNORECASE)


class NotAValue(ValueError):
    """The text is no value of its type."""


def boolean(text: str) -> bool:
    """Raises NotAValue."""
    word = text.strip().casefold()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise NotAValue("neither true nor false")


def number(text: str) -> int | None:
    """None for the words that mean "no limit" and "not set". Raises NotAValue."""
    word = text.strip().casefold()
    if word in _NONE:
        return None
    if not word.isascii() or not word.isdecimal() or len(word) > 18:
        raise NotAValue("not a number")
    return int(word)


def duration(text: str) -> int:
    """Seconds: a bare number, or parts such as `1d 12h`. Raises NotAValue."""
    total, at = 0, 0
    body = text.strip()
    while at < len(body):
        part = _PART.match(body, at)
        if part is None:
            raise NotAValue("not a length of time")
        total += int(part[1]) * _UNITS[(part[2] or "s").lower()]
        at = part.end()
    if not body:
        raise NotAValue("not a length of time")
    return total
