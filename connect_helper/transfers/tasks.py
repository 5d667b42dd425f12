"""The tasks of the manager: those that end with the program, and those that are finished whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from connect_helper.errors import ConnectHelperError, Unavailable

Result = TypeVar("Result")


class Tasks:
    """Open it with `async with`, once. Leaving waits for everything; `close` it first."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._chores: set[asyncio.Task[None]] = set()  # they end with the program at the latest
        self._closing = False

    async def __aenter__(self) -> Tasks:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        # Of the body's exceptions only a cancellation concerns the group.
        cancelled = isinstance(exception, asyncio.CancelledError)
        await self._group.__aexit__(asyncio.CancelledError if cancelled else None, None, None)

    def close(self) -> None:
        """Give the chores up and take no more work that has to be finished."""
        self._closing = True
        for chore in list(self._chores):
            chore.cancel()

    def chore(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start work that is given up when the program ends."""
        chore = self.spawn(work, name)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name)

    def owned(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Future[Result]:
        """Start work that is finished even when its caller goes away in the middle. Raises Unavailable."""
        if self._closing:
            work.close()
            raise Unavailable("The helper is ending; start it and try again.")
        outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        _ = self.spawn(_settle(work, outcome), name)
        return outcome


async def _settle(work: Coroutine[Any, Any, Result], outcome: asyncio.Future[Result]) -> None:
    try:
        result = await work
    except ConnectHelperError as error:
        if not outcome.done():
            outcome.set_exception(error)
    except BaseException:
        outcome.cancel()
        raise
    else:
        if not outcome.done():
            outcome.set_result(result)
