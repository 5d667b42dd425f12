"""What is done to one transfer when somebody starts, stops, resumes, removes or slows it.

Each change is made to its end: whoever asks for one through the manager may go away in the middle. Two
changes of one transfer follow one another.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import NotFound, WrongState
from connect_helper.spec.names import display
from connect_helper.transfers.arrivals import arrived, with_tags
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry, Wish
from connect_helper.transfers.leftovers import forget, sent
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.plan import Login
from connect_helper.transfers.queueing import Queue
from connect_helper.transfers.records import has_secret, without_secrets
from connect_helper.transfers.remote_leftovers import Cleaner
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.runner import ask_to_stop
from connect_helper.transfers.state import FINAL, Move, Status, next_status
from connect_helper.transfers.tasks import Tasks
from connect_helper.transfers.throttle import Throttle
from connect_helper.transfers.transfer import Transfer
from connect_helper.transfers.upkeep import Upkeep

CLEARED_AT_ONCE: Final = 100
TOLD: Final = 5  # names of files in a sentence
SIGN_IN_AGAIN: Final = "The helper was restarted; sign in again to go on."

_USABLE_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


class Changes:
    """Made once, by the manager, which says what each of them means and raises."""

    def __init__(
        self,
        *,
        transfers: TransferList,
        queue: Queue,
        throttle: Throttle,
        cleaner: Cleaner,
        upkeep: Upkeep,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._list = transfers
        self._queue = queue
        self._throttle = throttle
        self._cleaner = cleaner
        self._upkeep = upkeep
        self._tasks = tasks
        self._clock = clock

    async def admit(self, request: StartRequest) -> Transfer:
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

    async def stop(self, entry: Entry, because: str) -> None:
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

    async def remove(self, entry: Entry) -> None:
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
            self._upkeep.forget(entry.position)
            await asyncio.to_thread(forget, folder, name, also_sent=login is None)
            if login is not None and on_server:
                self._tasks.chore(self._cleaner.clean(entry.plan, login), f"clean-{name}")

    async def clear_completed(self) -> int:
        old = await self._list.remove_old(Status.COMPLETED)
        for position in old:
            self._upkeep.forget(position)
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
            self._upkeep.forget(entry.position)
        return True

    async def resume(
        self,
        entry: Entry,
        login: Login | None,
        spec: Mapping[str, Any] | None,
        addresses: tuple[str, ...] | None,
    ) -> Transfer:
        async with entry.changing:
            next_status(entry.transfer.status, Move.RESUME)  # refuse before anything changes
            if login is None and entry.login is None:
                raise WrongState(SIGN_IN_AGAIN)
            if login is not None:
                self._replace_login(entry, login)
            if addresses is not None:
                server = entry.plan.server.model_copy(update={"addresses": addresses})
                entry.plan = entry.plan.model_copy(update={"server": server})
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

    async def set_rate(
        self, entry: Entry, rate_kbps: int | None, spec_changes: Mapping[str, Any]
    ) -> Transfer:
        async with entry.changing:
            if entry.transfer.status in (Status.COMPLETED, Status.REMOVED):
                raise WrongState(f"The transfer is {entry.transfer.status.value}; its rate cannot change.")
            entry.plan = entry.plan.model_copy(update={"rate_kbps": rate_kbps})
            await self._list.change(entry, spec={**entry.transfer.spec, **spec_changes})
            self._throttle.recompute()
            return entry.transfer
