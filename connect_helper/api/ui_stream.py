"""The live stream of the helper's window: one text/event-stream per window.

Events: `transfer` `{"transfers": [...], "counts": {...}}` with what changed, `removed` `{"ids": [...]}`,
`preferences` and `sites` with their whole state. Between two sends, changes of one transfer melt into its
latest state, so a slow window costs a bounded amount of memory and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import web

from connect_helper.api.outbox import Outbox
from connect_helper.errors import TooManyRequests
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.state import Status
from connect_helper.transfers.subscriptions import Subscription
from connect_helper.transfers.transfer import Transfer

STREAMS_LIMIT: Final = 64
PING_S: Final = 15.0  # a comment at least this often, so that both ends notice a dead line
PACE_S: Final = 0.4  # between two sends to one window

Render = Callable[[], dict[str, Any]]
RenderTransfers = Callable[[list[Transfer]], dict[str, Any]]


class Feed:
    """All open streams.

    `render` makes the JSON of each topic, `render_transfers` that of changed transfers.
    """

    def __init__(
        self, manager: TransferManager, render: dict[str, Render], render_transfers: RenderTransfers
    ) -> None:
        self._manager = manager
        self._render = render
        self._render_transfers = render_transfers
        self._open: set[Outbox] = set()

    def announce(self, topic: str) -> None:
        """Tell every window that the state behind `topic` changed."""
        for outbox in self._open:
            outbox.add_topic(topic)

    def close(self) -> None:
        """End every stream; the handlers return by themselves."""
        for outbox in self._open:
            outbox.close()

    @contextmanager
    def _outbox(self) -> Iterator[Outbox]:
        if len(self._open) >= STREAMS_LIMIT:
            raise TooManyRequests("Too many windows are open. Close some of them.", retry_after=10)
        outbox = Outbox()
        self._open.add(outbox)
        try:
            yield outbox
        finally:
            self._open.discard(outbox)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handler of GET /api/events."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        with self._outbox() as outbox, self._manager.subscribe() as changes:
            await response.prepare(request)
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(_pump(changes, outbox), name="window stream")
                try:
                    await self._write(response, outbox)
                except ConnectionResetError:
                    pass  # the window was closed
                finally:
                    pump.cancel()
        return response

    async def _write(self, response: web.StreamResponse, outbox: Outbox) -> None:
        await response.write(b": hello\n\n")
        while not outbox.closed:
            await outbox.wait(PING_S)
            transfers, topics = outbox.take()
            text = "".join(self._events(transfers, topics)) or ": ping\n\n"
            await response.write(text.encode())
            await asyncio.sleep(PACE_S)

    def _events(self, transfers: list[Transfer], topics: set[str]) -> Iterator[str]:
        removed = [transfer.id for transfer in transfers if transfer.status is Status.REMOVED]
        changed = [transfer for transfer in transfers if transfer.status is not Status.REMOVED]
        if removed:
            yield _event("removed", {"ids": removed})
        if changed or removed:
            yield _event("transfer", self._render_transfers(changed))
        for topic in sorted(topics):
            yield _event(topic, self._render[topic]())


async def _pump(changes: Subscription, outbox: Outbox) -> None:
    async for batch in changes:
        outbox.add_transfers(batch)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
