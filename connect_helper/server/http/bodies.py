"""JSON bodies of requests, bounded in size, time and depth, and taken strictly."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NoReturn

from aiohttp import web

from connect_helper.server.http.problems import Problem, bad_request

BODY_LIMIT: Final = 1024 * 1024  # bytes
DEPTH_LIMIT: Final = 32
READ_LIMIT_S: Final = 30.0

JsonObject = dict[str, Any]


async def read_json(request: web.Request) -> JsonObject:
    """The body as one JSON object, whatever content type it has.

    Raises Problem: 413 above 1 MiB, 408 for a body that stalls, 400 for what is no JSON object, repeats a
    key, holds NaN or is nested deeper than 32.
    """
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            body = await request.read()
    except TimeoutError:
        raise Problem(408, "stalled", "The body of the request did not arrive in time.") from None
    if len(body) > BODY_LIMIT:
        raise Problem(413, "too_large", f"The request is larger than {BODY_LIMIT // 1024} KiB.")
    value = _parsed(body)
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object.")
    return value


def _parsed(body: bytes) -> object:
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except (RecursionError, ValueError):
        raise bad_request("The body is not JSON, or not in UTF-8.") from None
    if _depth_exceeds(value, DEPTH_LIMIT):
        raise bad_request(f"The JSON is nested deeper than {DEPTH_LIMIT}.")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise bad_request("The JSON names a key twice.")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise bad_request(f"The JSON holds {word}, which is no number.")


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True
