"""Reading request bodies: bounded in size, time and depth, and JSON taken strictly.

Page libraries send JSON labelled text/plain, so the content type decides nothing here.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from connect_helper.errors import InvalidRequest, TooLarge
from connect_helper.spec.strict_json import JsonObject, parse_json

BODY_LIMIT = 1024 * 1024  # bytes
READ_LIMIT_S = 30.0


async def read_object(request: web.Request) -> JsonObject:
    """Read the body as one JSON object.

    Raises TooLarge above 1 MiB; InvalidRequest for a body that stalls, is no strict JSON or is no object.
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
