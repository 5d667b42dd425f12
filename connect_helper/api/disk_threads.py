"""A few threads of their own for reading on behalf of pages.

The shared pool of asyncio will not do: a disk that hangs would take it from everybody else, and at the
end of the program it waits for every thread. These are daemons, and each job is one short step, so a
caller that goes away has nothing left running but the step under way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

Result = TypeVar("Result")
Job = Callable[[], None]

THREADS: Final = 4
_IDLE_S: Final = 5.0  # then an idle thread ends


class DiskThreads:
    """Runs blocking steps first come, first served; threads come and go with the work."""

    def __init__(self, threads: int = THREADS) -> None:
        self._limit = threads
        self._jobs: deque[Job] = deque()
        self._news = threading.Condition()
        self._alive = 0
        self._idle = 0

    async def run(self, step: Callable[[], Result]) -> Result:
        """Return what `step` returns or raise what it raises. Cancelled, a step not begun never runs."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self.post(partial(_work, step, answer, loop))
        return await answer

    def post(self, job: Job) -> None:
        """Have `job` run; nobody waits for it, and it must not raise."""
        with self._news:
            self._jobs.append(job)
            if len(self._jobs) > self._idle and self._alive < self._limit:
                self._alive += 1
                threading.Thread(target=self._serve, name="read for pages", daemon=True).start()
            else:
                self._news.notify()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Job | None:
        with self._news:
            while not self._jobs:
                self._idle += 1
                woken = self._news.wait(_IDLE_S)
                self._idle -= 1
                if not woken and not self._jobs:
                    self._alive -= 1
                    return None
            return self._jobs.popleft()


def _work(
    step: Callable[[], Result], answer: asyncio.Future[Result], loop: asyncio.AbstractEventLoop
) -> None:
    if answer.cancelled():
        return
    settle: Callable[[], None]
    try:
        settle = partial(_settle, answer, step())
    except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
        settle = partial(_fail, answer, error)
    with suppress(RuntimeError):  # the loop has ended meanwhile, and with it the caller
        loop.call_soon_threadsafe(settle)


def _settle(answer: asyncio.Future[Result], result: Result) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Result], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
