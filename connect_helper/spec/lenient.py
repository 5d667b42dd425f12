"""Reading values as pages really send them: booleans as words, numbers as text, nothing as null or "".

Each reader takes the value and the field's name as the caller spells it, returns None for "not set", and
raises InvalidRequest naming the field (Connect reference, section 3; transfer spec reference, 0.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from connect_helper.errors import InvalidRequest

_WORDS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,19}(?:\.0+)?", re.ASCII)
_LARGEST: Final = 2**63 - 1
TEXT_LIMIT: Final = 4_096  # characters


def as_bool(value: Any, field: str) -> bool | None:
    """Accept true/false, 1/0 and the words yes, no, true, false, 1, 0 in any case."""
    if is_unset(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise InvalidRequest(f'"{field}" must be true or false.', field=field)


def as_int(value: Any, field: str, *, minimum: int = 0, maximum: int = _LARGEST) -> int | None:
    """Accept whole numbers from `minimum` to `maximum`, also as decimal text or a float without fraction."""
    if is_unset(value):
        return None
    number = _whole(value)
    if number is None or not minimum <= number <= maximum:
        raise InvalidRequest(f'"{field}" must be a whole number from {minimum} to {maximum}.', field=field)
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    return None


def as_text(value: Any, field: str, *, limit: int = TEXT_LIMIT, path: bool = False) -> str | None:
    """Accept text of at most `limit` characters, and whole numbers, which pages send for names.

    NUL is refused. Lone surrogates are refused too, but in a path those that stand for bytes which are no
    UTF-8 (U+DC80 to U+DCFF) are kept.
    """
    if is_unset(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f'"{field}" must be text.', field=field)
    if len(value) > limit:
        raise InvalidRequest(f'"{field}" is too long: at most {limit} characters.', field=field)
    if "\0" in value or not _encodable(value, "surrogateescape" if path else "strict"):
        raise InvalidRequest(f'"{field}" contains a character that is not allowed.', field=field)
    return value


def required_text(fields: Mapping[str, Any], field: str) -> str:
    """Read a field as `as_text` does; raises InvalidRequest also when it is missing."""
    text = as_text(fields.get(field), field)
    if text is None:
        raise InvalidRequest(f"{field} is missing.", field=field)
    return text


def is_unset(value: Any) -> bool:
    """Tell whether a value means "not set": null or the empty text."""
    return value is None or (isinstance(value, str) and value == "")


def _encodable(text: str, errors: str) -> bool:
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True
