"""The manager of transfers: the one door for everybody who starts, stops, changes or watches them.

Transfers it returns are the living objects: read them, never write them. Everything here belongs to the
event loop; bytes are moved by worker processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

from connect_helper.errors import ConnectHelperError, NotFound, Unavailable, WrongState
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.spec.names import display
from connect_helper.transfers.arrivals import arrived, with_tags
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry, Listed, Wish
from connect_helper.transfers.file_reports import STATES, FilePage, FileReports
from connect_helper.transfers.journal import Journal
from connect_helper.transfers.leftovers import forget, sent, sweep
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.queueing import Queue
from connect_helper.transfers.records import has_secret, without_secrets
from connect_helper.transfers.remote_leftovers import Cleaner
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
SHELVE_S: Final = 2.0  # how often it is looked whether memory holds too many finished transfers
CLEARED_AT_ONCE: Final = 100
SLEEP_JUMP_S: Final = 5.0  # the wall clock went so much further than the monotonic one: the machine slept
TOLD: Final = 5  # names of files in a sentence
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
        self._reports = FileReports(folders.state)
        self._list = TransferList(self._journal, self._reports, self._clock)
        self._pool = WorkerPool(folder=folders.state, command=worker_command)
        self._cleaner = Cleaner(self._pool)
        self._throttle = Throttle(preferences)
        self._admitting: dict[tuple[Owner, str], asyncio.Future[Transfer]] = {}
        self._closing = False
        self._group = asyncio.TaskGroup()
        self._chores: set[asyncio.Task[None]] = set()  # they end with the program at the latest
        self._reports_to_forget: asyncio.Queue[int] = asyncio.Queue()
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
        try:
            damaged = await self._reports.open()
        except BaseException:
            await self._journal.close()
            raise
        if damaged is not None:
            logger.error("The files of earlier transfers were damaged; they were set aside as %s", damaged)
        await self._list.load(loaded)
        await self._pool.__aenter__()
        await self._group.__aenter__()
        self._chore(self._watch_for_sleep(), "sleep-watch")
        self._chore(self._shelve_old(), "shelve")
        self._chore(self._forget_reports(), "forget-reports")
        resume_folders = {Path(entry.plan.resume_folder) for entry in self._list.entries()}
        _ = self._spawn(asyncio.to_thread(sweep, resume_folders), "sweep")
        self._queue.add(*[entry for entry in self._list.entries() if await self._goes_on(entry)])
        return self

    async def __aexit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        """End within 5 s: sessions stop and keep their partial files, the list is saved."""
        self._closing = True
        for chore in list(self._chores):
            chore.cancel()
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
            await self._reports.close()
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
        """Find by uuid or xfer_id; with `owner`, among theirs only. Raises NotFound.

        Finds what is in memory: everything that is not over, and what ended or was fetched lately.
        """
        return self._list.find(transfer_id, owner).transfer

    async def fetch(
        self, transfer_id: str, *, owner: Owner | None = None, exact_first: bool = False
    ) -> Transfer:
        """Find like `get`, however old; it is in memory from then on. Raises NotFound, Unavailable."""
        return (await self._list.reach(transfer_id, owner, exact_first=exact_first)).transfer

    async def look(
        self, transfer_id: str, *, owner: Owner | None = None, exact_first: bool = False
    ) -> Listed:
        """Find like `get`, however old, to show it. Raises NotFound, Unavailable.

        `exact_first`: the one with that uuid, though another that goes on has it as its xfer_id.
        """
        return (await self._list.look(transfer_id, owner, exact_first=exact_first)).listed()

    def listed(self, transfers: Sequence[Transfer]) -> list[Listed]:
        """Return what is known beside transfers that changed; those that are gone are left out."""
        found = []
        for one in transfers:
            with contextlib.suppress(NotFound):
                found.append(self._list.find(one.id, None, exact_first=True).listed())
        return found

    async def find_request(self, owner: Owner, request_id: str) -> Transfer | None:
        """Find what an earlier start call with that request_id made. Raises Unavailable."""
        return await self._list.of_request(owner, request_id)

    def all(self) -> list[Transfer]:
        """Return every transfer in memory, newest last; see `get` for which those are."""
        return [entry.transfer for entry in self._list.entries()]

    def counts(self) -> Mapping[Status, int]:
        """How many transfers have each status."""
        return self._list.counts()

    async def page(
        self, statuses: Collection[Status], *, before: str = "", limit: int
    ) -> tuple[list[Listed], bool]:
        """Return up to `limit` transfers with one of the statuses, newest first; True when there are older.

        `before` is the id the page before ended with. Raises Unavailable.
        """
        entries, more = await self._list.page(statuses, before, limit)
        return [entry.listed() for entry in entries], more

    async def files(
        self, one: Listed, states: Collection[str] = STATES, *, before: int | None = None, limit: int
    ) -> FilePage:
        """Return files of a transfer, the newest first; those under way come with the first page.

        `before` is what the page before said. Raises Unavailable.
        """
        live = one.transfer.status is Status.RUNNING
        under_way: list[FileReport] = []
        if live and before is None and "running" in states:
            files = one.transfer.files.values()
            under_way = [report for report in files if report.state == "running"][::-1]
        # While a session runs, what the disk has as under way belongs to the session before.
        kept = [state for state in states if not (live and state == "running")]
        page = await self._reports.page(one.position, kept, before=before, limit=limit)
        return FilePage(under_way, page.reports, page.before)

    async def files_in_order(self, one: Listed, *, offset: int, limit: int) -> tuple[list[FileReport], int]:
        """Return files of a transfer in the order of their first activity, and how many have begun.

        Raises Unavailable.
        """
        live = one.transfer.status is Status.RUNNING
        files = one.transfer.files.values() if live else ()
        under_way = [report for report in files if report.state == "running"]
        return await self._reports.in_order(one.position, under_way, live=live, offset=offset, limit=limit)

    def every_file(self, one: Listed) -> AsyncIterator[list[FileReport]]:
        """All files of a transfer that have ended or are left over, in batches. Raises Unavailable."""
        live = one.transfer.status is Status.RUNNING
        return self._reports.every(
            one.position, [each for each in STATES if not (live and each == "running")]
        )

    async def changes(self, owner: Owner, token: int) -> tuple[int, list[Transfer]]:
        """Answer a poll (Connect reference, section 7): the new token, and what changed after `token`.

        0, or a token larger than the current one, asks for what is still listed: all that is not over, and
        the newest 1,000 of the rest. Else removed ones are told too, with status "removed".
        Raises Unavailable.
        """
        return await self._list.changes(owner, token)

    def needs_login(self, transfer_id: str) -> bool:
        """Tell whether `resume` needs a `login`, since the secrets are gone. Raises NotFound."""
        return self._list.find(transfer_id, None, exact_first=True).login is None

    def login_of(self, transfer_id: str) -> Login | None:
        """Return the login it has in memory; None when that is gone. Raises NotFound."""
        return self._list.find(transfer_id, None, exact_first=True).login

    def plan_of(self, transfer_id: str) -> SessionPlan:
        """Return the SessionPlan without secrets, as it would run now. Raises NotFound."""
        return self._list.find(transfer_id, None, exact_first=True).plan

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
        if request.request_id and key not in self._admitting and (known := await self.find_request(*key)):
            return known
        if request.request_id and key in self._admitting:
            return await asyncio.shield(self._admitting[key])
        outcome = self._owned(self._admit(request), f"submit-{request.request_id[:40]!r}")
        if request.request_id:
            self._admitting[key] = outcome
            outcome.add_done_callback(lambda _: self._admitting.pop(key, None))
        return await asyncio.shield(outcome)

    async def stop(self, transfer_id: str, *, owner: Owner | None = None, because: str = "") -> None:
        """Stop; on return nothing moves any more and partial files are kept. An ended one stays as it is.

        `because` is a sentence for the user where it was not their wish. Raises NotFound.
        """
        entry = await self._list.reach(transfer_id, owner)
        await asyncio.shield(self._owned(self._stop(entry, because), f"stop-{entry.transfer.id}"))

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
        entry = await self._list.reach(transfer_id, owner)
        work = self._resume(entry, login, spec)
        return await asyncio.shield(self._owned(work, f"resume-{entry.transfer.id}"))

    async def remove(self, transfer_id: str, *, owner: Owner | None = None) -> None:
        """Take it off the list, stopping it first. Once more is no error. Raises NotFound."""
        try:
            entry = await self._list.reach(transfer_id, owner, exact_first=True)
        except NotFound:
            if self._list.was_removed(transfer_id, owner):
                return
            raise
        await asyncio.shield(self._owned(self._remove(entry), f"remove-{entry.transfer.id}"))

    async def clear_completed(self) -> int:
        """Take every completed transfer off the list, however long it is; return how many.

        Goes on to the end even when the caller goes away. Raises Unavailable.
        """
        return await asyncio.shield(self._owned(self._clear_completed(), "clear-completed"))

    def removed_owner(self, transfer_id: str) -> Owner | None:
        """Whose transfer had that id before it was removed; None when none had."""
        return self._list.removed_owner(transfer_id)

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
        entry = await self._list.reach(transfer_id, owner)
        work = self._set_rate(entry, rate_kbps, spec_changes)
        return await asyncio.shield(self._owned(work, f"rate-{entry.transfer.id}"))

    # The work behind -------------------------------------------------------------------------------

    async def _admit(self, request: StartRequest) -> Transfer:
        entry = arrived(
            request,
            transfer_id=await self._new_id(request.xfer_id),
            position=self._list.next_position(),
            now=self._clock.wall(),
        )
        await self._list.admit(entry)
        self._queue.add(entry)
        return entry.transfer

    async def _new_id(self, wanted: str | None) -> str:
        """Return the page's id when it can be one and is not taken, else a new one."""
        if wanted and _USABLE_ID.fullmatch(wanted) and await self._list.claim(wanted):
            return wanted
        return str(uuid.uuid4())

    async def _stop(self, entry: Entry, because: str) -> None:
        async with entry.changing:
            await self._halt(entry, because)

    async def _halt(self, entry: Entry, because: str = "") -> None:
        """Bring an entry to rest: out of the queue, or out of its runner's hands."""
        entry.because = because
        if entry.runner is not None:
            ask_to_stop(entry, Wish.STOP, self._clock)
            await asyncio.wait([entry.runner])
        elif entry.transfer.status not in FINAL:
            self._queue.withdraw(entry)
            await self._list.move(entry, Move.STOP, error_desc=because, end_time=self._clock.wall())

    async def _remove(self, entry: Entry) -> None:
        async with entry.changing:
            if entry.transfer.status is Status.REMOVED:
                return
            await self._halt(entry)
            login, entry.login = entry.login, None
            folder, name = Path(entry.plan.resume_folder), entry.plan.transfer_id
            on_server = [display(record.partial) for _, record in await asyncio.to_thread(sent, folder, name)]
            stays = f"Unfinished files stay on the server: {', '.join(on_server[:TOLD])}" if on_server else ""
            note = entry.transfer.note if login or not stays else stays
            await self._list.move(entry, Move.REMOVE, note=note)
            self._reports_to_forget.put_nowait(entry.position)
            await asyncio.to_thread(forget, folder, name, also_sent=login is None)
            if login is not None and on_server:
                self._chore(self._cleaner.clean(entry.plan, login), f"clean-{name}")

    async def _clear_completed(self) -> int:
        old = await self._list.remove_old(Status.COMPLETED)
        for position in old:
            self._reports_to_forget.put_nowait(position)
        removed, more = len(old), True
        while more:
            some, more = await self._list.page([Status.COMPLETED], "", CLEARED_AT_ONCE)
            # Side by side, so that the journal takes them in one commit.
            removed += sum(await asyncio.gather(*(self._clear(entry.transfer.id) for entry in some)))
        return removed

    async def _clear(self, transfer_id: str) -> bool:
        """Remove one, unless it is gone or somebody has begun it again."""
        try:
            entry = await self._list.reach(transfer_id, None, exact_first=True)
        except NotFound:
            return False
        async with entry.changing:
            if entry.transfer.status is not Status.COMPLETED:
                return False
            await self._list.move(entry, Move.REMOVE)
            self._reports_to_forget.put_nowait(entry.position)
        return True

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
        if login.file_passphrase is None and entry.login is not None:
            login = login.model_copy(update={"file_passphrase": entry.login.file_passphrase})
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
            await self._list.change(entry, spec={**entry.transfer.spec, **spec_changes})
            self._throttle.recompute()
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

    async def _shelve_old(self) -> None:
        while True:
            await asyncio.sleep(SHELVE_S)
            await self._list.shelve()

    async def _forget_reports(self) -> None:
        """Delete the files of removed transfers, beginning with what an earlier run did not get to."""
        try:
            await self._reports.keep_only(self._journal.present)
            while True:
                await self._reports.remove(await self._reports_to_forget.get())
        except Unavailable as error:
            logger.error("files of removed transfers stay on disk: %s", error.internal_message)

    def _chore(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start work that is given up when the program ends."""
        chore = self._spawn(work, name)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

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
