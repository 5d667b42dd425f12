"""Blocking steps in threads, run to their end: a thread cannot be stopped, so nobody may forget about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeVar

R = TypeVar("R")
DISK_THREADS: Final = 16


def disk_threads() -> ThreadPoolExecutor:
    """The threads that HTTP requests share for the disk."""
    return ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="http disk")


async def in_thread(executor: Executor, step: Callable[[], R]) -> R:
    """Run `step` to its end, also when we are cancelled: then that is raised once the step is over."""
    work = asyncio.get_running_loop().run_in_executor(executor, step)
    await until_done(work)
    return work.result()


async def acquired(executor: Executor, step: Callable[[], R], release: Callable[[R], object]) -> R:
    """As `in_thread`; when we are cancelled, what the step has opened is released."""
    work = asyncio.get_running_loop().run_in_executor(executor, step)
    try:
        await until_done(work)
    except asyncio.CancelledError:
        if not work.cancelled() and work.exception() is None:
            release(work.result())
        raise
    return work.result()


async def until_done(work: asyncio.Future[R]) -> None:
    """Wait for work in a thread, however often we are cancelled; then raise that. Its result is not taken."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled():
            work.exception()  # looked at, so that it is not reported as lost
        raise cancelled
