"""JSON taken strictly, as both the helper and the transfer server take it from whoever asks. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from connect_helper.errors import InvalidRequest

DEPTH_LIMIT: Final = 32

JsonObject = dict[str, Any]


def parse_json(body: bytes) -> Any:
    """Parse UTF-8.

    Raises InvalidRequest for what is no UTF-8 or no JSON (with the position), repeats a key, holds NaN or an
    infinite number, or is nested deeper than 32.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise InvalidRequest(f"The JSON is nested deeper than {DEPTH_LIMIT}.") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except InvalidRequest:
        raise
    except ValueError:  # an integer with thousands of digits
        raise InvalidRequest("The JSON holds a number that is too long.") from None
    _check_depth(value)
    return value


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> JsonObject:
    found: JsonObject = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(f"The JSON names {key[:80]!r} twice.", field=key[:80])
        found[key] = value
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise InvalidRequest(f"The JSON holds {word}, which is no number.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest(f"The number {text[:40]} is out of range.")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    if any(isinstance(item, (dict, list)) for item in level):
        raise InvalidRequest(f"The JSON is nested deeper than {DEPTH_LIMIT}.")
