"""The verb CANCEL of the Node API, which the HTTP parser below us does not know.

`CANCEL /ops/transfers/{id}` is `DELETE /ops/transfers/{id}` by another name (Node API reference, 6.5). The
two words have the same length, so the change moves nothing in the stream: it cannot make one request look
like two to us and one to a proxy in front. It is made only where a request must begin: with the first bytes
of a connection, and with the first after an answer. A body is never touched.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

_CANCEL: Final = b"CANCEL /ops/transfers/"
_DELETE: Final = b"DELETE /ops/transfers/"


class CancelVerb(asyncio.Protocol):
    """Stands between a connection and the `handler` of it, and passes everything on.

    `answered_at` tells when the last answer of this connection was complete, on the monotonic clock, or None
    while a request is being answered.
    """

    def __init__(self, handler: asyncio.Protocol, answered_at: Callable[[], float | None]) -> None:
        self._handler = handler
        self._answered_at = answered_at
        self._last_data_at = -math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def data_received(self, data: bytes) -> None:
        if data.startswith(_CANCEL) and self._begins_request():
            data = _DELETE + data[len(_CANCEL) :]
        self._last_data_at = time.monotonic()
        self._handler.data_received(data)

    def _begins_request(self) -> bool:
        answered_at = self._answered_at()
        return answered_at is not None and answered_at >= self._last_data_at
