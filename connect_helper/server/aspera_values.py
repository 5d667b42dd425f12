"""How values are written in aspera.conf (configuration reference, section 3.2). Pure functions of text."""

from __future__ import annotations

import re
from typing import Final

_TRUE: Final = frozenset({"true", "1", "yes", "enable", "enabled"})
_FALSE: Final = frozenset({"false", "0", "no", "disable", "disabled"})
_NONE: Final = frozenset({"unlimited", "disabled", "undefined"})
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BARE: Final = re.compile(r"[0-9]{1,12}")
_PART: Final = re.compile(r"([0-9]{1,12})([smhd])", re.IGNORECASE)
_PARTS: Final = re.compile(r"([0-9]{1,12}[smhd]\s*)+", re.IGNORECASE)


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
    if not word.isascii() or not word.isdecimal() or len(word) > 19:
        raise NotAValue("not a number")
    return int(word)


def signed(text: str) -> int | None:
    """As `number`, also below zero. Raises NotAValue."""
    body = text.strip()
    value = number(body.removeprefix("-"))
    return -value if value is not None and body.startswith("-") else value


def duration(text: str) -> int:
    """Seconds: a bare number, or parts such as `1d 12h`. Raises NotAValue."""
    body = text.strip()
    if _BARE.fullmatch(body):
        return int(body)
    if not _PARTS.fullmatch(body):
        raise NotAValue("not a length of time")
    return sum(int(part[1]) * _UNITS[part[2].lower()] for part in _PART.finditer(body))
