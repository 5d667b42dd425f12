"""One session in one worker: what is said to it, what is heard from it, and when it counts as lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from connect_helper.transfers.messages import Answer, Connected, Ended, Event, Question, Start
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.workers import Worker, WorkerLost

TICK_S: Final = 1.0
SILENCE_S: Final = 90.0  # a worker reports every few seconds; one silent for so long is stuck
ADDRESS_S: Final = 60.0  # added for each address it may try to connect and log in to
STOP_S: Final = 3.0  # how long a worker may take to stop


class Listener(Protocol):
    """Whoever wants to know how the session goes."""

    @property
    def stop_by(self) -> float | None:
        """When the session has to be over, on the monotonic clock; None while nobody wants it to stop."""
        ...

    async def hear(self, event: Event | None) -> None:
        """Take one event; None says that none came for a while. `Ended` and `Question` do not come here."""
        ...

    async def accept(self, question: Question) -> bool:
        """Tell whether the server's key is to be trusted. Cancelled when the session ends meanwhile."""
        ...


class Conversation:
    """Starts the session and sees it through."""

    def __init__(self, worker: Worker, listener: Listener, monotonic: Callable[[], float]) -> None:
        self._worker = worker
        self._listener = listener
        self._monotonic = monotonic
        self._asking: asyncio.Task[None] | None = None
        self._heard_at = monotonic()
        self._limit_s = SILENCE_S

    async def run(self, plan: SessionPlan) -> Ended:
        """Return how the session ended. Raises WorkerLost."""
        self._limit_s = SILENCE_S + ADDRESS_S * len(plan.server.addresses)
        try:
            await self._worker.start(Start(plan=plan))
            while True:
                event = await self._worker.next_event(self._patience())
                if isinstance(event, Ended):
                    return event
                self._check_life(event)
                if isinstance(event, Question):
                    self._asking = asyncio.create_task(self._ask(event), name=f"host key of {event.host}")
                else:
                    await self._listener.hear(event)
        finally:
            await self._ask_no_more()

    def _patience(self) -> float:
        """Return how long to wait for the next event before looking around."""
        stop_by = self._listener.stop_by
        if stop_by is None:
            return TICK_S
        return min(TICK_S, max(0.01, stop_by - self._monotonic()))

    def _check_life(self, event: Event | None) -> None:
        """Raise WorkerLost when the worker should have said something by now."""
        now = self._monotonic()
        if event is not None:
            self._heard_at = now
        if isinstance(event, Connected):
            self._limit_s = SILENCE_S
        if self._listener.stop_by is not None and now >= self._listener.stop_by:
            raise WorkerLost(f"worker {self._worker.pid} did not stop in time")
        if self._asking is not None:
            if self._asking.done():
                self._asking.result()  # a bug while asking is not to leave the session waiting for ever
            else:
                self._heard_at = now  # the user may think as long as they like
        if now - self._heard_at > self._limit_s:
            raise WorkerLost(f"worker {self._worker.pid} was silent for {self._limit_s:.0f} s")

    async def _ask(self, question: Question) -> None:
        accepted = await self._listener.accept(question)
        self._worker.post(Answer(question_id=question.question_id, accepted=accepted))

    async def _ask_no_more(self) -> None:
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
            await asyncio.wait([self._asking])
