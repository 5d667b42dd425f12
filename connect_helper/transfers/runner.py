"""Brings one transfer from the queue to its end: sessions in workers, and waits between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from connect_helper.errors import ConnectHelperError, ConnectionLost
from connect_helper.settings import PreferencesStore
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry, Wish
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.messages import (
    Answer,
    Connected,
    Ended,
    Event,
    FileReport,
    Progress,
    Question,
    Start,
    Stop,
    Totals,
)
from connect_helper.transfers.plan import Login
from connect_helper.transfers.requests import Questions
from connect_helper.transfers.retry import RetryRules, Tries, after_loss
from connect_helper.transfers.state import Move, Status
from connect_helper.transfers.throttle import Throttle
from connect_helper.transfers.workers import Worker, WorkerLost, WorkerPool

logger = logging.getLogger(__name__)

TICK_S: Final = 1.0
SILENCE_S: Final = 90.0  # a worker reports every few seconds; one silent for so long is stuck
ADDRESS_S: Final = 60.0  # added for each address it may try to connect and log in to
STOP_S: Final = 3.0  # how long a worker may take to stop

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Conversation:
    """One session: what is said to and heard from one worker."""

    def __init__(
        self,
        entry: Entry,
        worker: Worker,
        transfers: TransferList,
        questions: Questions,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._entry = entry
        self._worker = worker
        self._list = transfers
        self._questions = questions
        self._clock = clock
        self._spawn = spawn
        self._asking: asyncio.Task[None] | None = None
        self._heard_at = clock.monotonic()
        self._connected = False

    async def run(self, rate_kbps: int | None) -> Ended:
        """Start the session and see it through. Raises WorkerLost."""
        entry = self._entry
        login = entry.login or Login(user=entry.transfer.user)
        plan = entry.plan.model_copy(update={"login": login, "rate_kbps": rate_kbps})
        entry.worker = self._worker  # from here on it may be told to stop; `start` writes first
        try:
            await self._worker.start(Start(plan=plan))
            while True:
                event = await self._worker.next_event(self._patience())
                if isinstance(event, Ended):
                    return event
                await self._hear(event)
        finally:
            entry.worker = None
            if self._asking is not None:
                self._asking.cancel()

    def _patience(self) -> float:
        """Return how long to wait for the next event before looking around."""
        if self._entry.stop_by is None:
            return TICK_S
        return min(TICK_S, max(0.01, self._entry.stop_by - self._clock.monotonic()))

    async def _hear(self, event: Event | None) -> None:
        entry, figures = self._entry, self._entry.figures
        clock, wall = self._clock.monotonic(), self._clock.wall()
        if event is None:
            figures.tick(clock=clock, wall=wall)
        else:
            self._heard_at = clock
        self._check_life(clock)
        match event:
            case Question():
                self._asking = self._spawn(self._ask(event), f"host-key-{entry.transfer.id}")
            case Connected():
                self._connected = True
                figures.connected(event, clock)
                if entry.transfer.status is Status.INITIATING:
                    await self._list.move(entry, Move.CONNECTED)
            case Totals():
                figures.totals(event)
            case FileReport():
                figures.file(event)
            case Progress():
                figures.progress(event, clock=clock, wall=wall)
            case None | Ended():
                pass
        self._list.progressed(entry)
        await self._list.reserve_tokens()

    def _check_life(self, clock: float) -> None:
        """Raise WorkerLost when the worker should have said something by now."""
        if self._entry.stop_by is not None and clock >= self._entry.stop_by:
            raise WorkerLost(f"worker {self._worker.pid} did not stop in time")
        if self._asking is not None and not self._asking.done():
            self._heard_at = clock  # the user may think as long as they like
        limit = (
            SILENCE_S if self._connected else SILENCE_S + ADDRESS_S * len(self._entry.plan.server.addresses)
        )
        if clock - self._heard_at > limit:
            raise WorkerLost(f"worker {self._worker.pid} was silent for {limit:.0f} s")

    async def _ask(self, question: Question) -> None:
        entry = self._entry
        try:
            accepted = await self._questions.host_key(entry.transfer, question)
        except ConnectHelperError as error:
            logger.warning("transfer %s: host key not asked: %s", entry.transfer.id, error.internal_message)
            accepted = False
        if accepted:
            keys = entry.plan.host_keys
            known = keys.model_copy(update={"trusted": (*keys.trusted, question.key)})
            entry.plan = entry.plan.model_copy(update={"host_keys": known})  # the next try asks no more
        self._worker.post(Answer(question_id=question.question_id, accepted=accepted))


class Runner:
    """Runs entries one at a time each; made once."""

    def __init__(
        self,
        *,
        transfers: TransferList,
        pool: WorkerPool,
        throttle: Throttle,
        questions: Questions,
        preferences: PreferencesStore,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._list = transfers
        self._pool = pool
        self._throttle = throttle
        self._questions = questions
        self._preferences = preferences
        self._clock = clock
        self._spawn = spawn

    async def run(self, entry: Entry) -> None:
        """Take a queued entry until it has ended, or is queued again, or the helper ends."""
        tries = Tries()
        begin = Move.SLOT_FREE
        while True:
            if await self._obeyed(entry):
                return
            await self._list.move(entry, begin, start_time=self._clock.wall(), **_NO_ERROR)
            ended = await self._session(entry)
            progressed = entry.figures.progressed()
            if ended.outcome == "completed":
                await self._finish(entry, Move.FINISHED, {})
                return
            if await self._obeyed(entry):
                return
            if not _is_loss(ended):
                await self._finish(entry, Move.REFUSED, _error_fields(ended))
                return
            verdict = after_loss(
                self._rules(entry),
                tries,
                progressed=progressed or entry.suspect,
                now=self._clock.monotonic(),
                fraction=self._clock.fraction(),
            )
            if verdict.delay_s is None:
                await self._finish(entry, Move.REFUSED, _error_fields(ended))
                return
            tries, begin = verdict.tries, Move.BACKOFF_OVER
            await self._wait(entry, ended, tries, 0.0 if entry.suspect else verdict.delay_s)

    async def _obeyed(self, entry: Entry) -> bool:
        """Do what somebody wants of the transfer; False when nobody wants anything."""
        match entry.wish:
            case Wish.NONE:
                return False
            case Wish.STOP:
                await self._finish(entry, Move.STOP, _NO_ERROR)
            case Wish.REQUEUE:
                if entry.transfer.status is not Status.WILL_RETRY:  # its wait was just over
                    await self._list.move(entry, Move.LOST)
                await self._list.move(entry, Move.RESUME, attempts=0, **_NO_ERROR)
            case Wish.CLOSE:
                await self._list.keep(entry)
        return True

    async def _finish(self, entry: Entry, move: Move, fields: dict[str, Any]) -> None:
        if move is Move.FINISHED:
            entry.figures.finished()
            entry.login = None  # no more use for it
        await self._list.move(entry, move, **{"retry_at": 0.0, **fields, "end_time": self._clock.wall()})

    async def _wait(self, entry: Entry, ended: Ended, tries: Tries, delay_s: float) -> None:
        """Show that there will be another try, and wait for it or for somebody who wants something."""
        fields = _error_fields(ended)
        retry_at = self._clock.wall() + delay_s
        await self._list.move(entry, Move.LOST, retry_at=retry_at, attempts=tries.fruitless, **fields)
        try:
            async with asyncio.timeout(delay_s):
                await entry.wake.wait()
        except TimeoutError:
            pass
        if entry.wish is Wish.NONE:
            entry.stop_by = None
        entry.suspect = False
        entry.wake.clear()

    async def _session(self, entry: Entry) -> Ended:
        """Run one session in a worker; a lost worker ends like a lost connection."""
        entry.figures.session_begins()
        try:
            async with self._pool.worker() as worker:
                talk = Conversation(entry, worker, self._list, self._questions, self._clock, self._spawn)
                if entry.wish is not Wish.NONE:
                    return Ended(outcome="stopped")
                return await talk.run(self._throttle.join(entry))
        except WorkerLost as lost:
            logger.warning("transfer %s: %s", entry.transfer.id, lost)
            return _LOST_WORKER
        finally:
            self._throttle.leave(entry)
            entry.figures.session_ends(self._clock.monotonic())

    def _rules(self, entry: Entry) -> RetryRules:
        preferences = self._preferences.current
        return RetryRules(preferences.retry, preferences.retry_attempts, entry.retry_for_s)


def ask_to_stop(entry: Entry, wish: Wish, clock: Clock) -> None:
    """Tell the runner of an entry what is wanted of it; its session has STOP_S to end."""
    entry.wish = wish
    entry.wake.set()
    if entry.stop_by is None:
        entry.stop_by = clock.monotonic() + STOP_S
    if entry.worker is not None:
        entry.worker.post(Stop())


def distrust(entry: Entry, clock: Clock) -> None:
    """The machine slept: begin a new session at once, whatever the old one believes."""
    entry.suspect = True
    entry.stop_by = clock.monotonic() + STOP_S
    entry.wake.set()
    if entry.worker is not None:
        entry.worker.post(Stop())


def _is_loss(ended: Ended) -> bool:
    """A session nobody stopped and that says it stopped is as good as lost."""
    return ended.outcome == "stopped" or ended.retryable


def _error_fields(ended: Ended) -> dict[str, Any]:
    if ended.outcome == "stopped":
        ended = _LOST_WORKER
    return {"error": ended.code, "error_code": ended.error_code, "error_desc": ended.message}


_NO_ERROR: Final[dict[str, Any]] = {"error": "", "error_code": 0, "error_desc": "", "retry_at": 0.0}
_LOST_WORKER: Final = Ended(
    outcome="failed",
    code=ConnectionLost.code,
    error_code=ConnectionLost.error_code,
    message="The transfer process ended unexpectedly.",
    retryable=True,
)
