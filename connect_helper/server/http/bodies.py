"""JSON bodies of requests, bounded in size, time and depth, and taken strictly."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from connect_helper.errors import InvalidRequest
from connect_helper.server.http.problems import Problem, bad_request
from connect_helper.spec.strict_json import JsonObject, parse_json

BODY_LIMIT: Final = 64 * 1024  # bytes: the longest path with six characters for each byte, and room beside it
READ_LIMIT_S: Final = 30.0


async def read_json(request: web.Request) -> JsonObject:
    """The body as one JSON object, whatever content type it has.

    Raises Problem: 413 above 64 KiB, 408 for a body that stalls, 400 for what is no strict JSON or no object.
    """
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            body = await request.read()
    except TimeoutError:
        raise Problem(408, "stalled", "The body of the request did not arrive in time.") from None
    if len(body) > BODY_LIMIT:
        raise Problem(413, "too_large", f"The request is larger than {BODY_LIMIT // 1024} KiB.")
    try:
        value = parse_json(body)
    except InvalidRequest as error:
        raise bad_request(error.user_message) from None
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object.")
    return value
