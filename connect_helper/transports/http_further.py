"""HTTP connections made before they are needed, where making one takes long.

A large file goes over several connections side by side, and on a long line each takes three round trips to
its first answer. So once the first connection shows how long the line is, others are made while it is asked
what has to be known before anything moves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Final

import aiohttp

from connect_helper.errors import TransferError

_log = logging.getLogger(__name__)

LONG_S: Final = 0.1  # to make a connection, TLS included
FURTHER: Final = 8  # connections; the first questions make two more
PATIENCE: Final = 2  # times as long as the first one took is waited for them


class FurtherConnections:
    """Those of one session; `ask` sends a question that costs the server nothing.

    `is_long` is called once the first connection took long to make.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]], is_long: Callable[[], None]) -> None:
        self._ask = ask
        self._is_long = is_long
        self._first: asyncio.Future[float] = asyncio.get_running_loop().create_future()  # seconds it took
        self._hang = False  # they took longer than anybody waits
        self._making = asyncio.create_task(self._make(), name="further connections")

    def trace(self) -> aiohttp.TraceConfig:
        """Sees how long the first connection takes to make."""
        trace = aiohttp.TraceConfig()

        async def begins(_session: object, context: SimpleNamespace, _facts: object) -> None:
            context.began = time.monotonic()

        async def is_made(_session: object, context: SimpleNamespace, _facts: object) -> None:
            if not self._first.done():
                self._first.set_result(time.monotonic() - context.began)

        trace.on_connection_create_start.append(begins)
        trace.on_connection_create_end.append(is_made)
        return trace

    async def _make(self) -> None:
        if await self._first >= LONG_S:
            self._is_long()
            asked = (self._ask() for _ in range(FURTHER))
            for failure in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(failure, TransferError):  # whoever needs a connection will hear of it
                    _log.info("no further connection: %s", failure.internal_message)

    async def ready(self) -> None:
        """Wait for those under way: making others beside them takes longer. Not again when one hangs."""
        if self._first.done() and not self._hang:
            await asyncio.wait([self._making], timeout=PATIENCE * self._first.result())
            self._hang = not self._making.done()

    async def close(self) -> None:
        """Make no more."""
        self._making.cancel()
        await asyncio.gather(self._making, return_exceptions=True)
