"""The ladder of what a caller may do, and the questions that lead up it.

    L0  ping, version, own list              free
    L1  show one of our windows              rate-limited
    L2  a file dialog                        the dialog is the consent
    L3  any packet to a host                 a question, remembered per (origin, host, port)
    L4  read a file                          a grant
    L5  overwrite, absolute destination      part of the L3 question, or a question of its own

Questions default to no, an aborted request takes its question with it, and three refusals silence an
origin for an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from connect_helper.api.addresses import describe_nearness
from connect_helper.api.callers import Caller
from connect_helper.api.sites import Sites
from connect_helper.consent.limits import CallRate, Spacing
from connect_helper.errors import ConnectHelperError, HostNotFound, Refused, TooManyRequests
from connect_helper.picking.base import Answer, Asker, Question
from connect_helper.transports.resolving import resolve

OPEN_QUESTIONS = 4  # per origin, dialogs included
OPEN_OF_STRANGERS = 8  # of all origins together that the user never gave anything
CANCELLED_DIALOGS = 3
ORIGINS_COUNTED = 1_000
WINDOW_SPACING_S = 2.0
DRAG_SPACING_S = 2.0
DROP_SPACING_S = 5.0
_REFUSAL = "The request was refused."
_MUTED = (
    "The user muted the requests of this site for an hour by refusing several of them; "
    "the page Sites of the helper can end that."
)


@dataclass(frozen=True, slots=True)
class HostQuestion:
    """An L3 question about one host; `key` tells equal ones apart from others of the same caller."""

    host: str
    port: int
    heading: str
    details: tuple[str, ...] = ()
    key: str = ""


class Ladder:
    """Asks and remembers; one for all faces of the helper."""

    def __init__(self, sites: Sites, asker: Asker, tasks: asyncio.TaskGroup) -> None:
        self._sites = sites
        self._asker = asker
        self._tasks = tasks
        self._windows: Spacing[str] = Spacing(WINDOW_SPACING_S)
        self._window_budget: CallRate[str] = CallRate(per_second=1 / 30, burst=10)
        self._strangers: CallRate[str] = CallRate(per_second=1 / WINDOW_SPACING_S, burst=4)
        self._cancelled: Counter[str] = Counter()
        self._drags: Spacing[str] = Spacing(DRAG_SPACING_S)
        self._drops: Spacing[str] = Spacing(DROP_SPACING_S)
        self._open: Counter[str] = Counter()
        self._shared: dict[tuple[str, HostQuestion], _Shared] = {}

    def may_show_window(self, caller: Caller) -> None:
        """L1. Raises TooManyRequests when a window of ours was shown to this origin just now, or too often.

        All origins the user never gave anything share one budget: a page can invent any number of them.
        """
        now = time.monotonic()
        if (
            not self._windows.allow(caller.origin, now)
            or not self._window_budget.allow(caller.origin, now)
            or not (self._sites.has_history(caller.origin) or self._strangers.allow("", now))
        ):
            raise TooManyRequests("A window was opened just now; wait a moment.", retry_after=2)

    def may_watch_drags(self, caller: Caller) -> None:
        """L1. Raises TooManyRequests."""
        if not self._drags.allow(caller.origin, time.monotonic()):
            raise TooManyRequests("Drags are watched for already; wait a moment.", retry_after=2)

    def may_report_drop(self, caller: Caller) -> None:
        """L2: a drop that nothing proves is asked about. Raises Refused (a muted origin), TooManyRequests."""
        if self._sites.is_muted(caller.origin):
            raise Refused(_MUTED)
        if not self._drops.allow(caller.origin, time.monotonic()):
            raise TooManyRequests("Something was dropped just now; wait a moment.", retry_after=5)

    def note_proved_drop(self, caller: Caller) -> None:
        """The user did drop something there: the next drop need not wait."""
        self._drops.give_back(caller.origin)

    @asynccontextmanager
    async def dialog(self, caller: Caller) -> AsyncIterator[None]:
        """L2: hold one of the caller's places for open dialogs and questions.

        Raises Refused for a muted origin, TooManyRequests when too many are open.
        """
        if self._sites.is_muted(caller.origin):
            raise Refused(_MUTED)
        strangers = sum(count for origin, count in self._open.items() if not self._sites.has_history(origin))
        crowded = strangers >= OPEN_OF_STRANGERS and not self._sites.has_history(caller.origin)
        if crowded or self._open[caller.origin] >= OPEN_QUESTIONS:
            raise TooManyRequests("Answer the questions that are open first.", retry_after=5)
        self._open[caller.origin] += 1
        try:
            yield
        finally:
            self._open[caller.origin] -= 1
            if not self._open[caller.origin]:
                del self._open[caller.origin]

    def muted_s(self, caller: Caller) -> float:
        """Seconds until the caller may ask the user again; 0.0 for one that may now."""
        return self._sites.muted_s(caller.origin)

    def note_dialog(self, caller: Caller, *, cancelled: bool, after_question: bool = False) -> None:
        """Every third dialog in a row that the user cancels counts as a refusal of the origin.

        One that came up `after_question` counts at once: the user was bothered twice.
        """
        if not cancelled:
            del self._cancelled[caller.origin]
            return
        if after_question:
            self._sites.note_refusal(caller.origin)
            return
        self._cancelled[caller.origin] += 1
        if self._cancelled[caller.origin] % CANCELLED_DIALOGS == 0:
            self._sites.note_refusal(caller.origin)
        if len(self._cancelled) > ORIGINS_COUNTED:
            self._cancelled.clear()

    async def allow_host(
        self, caller: Caller, question: HostQuestion, *, ask_always: bool = False
    ) -> tuple[str, ...]:
        """L3: return the addresses to use, once the user (now, or by a remembered yes) has agreed.

        A yes that was remembered is one to the host: where paths are in question too, `ask_always`.

        A name is looked up before the question, so that the question can say when it leads to a
        private address; no answer is given before the user's. Raises Refused, TooManyRequests,
        Unavailable, HostNotFound.
        """
        if not ask_always and self._sites.knows_host(caller.origin, question.host, question.port):
            addresses = await resolve(question.host, question.port)
            near = bool(describe_nearness(addresses))
            if self._sites.knows_host(caller.origin, question.host, question.port, near=near):
                return addresses
        async with self.dialog(caller):
            missing: HostNotFound | None = None
            addresses = ()
            try:
                addresses = await resolve(question.host, question.port)
            except HostNotFound as error:
                missing = error
            answer = await self._share(caller, question, describe_nearness(addresses))
        if not answer.accepted:
            raise Refused(_REFUSAL)
        if missing is not None:
            raise missing
        return addresses

    async def confirm(self, caller: Caller, question: Question) -> bool:
        """A yes-or-no question of its own (L5); a no does not count as a refusal of the origin."""
        async with self.dialog(caller):
            return (await self._asker.ask(question)).accepted

    async def _share(self, caller: Caller, question: HostQuestion, nearness: str) -> Answer:
        """Ask once for all requests that wait for the same answer; the last to give up closes it."""
        key = (caller.origin, question)
        shared = self._shared.get(key)
        if shared is None:
            asking = self._ask_or_error(caller, question, nearness)
            shared = _Shared(self._tasks.create_task(asking, name=f"question of {caller.origin}"))
            self._shared[key] = shared
            shared.task.add_done_callback(lambda _: self._shared.pop(key, None))
        shared.waiting += 1
        try:
            answer = await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._shared.pop(key, None)
                shared.task.cancel()
        if isinstance(answer, ConnectHelperError):
            raise answer
        return answer

    async def _ask_or_error(
        self, caller: Caller, question: HostQuestion, nearness: str
    ) -> Answer | ConnectHelperError:
        """The task's own edge: an error raised in the task group would end its other questions."""
        try:
            return await self._ask_host(caller, question, nearness)
        except ConnectHelperError as error:
            return error

    async def _ask_host(self, caller: Caller, question: HostQuestion, nearness: str) -> Answer:
        details = (*question.details, nearness) if nearness else question.details
        place = f"{question.host}" if question.port == 22 else f"{question.host}, port {question.port}"
        remember = f"Always allow this site to use {place}" if caller.may_be_remembered else ""
        answer = await self._asker.ask(Question(caller.label, question.heading, details, remember=remember))
        if not answer.accepted:
            self._sites.note_refusal(caller.origin)
            return answer
        self._sites.note_acceptance(caller.origin)
        if answer.remember and caller.may_be_remembered:
            near = bool(nearness)
            self._sites.remember_host(caller.origin, question.host, question.port, near=near)
        return answer


@dataclass(slots=True)
class _Shared:
    task: asyncio.Task[Answer | ConnectHelperError]
    waiting: int = 0
