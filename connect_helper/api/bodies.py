"""Reading request bodies: bounded in size, time and depth, and JSON taken strictly.

Page libraries send JSON labelled text/plain, so the content type decides nothing here.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, NoReturn

from aiohttp import web

from connect_helper.errors import InvalidRequest, TooLarge

BODY_LIMIT = 1024 * 1024  # bytes
DEPTH_LIMIT = 32
READ_LIMIT_S = 30.0

JsonObject = dict[str, Any]


async def read_object(request: web.Request) -> JsonObject:
    """Read the body as one JSON object.

    Raises TooLarge above 1 MiB; InvalidRequest for a body that stalls, is no UTF-8 or no JSON (with the
    position), repeats a key, holds NaN or an infinite number, is nested deeper than 32 or is no object.
    """
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            body = await request.read()
    except TimeoutError:
        raise InvalidRequest("The body of the request did not arrive in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"The request is larger than {BODY_LIMIT // 1024} KiB.") from None
    if not body:
        raise InvalidRequest("The body is empty; send a JSON object.")
    value = parse_json(body)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def parse_json(body: bytes) -> Any:
    """Parse strictly; see `read_object` for what is refused."""
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
