"""Runs one transfer by itself: no queue, no journal, no helper; the same workers, sessions and retries.

For the command line and the Python interface. Whoever runs it hears the session's events directly.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from connect_helper.errors import Unavailable
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.conversation import STOP_S, Conversation
from connect_helper.transfers.messages import Connected, Ended, Event, FileReport, Progress, Question, Stop
from connect_helper.transfers.plan import SessionPlan, trusting
from connect_helper.transfers.retry import RetryRules, Tries, after_loss, is_loss
from connect_helper.transfers.workers import Worker, WorkerLost, WorkerPool

logger = logging.getLogger(__name__)

_STOPPED: Final = Ended(outcome="stopped", message="Stopped.")
_LOST_WORKER: Final = Ended(
    outcome="failed",
    code=Unavailable.code,
    error_code=Unavailable.error_code,
    message="The transfer process ended unexpectedly.",
    retryable=True,
)


class Observer(Protocol):
    """Whoever shows or counts what happens. What these raise ends the transfer."""

    def begins(self) -> None:
        """A session begins; its counts start anew."""
        ...

    def hear(self, event: Event | None) -> None:
        """Take an event of the session; None says that none came for a second."""
        ...

    def waits(self, ended: Ended, delay_s: float) -> None:
        """The session was lost; there will be another in `delay_s` seconds."""
        ...

    async def accept(self, question: Question) -> bool:
        """Tell whether a server's key, never seen before, is to be trusted."""
        ...


class Standalone:
    """One transfer. `run` may be called once, `stop` at any time."""

    def __init__(
        self,
        plan: SessionPlan,
        observer: Observer,
        *,
        pool: WorkerPool,
        rules: RetryRules,
        clock: Clock | None = None,
    ) -> None:
        """`pool` is opened for the time of the run; `rules` count fruitless tries once it was connected."""
        self._plan = plan
        self._observer = observer
        self._pool = pool
        self._rules = rules
        self._clock = clock or Clock()
        self._worker: Worker | None = None
        self._stopping = asyncio.Event()
        self._was_connected = False
        self._reached = (0, 0)  # files ended well, bytes: in this session
        self._best = (0, 0)  # the most any session before reached
        self.stop_by: float | None = None

    def stop(self) -> None:
        """End it within a few seconds; partial files stay, and another run goes on from them."""
        if self.stop_by is None:
            self.stop_by = self._clock.monotonic() + STOP_S
        self._stopping.set()
        if self._worker is not None:
            self._worker.post(Stop())

    async def run(self) -> Ended:
        """Run to the end. Cancelled, it still ends the session in good order first."""
        task = asyncio.create_task(self._run(), name=f"transfer {self._plan.transfer_id}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([task])
            raise

    async def _run(self) -> Ended:
        tries = Tries()
        async with self._pool as pool:
            while not self._stopping.is_set():
                ended = await self._session(pool)
                if self._stopping.is_set() and ended.outcome != "completed":
                    break
                if not self._was_connected or not is_loss(
                    ended.code, retryable=ended.retryable, was_connected=True
                ):
                    # Before the first connection a loss is more likely a wrong address than a bad line.
                    return ended
                verdict = after_loss(
                    self._rules,
                    tries,
                    progressed=self._progressed(),
                    now=self._clock.monotonic(),
                    fraction=self._clock.fraction(),
                    at_least_s=ended.retry_after_s,
                )
                if verdict.delay_s is None:
                    return ended
                tries = verdict.tries
                self._observer.waits(ended, verdict.delay_s)
                await self._wait(verdict.delay_s)
        return _STOPPED

    async def _session(self, pool: WorkerPool) -> Ended:
        """Run one session in a worker; a lost worker ends like a lost connection."""
        self._reached = (0, 0)
        self._observer.begins()
        try:
            async with pool.worker() as worker:
                if self._stopping.is_set():
                    return _STOPPED
                self._worker = worker  # from here on it may be told to stop; the conversation writes first
                return await Conversation(worker, self, self._clock.monotonic).run(self._plan)
        except WorkerLost as lost:
            logger.warning("%s", lost)
            return _LOST_WORKER
        finally:
            self._worker = None

    async def hear(self, event: Event | None) -> None:
        files, written = self._reached
        match event:
            case Connected():
                self._was_connected = True
            case FileReport(state="done" | "skipped"):
                self._reached = (files + 1, written)
            case Progress():
                self._reached = (files, event.bytes_written)
            case _:
                pass
        self._observer.hear(event)

    async def accept(self, question: Question) -> bool:
        accepted = await self._observer.accept(question)
        if accepted:
            self._plan = trusting(self._plan, question.key)  # the next try asks no more
        return accepted

    def _progressed(self) -> bool:
        further = any(now > before for now, before in zip(self._reached, self._best, strict=True))
        self._best = (max(self._reached[0], self._best[0]), max(self._reached[1], self._best[1]))
        return further

    async def _wait(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return
