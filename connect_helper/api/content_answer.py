"""Answering with the content of a file: `{"type": "image/png", "data": "<base64>"}`.

By POST it is sent as it is read; a message over a socket is made in one piece.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from aiohttp import web

from connect_helper.api.gate import add_headers
from connect_helper.api.reading import Content
from connect_helper.errors import ConnectHelperError

log = logging.getLogger(__name__)

_TAIL: Final = b'"}'
Failed = Callable[[ConnectHelperError], bytes]
"""Writes what ends an answer after a text that was broken off: an error in a face's own words."""

STALLED_S: Final = 60.0  # a page that takes nothing of its answer for this long does not want it


async def send_content(
    request: web.Request,
    content: Content,
    failed: Failed,
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> web.StreamResponse:
    """Send the answer between `before` and `after`; raises as `Content.blocks` while nothing is sent.

    What fails later is told at the end of the answer, by what `failed` makes of the error: libraries of
    pages take a connection that is cut for a helper that ended, and send the request again for ever.
    """
    head, tail = before + _head(content), _TAIL + after
    async with aclosing(_pieces(content, head, tail)) as pieces:
        first = await anext(pieces)
        response = web.StreamResponse()
        response.content_type, response.charset = "application/json", "utf-8"
        response.enable_chunked_encoding()
        add_headers(request, response)  # later would be too late for the gate to add them
        try:
            await response.prepare(request)
            await _write(response, first)
            try:
                async for piece in pieces:
                    await _write(response, piece)
            except ConnectHelperError as error:
                log.info("a file's content could not be read to its end: %s", error.code)
                await _write(response, b'"' + failed(error))
            await response.write_eof()
        except (OSError, TimeoutError) as error:
            log.info("an answer with a file's content was cut off: %s", type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
    return response


async def whole_content(content: Content, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """The same answer in one piece of memory, UTF-8. Raises as `Content.blocks`."""
    async with aclosing(_pieces(content, before + _head(content), _TAIL + after)) as pieces:
        return b"".join([piece async for piece in pieces])


def _head(content: Content) -> bytes:
    return f'{{"type": {json.dumps(content.type)}, "data": "'.encode()


async def _pieces(content: Content, head: bytes, tail: bytes) -> AsyncGenerator[bytes, None]:
    """The JSON text; the first piece holds the first block, so that most failures come before an answer."""
    before = head
    async with aclosing(content.blocks()) as blocks:
        async for block in blocks:
            yield before + base64.b64encode(block)
            before = b""
    yield before + tail


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    async with asyncio.timeout(STALLED_S):
        await response.write(piece)
