"""Brings one transfer from the queue to its end: sessions in workers, and waits between them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from connect_helper.errors import ConnectHelperError, ConnectionLost
from connect_helper.settings import PreferencesStore
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.conversation import STOP_S, Conversation
from connect_helper.transfers.entry import Entry, Wish
from connect_helper.transfers.fallback import preferred
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.messages import (
    Connected,
    Ended,
    Event,
    FileReport,
    Progress,
    Question,
    Stop,
    Totals,
)
from connect_helper.transfers.plan import Download, Login, trusting
from connect_helper.transfers.requests import Questions
from connect_helper.transfers.retry import RetryRules, Tries, after_loss, is_loss
from connect_helper.transfers.state import Move, Status
from connect_helper.transfers.throttle import Throttle
from connect_helper.transfers.workers import Worker, WorkerLost, WorkerPool
from connect_helper.transports.free_space import MIB

logger = logging.getLogger(__name__)


class _Watch:
    """Hears a session on behalf of one entry."""

    def __init__(self, entry: Entry, transfers: TransferList, questions: Questions, clock: Clock) -> None:
        self._entry = entry
        self._list = transfers
        self._questions = questions
        self._clock = clock

    @property
    def stop_by(self) -> float | None:
        return self._entry.stop_by

    async def hear(self, event: Event | None) -> None:
        entry, figures = self._entry, self._entry.figures
        clock, wall = self._clock.monotonic(), self._clock.wall()
        match event:
            case None:
                figures.tick(clock=clock, wall=wall)
            case Connected():
                figures.connected(event, clock)
                if entry.transfer.status is Status.INITIATING:
                    await self._list.move(entry, Move.CONNECTED)
            case Totals():
                figures.totals(event)
            case FileReport():
                figures.file(event)
                self._follow(event)
            case Progress():
                figures.progress(event, clock=clock, wall=wall)
            case Question() | Ended():
                pass
        self._list.progressed(entry)
        await self._list.reserve_tokens()

    def _follow(self, report: FileReport) -> None:
        """What is shown of a download is its first item under the name it got in the end."""
        first = self._entry.plan.items[0]
        named = isinstance(first, Download) and report.remote_path == first.source
        if named and report.state in ("done", "skipped"):
            self._entry.transfer.explorer_path = report.path

    async def accept(self, question: Question) -> bool:
        entry = self._entry
        try:
            accepted = await self._questions.host_key(entry.transfer, question)
        except ConnectHelperError as error:
            logger.warning("transfer %s: host key not asked: %s", entry.transfer.id, error.internal_message)
            accepted = False
        if accepted:
            entry.plan = trusting(entry.plan, question.key)  # the next try asks no more
        return accepted


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
    ) -> None:
        self._list = transfers
        self._pool = pool
        self._throttle = throttle
        self._questions = questions
        self._preferences = preferences
        self._clock = clock

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
                note = " ".join(filter(None, (entry.transfer.note, ended.message)))
                await self._finish(entry, Move.FINISHED, {"note": note})
                return
            if await self._obeyed(entry):
                return
            if not _is_loss(entry, ended):
                await self._finish(entry, Move.REFUSED, _error_fields(ended))
                return
            verdict = after_loss(
                self._rules(entry),
                tries,
                progressed=progressed or entry.suspect,
                now=self._clock.monotonic(),
                fraction=self._clock.fraction(),
                at_least_s=ended.retry_after_s,
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
                await self._finish(entry, Move.STOP, {**_NO_ERROR, "error_desc": entry.because})
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
                if entry.wish is not Wish.NONE:
                    return Ended(outcome="stopped")
                return await self._talk(entry, worker, self._throttle.join(entry))
        except WorkerLost as lost:
            logger.warning("transfer %s: %s", entry.transfer.id, lost)
            return _LOST_WORKER
        finally:
            self._throttle.leave(entry)
            entry.figures.session_ends(self._clock.monotonic())

    async def _talk(self, entry: Entry, worker: Worker, rate_kbps: int | None) -> Ended:
        """Run the session with the secrets in its plan. Raises WorkerLost."""
        login = entry.login or Login(user=entry.transfer.user)
        spare = self._preferences.current.free_space_mib
        keep_free = None if spare is None else spare * MIB
        plan = entry.plan.model_copy(
            update={
                "login": login,
                "rate_kbps": rate_kbps,
                "keep_free": keep_free,
                "fallback": preferred(entry.plan.fallback, entry.plan.server.host, self._preferences.current),
            }
        )
        watch = _Watch(entry, self._list, self._questions, self._clock)
        entry.worker = worker  # from here on it may be told to stop; the conversation writes first
        try:
            return await Conversation(worker, watch, self._clock.monotonic).run(plan)
        finally:
            entry.worker = None

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


def _is_loss(entry: Entry, ended: Ended) -> bool:
    """A session nobody stopped and that says it stopped is as good as lost."""
    was_connected = entry.figures.was_connected
    return ended.outcome == "stopped" or is_loss(
        ended.code, retryable=ended.retryable, was_connected=was_connected
    )


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
