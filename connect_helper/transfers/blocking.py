"""Calls that block, run in threads, for what has to happen even when the task is cancelled.

A cancelled `asyncio.to_thread` is given up: what waits for a thread never runs, and what runs has its result
thrown away. Fine for reading, wrong for closing a file, releasing a lock, or opening one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Owed(asyncio.Future[Result]):
    """A result that comes whatever happens: who is cancelled awaiting it is so when it has come.

    Where many small pieces of work are awaited, that is cheaper than waiting again after each cancellation.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        return False


async def to_the_end(call: Callable[Args, Result], *args: Args.args, **words: Args.kwargs) -> Result:
    """Run it in a thread, whatever happens; a cancellation goes on afterwards."""
    return await finished(asyncio.ensure_future(asyncio.to_thread(call, *args, **words)))


async def acquired(opener: Callable[[], Result], closer: Callable[[Result], Any]) -> Result:
    """Open something in a thread; cancelled meanwhile, what was opened is closed again."""
    return await handed_over(asyncio.ensure_future(asyncio.to_thread(opener)), closer)


async def finished(work: asyncio.Future[Result]) -> Result:
    """Await work that has begun, whatever happens; a cancellation goes on afterwards."""
    cancelled = await _outlast(work)
    if cancelled is not None:
        work.exception()  # an error gives way to the cancellation
        raise cancelled
    return work.result()


async def handed_over(work: asyncio.Future[Result], closer: Callable[[Result], Any]) -> Result:
    """As `acquired`, for an opening that has begun."""
    cancelled = await _outlast(work)
    if cancelled is None:
        return work.result()
    if work.exception() is None:
        await to_the_end(closer, work.result())
    raise cancelled


async def _outlast(work: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for work even when cancelled; tell of the cancellation."""
    cancelled: asyncio.CancelledError | None = None
    if isinstance(work, Owed):
        try:
            await work
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001, S110 - it stays in `work`, where the caller looks for it
            pass
        return cancelled
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
