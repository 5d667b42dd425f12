"""The manager of transfers: the one door for everybody who starts, stops, changes or watches them.

Transfers it returns are the living objects: read them, never write them. Everything here belongs to the
event loop; bytes are moved by worker processes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

from connect_helper.errors import ConnectHelperError, NotFound, Unavailable, WrongState
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.arrivals import arrived, found_again, with_tags
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry, Wish
from connect_helper.transfers.journal import Journal
from connect_helper.transfers.leftovers import forget, sweep
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.queueing import Queue
from connect_helper.transfers.records import has_secret, without_secrets
from connect_helper.transfers.requests import Questions, StartRequest
from connect_helper.transfers.runner import Runner, ask_to_stop, distrust
from connect_helper.transfers.state import ACTIVE, FINAL, Move, Status, next_status
from connect_helper.transfers.subscriptions import Subscription
from connect_helper.transfers.throttle import Throttle
from connect_helper.transfers.transfer import Owner, Transfer
from connect_helper.transfers.workers import WorkerPool

logger = logging.getLogger(__name__)

CLOSE_S: Final = 3.5  # for sessions to end in good order when the helper ends
SLEEP_CHECK_S: Final = 2.0
SLEEP_JUMP_S: Final = 5.0  # the wall clock went so much further than the monotonic one: the machine slept
INTERRUPTED: Final = "interrupted"
SIGN_IN_AGAIN: Final = "The helper was restarted; sign in again to go on."

_USABLE_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")

Result = TypeVar("Result")


class TransferManager:
    """Open it with `async with`, once. Raises Unavailable then when the list of transfers cannot be used.

    `worker_command` is for tests: what to start as a worker.
    """

    def __init__(
        self,
        *,
        folders: Folders,
        preferences: PreferencesStore,
        questions: Questions,
        clock: Clock | None = None,
        worker_command: Sequence[str] | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._preferences = preferences
        self._questions = questions
        self._journal = Journal(folders.state)
        self._list = TransferList(self._journal, self._clock)
        self._pool = WorkerPool(folder=folders.state, command=worker_command)
        self._throttle = Throttle(preferences)
        self._admitting: dict[tuple[Owner, str], asyncio.Future[Transfer]] = {}
        self._closing = False
        self._group = asyncio.TaskGroup()
        self._watch: asyncio.Task[None] | None = None
        self.journal_set_aside: Path | None = None  # tell the user: a damaged list was put there
        runner = Runner(
            transfers=self._list,
            pool=self._pool,
            throttle=self._throttle,
            questions=questions,
            preferences=preferences,
            clock=self._clock,
        )
        self._queue = Queue(runner, preferences, self._spawn)

    # Opening and closing ---------------------------------------------------------------------------

    async def __aenter__(self) -> TransferManager:
        loaded = await self._journal.open()
        self.journal_set_aside = loaded.set_aside
        if loaded.set_aside is not None:
            logger.error("The list of transfers was damaged; it was set aside as %s", loaded.set_aside)
        await self._list.load(loaded, [found_again(record) for record in loaded.records])
        await self._pool.__aenter__()
        await self._group.__aenter__()
        self._watch = self._spawn(self._watch_for_sleep(), "sleep-watch")
        resume_folders = {Path(entry.plan.resume_folder) for entry in self._list.entries()}
        _ = self._spawn(asyncio.to_thread(sweep, resume_folders), "sweep")
        self._queue.add(*[entry for entry in self._list.entries() if await self._goes_on(entry)])
        return self

    async def __aexit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        """End within 5 s: sessions stop and keep their partial files, the list is saved."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
        self._queue.close()
        running = self._queue.running
        for entry in running:
            ask_to_stop(entry, Wish.CLOSE, self._clock)
        runners = [entry.runner for entry in running if entry.runner is not None]
        if runners:
            _, late = await asyncio.wait(runners, timeout=CLOSE_S)
            for runner in late:
                runner.cancel()
        try:
            # Of the body's exceptions only a cancellation concerns the group.
            cancelled = isinstance(exception, asyncio.CancelledError)
            await self._group.__aexit__(asyncio.CancelledError if cancelled else None, None, None)
        finally:
            await self._pool.__aexit__(None, None, None)
            await self._journal.close()

    async def _goes_on(self, entry: Entry) -> bool:
        """Tell whether a transfer of an earlier run of the program goes back into the queue.

        What needs a secret waits for somebody to sign in.
        """
        status = entry.transfer.status
        if status in FINAL:
            return False
        if entry.needs_login:
            fields = {"error": INTERRUPTED, "error_code": 16, "error_desc": SIGN_IN_AGAIN, "retry_at": 0.0}
            await self._list.move(entry, Move.REFUSED, end_time=self._clock.wall(), **fields)
            return False
        if status in (Status.INITIATING, Status.RUNNING):
            await self._list.move(entry, Move.LOST)
        if status in ACTIVE:
            await self._list.move(entry, Move.RESUME, retry_at=0.0)
        return True

    # Asking ----------------------------------------------------------------------------------------

    def get(self, transfer_id: str, *, owner: Owner | None = None) -> Transfer:
        """Find by uuid or xfer_id; with `owner`, among theirs only. Raises NotFound."""
        return self._list.find(transfer_id, owner).transfer

    def find_request(self, owner: Owner, request_id: str) -> Transfer | None:
        """Find what an earlier start call with that request_id made."""
        return self._list.of_request(owner, request_id)

    def of_owner(self, owner: Owner) -> list[Transfer]:
        """Return the owner's transfers, newest last."""
        return [one for one in self.all() if one.owner == owner]

    def all(self) -> list[Transfer]:
        """Return every transfer that is not removed, newest last."""
        return [entry.transfer for entry in self._list.entries()]

    def changes(self, owner: Owner, token: int) -> tuple[int, list[Transfer]]:
        """Answer a poll (Connect reference, section 7): the new token, and what changed after `token`.

        0, or a token larger than the current one, asks for all that are still listed; else removed ones
        are told too, with status "removed".
        """
        return self._list.changes(owner, token)

    def rates(self, transfer_id: str) -> list[tuple[float, float]]:
        """Return (epoch seconds, kbit/s) once a second for the last minute of data. Raises NotFound."""
        return self._list.find(transfer_id, None).figures.rates

    def needs_login(self, transfer_id: str) -> bool:
        """Tell whether `resume` needs a `login`, since the secrets are gone. Raises NotFound."""
        return self._list.find(transfer_id, None).login is None

    def login_of(self, transfer_id: str) -> Login | None:
        """Return the login it has in memory; None when that is gone. Raises NotFound."""
        return self._list.find(transfer_id, None).login

    def plan_of(self, transfer_id: str) -> SessionPlan:
        """Return the SessionPlan without secrets, as it would run now. Raises NotFound."""
        return self._list.find(transfer_id, None).plan

    def subscribe(self) -> AbstractContextManager[Subscription]:
        """Listen: `async for batch in subscription` gives changed transfers, removed ones included."""
        return self._list.subscribers.subscribe()

    # Doing -----------------------------------------------------------------------------------------

    async def submit(self, request: StartRequest) -> Transfer:
        """Queue a transfer; on return it is on disk.

        The same owner and request_id again gives the transfer that is there already (REL-13), also while
        the first call is still under way. Raises Unavailable.
        """
        key = (request.owner, request.request_id)
        if known := self.find_request(*key):
            return known
        if request.request_id and key in self._admitting:
            return await asyncio.shield(self._admitting[key])
        outcome = self._owned(self._admit(request), f"submit-{request.request_id[:40]!r}")
        if request.request_id:
            self._admitting[key] = outcome
            outcome.add_done_callback(lambda _: self._admitting.pop(key, None))
        return await asyncio.shield(outcome)

    async def stop(self, transfer_id: str, *, owner: Owner | None = None) -> None:
        """Stop; on return nothing moves any more and partial files are kept. An ended one stays as it is.

        Raises NotFound.
        """
        entry = self._list.find(transfer_id, owner)
        await asyncio.shield(self._owned(self._stop(entry), f"stop-{entry.transfer.id}"))

    async def resume(
        self,
        transfer_id: str,
        *,
        login: Login | None = None,
        spec: Mapping[str, Any] | None = None,
        owner: Owner | None = None,
    ) -> Transfer:
        """Queue again what failed, was stopped or waits for a try; `login` and `spec` replace the old ones.

        Raises NotFound, WrongState (also when a login is needed and none is given).
        """
        entry = self._list.find(transfer_id, owner)
        work = self._resume(entry, login, spec)
        return await asyncio.shield(self._owned(work, f"resume-{entry.transfer.id}"))

    async def remove(self, transfer_id: str, *, owner: Owner | None = None) -> None:
        """Take it off the list, stopping it first. Once more is no error. Raises NotFound."""
        try:
            entry = self._list.find(transfer_id, owner, exact_first=True)
        except NotFound:
            if self._list.was_removed(transfer_id, owner):
                return
            raise
        await asyncio.shield(self._owned(self._remove(entry), f"remove-{entry.transfer.id}"))

    async def set_rate(
        self,
        transfer_id: str,
        rate_kbps: int | None,
        spec_changes: Mapping[str, Any],
        *,
        owner: Owner | None = None,
    ) -> Transfer:
        """Change the transfer's own limit (kbit/s, None: none), now or for when it runs.

        `spec_changes` are laid over the echoed spec. Raises NotFound, WrongState when it has completed.
        """
        entry = self._list.find(transfer_id, owner)
        work = self._set_rate(entry, rate_kbps, spec_changes)
        return await asyncio.shield(self._owned(work, f"rate-{entry.transfer.id}"))

    # The work behind -------------------------------------------------------------------------------

    async def _admit(self, request: StartRequest) -> Transfer:
        entry = arrived(
            request,
            transfer_id=self._new_id(request.xfer_id),
            position=self._list.next_position(),
            now=self._clock.wall(),
        )
        await self._list.admit(entry)
        self._queue.add(entry)
        return entry.transfer

    def _new_id(self, wanted: str | None) -> str:
        """Return the page's id when it can be one and is not taken, else a new one."""
        if wanted and _USABLE_ID.fullmatch(wanted) and self._list.claim(wanted):
            return wanted
        return str(uuid.uuid4())

    async def _stop(self, entry: Entry) -> None:
        async with entry.changing:
            await self._halt(entry)

    async def _halt(self, entry: Entry) -> None:
        """Bring an entry to rest: out of the queue, or out of its runner's hands."""
        if entry.runner is not None:
            ask_to_stop(entry, Wish.STOP, self._clock)
            await asyncio.wait([entry.runner])
        elif entry.transfer.status not in FINAL:
            self._queue.withdraw(entry)
            await self._list.move(entry, Move.STOP, end_time=self._clock.wall())

    async def _remove(self, entry: Entry) -> None:
        async with entry.changing:
            if entry.transfer.status is Status.REMOVED:
                return
            await self._halt(entry)
            entry.login = None
            await self._list.move(entry, Move.REMOVE)
            await asyncio.to_thread(forget, Path(entry.plan.resume_folder), entry.transfer.id)

    async def _resume(self, entry: Entry, login: Login | None, spec: Mapping[str, Any] | None) -> Transfer:
        async with entry.changing:
            next_status(entry.transfer.status, Move.RESUME)  # refuse before anything changes
            if login is None and entry.login is None:
                raise WrongState(SIGN_IN_AGAIN)
            if login is not None:
                self._replace_login(entry, login)
            if spec is not None:
                await self._list.change(entry, spec=with_tags(spec, entry.transfer.xfer_id))
            await self._requeue(entry)
            return entry.transfer

    def _replace_login(self, entry: Entry, login: Login) -> None:
        entry.login = login
        entry.needs_login = has_secret(login)
        entry.transfer.user = login.user
        entry.plan = without_secrets(entry.plan.model_copy(update={"login": login}))

    async def _requeue(self, entry: Entry) -> None:
        if entry.runner is not None:  # it waits for another try
            ask_to_stop(entry, Wish.REQUEUE, self._clock)
            await asyncio.wait([entry.runner])
            return
        fresh = {"error": "", "error_code": 0, "error_desc": "", "attempts": 0, "end_time": 0.0}
        await self._list.move(entry, Move.RESUME, **fresh)
        self._queue.add(entry)

    async def _set_rate(
        self, entry: Entry, rate_kbps: int | None, spec_changes: Mapping[str, Any]
    ) -> Transfer:
        async with entry.changing:
            if entry.transfer.status in (Status.COMPLETED, Status.REMOVED):
                raise WrongState(f"The transfer is {entry.transfer.status.value}; its rate cannot change.")
            entry.plan = entry.plan.model_copy(update={"rate_kbps": rate_kbps})
            self._throttle.recompute()
            await self._list.change(entry, spec={**entry.transfer.spec, **spec_changes})
            return entry.transfer

    # Tasks -----------------------------------------------------------------------------------------

    async def _watch_for_sleep(self) -> None:
        """After the machine slept no connection is to be trusted (REL-14)."""
        before = self._clock.wall() - self._clock.monotonic()
        while True:
            await asyncio.sleep(SLEEP_CHECK_S)
            now = self._clock.wall() - self._clock.monotonic()
            if abs(now - before) > SLEEP_JUMP_S:
                logger.info("The clock jumped by %.0f s; running transfers connect anew", now - before)
                for entry in self._queue.running:
                    distrust(entry, self._clock)
            before = now

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._group.create_task(work, name=name)

    def _owned(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Future[Result]:
        """Start work that is finished even when its caller goes away in the middle. Raises Unavailable."""
        if self._closing:
            work.close()
            raise Unavailable("The helper is ending; start it and try again.")
        outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        _ = self._spawn(_settle(work, outcome), name)
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
