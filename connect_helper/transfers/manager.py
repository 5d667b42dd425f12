"""The manager of transfers: the one door for everybody who starts, stops, changes or watches them.

Transfers it returns are the living objects: read them, never write them. Everything here belongs to the
event loop; bytes are moved by worker processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import NotFound
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.changes import SIGN_IN_AGAIN, Changes
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry, Listed, Wish
from connect_helper.transfers.file_reports import FilePage, FileReports
from connect_helper.transfers.file_rows import STATES
from connect_helper.transfers.journal import Journal
from connect_helper.transfers.leftovers import sweep
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.queueing import Queue
from connect_helper.transfers.remote_leftovers import Cleaner
from connect_helper.transfers.requests import Questions, StartRequest
from connect_helper.transfers.runner import Runner, ask_to_stop
from connect_helper.transfers.state import ACTIVE, FINAL, Move, Status
from connect_helper.transfers.subscriptions import Subscription
from connect_helper.transfers.tasks import Tasks
from connect_helper.transfers.throttle import Throttle
from connect_helper.transfers.transfer import Owner, Transfer
from connect_helper.transfers.upkeep import Upkeep
from connect_helper.transfers.workers import WorkerPool

logger = logging.getLogger(__name__)

CLOSE_S: Final = 3.5  # for sessions to end in good order when the helper ends
INTERRUPTED: Final = "interrupted"


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
        self._journal = Journal(folders.state)
        self._reports = FileReports(folders.state)
        self._list = TransferList(self._journal, self._reports, self._clock)
        self._pool = WorkerPool(folder=folders.state, command=worker_command)
        self._admitting: dict[tuple[Owner, str], asyncio.Future[Transfer]] = {}
        self._tasks = Tasks()
        self.journal_set_aside: Path | None = None  # tell the user: a damaged list was put there
        throttle = Throttle(preferences)
        runner = Runner(
            transfers=self._list,
            pool=self._pool,
            throttle=throttle,
            questions=questions,
            preferences=preferences,
            clock=self._clock,
        )
        self._queue = Queue(runner, preferences, self._tasks.spawn)
        self._upkeep = Upkeep(
            transfers=self._list,
            queue=self._queue,
            reports=self._reports,
            present=self._journal.present,
            clock=self._clock,
        )
        self._changes = Changes(
            transfers=self._list,
            queue=self._queue,
            throttle=throttle,
            cleaner=Cleaner(self._pool),
            upkeep=self._upkeep,
            tasks=self._tasks,
            clock=self._clock,
        )

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
        await self._tasks.__aenter__()
        self._upkeep.begin(self._tasks)
        resume_folders = {Path(entry.plan.resume_folder) for entry in self._list.entries()}
        _ = self._tasks.spawn(asyncio.to_thread(sweep, resume_folders), "sweep")
        self._queue.add(*[entry for entry in self._list.entries() if await self._goes_on(entry)])
        return self

    async def __aexit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        """End within 5 s: sessions stop and keep their partial files, the list is saved."""
        self._tasks.close()
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
            await self._tasks.__aexit__(kind, exception, traceback)
        finally:
            await self._pool.__aexit__(None, None, None)
            await self._reports.close()
            await self._list.keep_missed()
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
        outcome = self._tasks.owned(self._changes.admit(request), f"submit-{request.request_id[:40]!r}")
        if request.request_id:
            self._admitting[key] = outcome
            outcome.add_done_callback(lambda _: self._admitting.pop(key, None))
        return await asyncio.shield(outcome)

    async def stop(self, transfer_id: str, *, owner: Owner | None = None, because: str = "") -> None:
        """Stop; on return nothing moves any more and partial files are kept. An ended one stays as it is.

        `because` is a sentence for the user where it was not their wish. Raises NotFound.
        """
        entry = await self._list.reach(transfer_id, owner)
        await asyncio.shield(
            self._tasks.owned(self._changes.stop(entry, because), f"stop-{entry.transfer.id}")
        )

    async def resume(
        self,
        transfer_id: str,
        *,
        login: Login | None = None,
        spec: Mapping[str, Any] | None = None,
        addresses: tuple[str, ...] | None = None,
        owner: Owner | None = None,
    ) -> Transfer:
        """Queue again what failed, was stopped or waits for a try; what is given replaces the old.

        Raises NotFound, WrongState (also when a login is needed and none is given).
        """
        entry = await self._list.reach(transfer_id, owner)
        work = self._changes.resume(entry, login, spec, addresses)
        return await asyncio.shield(self._tasks.owned(work, f"resume-{entry.transfer.id}"))

    async def remove(self, transfer_id: str, *, owner: Owner | None = None) -> None:
        """Take it off the list, stopping it first. Once more is no error. Raises NotFound."""
        try:
            entry = await self._list.reach(transfer_id, owner, exact_first=True)
        except NotFound:
            if self._list.was_removed(transfer_id, owner):
                return
            raise
        await asyncio.shield(self._tasks.owned(self._changes.remove(entry), f"remove-{entry.transfer.id}"))

    async def clear_completed(self) -> int:
        """Take every completed transfer off the list, however long it is; return how many.

        Goes on to the end even when the caller goes away. Raises Unavailable.
        """
        return await asyncio.shield(self._tasks.owned(self._changes.clear_completed(), "clear-completed"))

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
        work = self._changes.set_rate(entry, rate_kbps, spec_changes)
        return await asyncio.shield(self._tasks.owned(work, f"rate-{entry.transfer.id}"))
