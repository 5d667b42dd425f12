"""The list of transfers: found by id, owner or request, every change stamped, kept and published here.

A status changes in `move` and nowhere else: the table allows it, the journal has it, then it is seen. The
iteration token is given at the moment it is seen, so that a page which has heard of token N has been told
every change up to N.

In memory are all transfers that are not over, and of the others those that ended last; the rest is
shelved in the journal (see there) and read when somebody asks for it.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connect_helper.errors import NotFound, Unavailable
from connect_helper.transfers.arrivals import found_again
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry
from connect_helper.transfers.file_reports import FileReports
from connect_helper.transfers.journal import REMOVALS_KEPT, Journal, Loaded
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.owned import ByOwner, between
from connect_helper.transfers.records import Record
from connect_helper.transfers.state import FINAL, Move, Status, next_status
from connect_helper.transfers.subscriptions import Subscribers
from connect_helper.transfers.transfer import FILES_KEPT, Owner, Transfer

logger = logging.getLogger(__name__)

NO_SUCH_TRANSFER: Final = "There is no such transfer."  # unknown and foreign ids read alike
TOKEN_BLOCK: Final = 20_000  # tokens promised to the journal at a time
TOKEN_RESERVE: Final = 1_000  # kept for changes of status when the disk does not take the next promise
NEWS_S: Final = 0.25  # progress of one transfer is news at most this often
NEWS_RATE: Final = 1_000  # news of progress a second, of all that run together
SAVE_S: Final = 5.0  # and is kept at most this often

ENDED_KEPT: Final = 1_000  # transfers that are over, in memory; also the most that one answer tells
ENDED_REPORTS: Final = 50_000  # files of those in memory, all together
REST_S: Final = 30.0  # nothing is shelved that ended or was asked about within this time
SHELVED_AT_ONCE: Final = 200
TOLD_AT_ONCE: Final = 100  # shelved transfers in one answer to an old token; the next answer has more
ANSWER_REPORTS: Final = 5_000  # files of shelved transfers in one answer, all together


class _Keeper:
    """The files of one transfer on their way to disk."""

    def __init__(self, reports: FileReports, position: int) -> None:
        self._reports = reports
        self._position = position

    def begin(self) -> None:
        self._reports.begin(self._position)

    def put(self, report: FileReport) -> None:
        self._reports.put(self._position, report)


class TransferList:
    """All transfers that are not removed, in order of submission, and the memory of those that were."""

    def __init__(self, journal: Journal, reports: FileReports, clock: Clock) -> None:
        self._journal = journal
        self._reports = reports
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._by_owner = ByOwner()  # the entries again, and their news in the order of tokens
        self._running: set[str] = set()
        self._ended: OrderedDict[str, float] = OrderedDict()  # of the entries: when they came to rest
        self._shelved: Counter[Status] = Counter()
        self._told = 0  # the highest token of a shelved transfer
        self._removed: OrderedDict[str, Transfer] = OrderedDict()  # oldest first
        self._unkept: dict[str, Entry] = {}  # the disk did not take what became of them
        self._removals_unkept: dict[int, Transfer] = {}  # nor that these were removed; by position
        self._claimed: set[str] = set()  # ids of transfers on their way to the journal
        self._token = 0
        self._ceiling = 0
        self._reserving = False
        self._next_position = 0
        self.subscribers = Subscribers()

    async def load(self, loaded: Loaded) -> None:
        """Take over what the journal knew. Everything counts as changed, but for what is shelved."""
        self._token = self._ceiling = loaded.token
        self._next_position = max(loaded.next_position, await self._reports.last_transfer() + 1)
        self._shelved, self._told = Counter(loaded.shelved), loaded.told
        await self.reserve_tokens()
        for removed in loaded.removals:
            removed.iteration_token = self._next_token()
            self._removed[removed.id] = removed
        await self._read_files(list(reversed(loaded.records)), ENDED_REPORTS)
        for record in loaded.records:
            self._stamp(self._take(found_again(record)).transfer)

    def _take(self, entry: Entry) -> Entry:
        """Have an entry in memory."""
        one = entry.transfer
        entry.kept = (one.spec, entry.plan)
        entry.figures.keeper = _Keeper(self._reports, entry.position)
        self._entries[one.id] = entry
        self._by_owner.take(entry)
        self._settle(one)
        return entry

    async def _read_files(self, records: Sequence[Record], budget: int) -> None:
        """Give transfers from the journal the files they show. Of none it asks nothing: the disk is busy."""
        if not records:
            return
        by_position = {record.position: record.transfer for record in records}
        try:
            found = await self._reports.newest(list(by_position), each=FILES_KEPT, budget=budget)
        except Unavailable as error:
            logger.error("files of transfers cannot be read: %s", error.internal_message)
            return
        for position, files in found.items():
            by_position[position].files = files

    # Finding ---------------------------------------------------------------------------------------

    @property
    def token(self) -> int:
        """The token of the last change."""
        return self._token

    def entries(self) -> list[Entry]:
        """Those in memory, in order of submission."""
        return list(self._entries.values())

    def counts(self) -> Mapping[Status, int]:
        """How many transfers have each status, shelved ones included."""
        return self._shelved + Counter(entry.transfer.status for entry in self._entries.values())

    async def claim(self, transfer_id: str) -> bool:
        """Take an id for a transfer to be admitted; False when it is or was in use. Raises Unavailable."""
        if transfer_id in self._entries or transfer_id in self._removed or transfer_id in self._claimed:
            return False
        self._claimed.add(transfer_id)
        if await self._journal.position_of(transfer_id) is None:
            return True
        self._claimed.discard(transfer_id)
        return False

    def find(self, transfer_id: str, owner: Owner | None, *, exact_first: bool = False) -> Entry:
        """Find in memory by id or xfer_id; with `owner`, only among theirs. Raises NotFound.

        A page may use an xfer_id again: one that still goes on is meant before one that has ended, and
        the newest among equals. `exact_first` means the one with that id in any case, as for removing.
        """
        exact = self._entries.get(transfer_id)
        if exact is not None and owner in (None, exact.transfer.owner):
            if exact_first or exact.transfer.status not in FINAL:
                return exact
        else:
            exact = None
        for entry in reversed(self._entries.values()):
            if entry.transfer.xfer_id == transfer_id and owner in (None, entry.transfer.owner):
                return entry
        if exact is not None:
            return exact
        raise NotFound(NO_SUCH_TRANSFER, internal_message=f"unknown transfer {transfer_id!r}")

    async def look(self, transfer_id: str, owner: Owner | None, *, exact_first: bool = False) -> Entry:
        """Find like `find`, wherever it is; a shelved one stays shelved, so change nothing of it.

        Raises NotFound, Unavailable.
        """
        record: Record | None = None
        if exact_first and transfer_id not in self._entries:
            record = await self._journal.find("id", transfer_id, owner)
        if record is None:
            try:
                return self.find(transfer_id, owner, exact_first=exact_first)
            except NotFound:
                record = await self._journal.find("id", transfer_id, owner)
                record = record or await self._journal.find("xfer_id", transfer_id, owner)
        if record is None or record.transfer.id in self._removed:
            return self.find(transfer_id, owner, exact_first=exact_first)
        if record.transfer.id in self._entries:  # somebody has taken it back meanwhile
            return self._entries[record.transfer.id]
        await self._read_files([record], FILES_KEPT)
        return found_again(record)

    async def reach(self, transfer_id: str, owner: Owner | None, *, exact_first: bool = False) -> Entry:
        """Find to act upon: it is in memory then, and stays so for a while. Raises NotFound, Unavailable."""
        entry = await self.look(transfer_id, owner, exact_first=exact_first)
        one = entry.transfer
        if one.id not in self._entries:
            await self._journal.unshelve(entry.position)
            if one.id in self._entries:  # two asked at the same time
                entry = self._entries[one.id]
            else:
                self._shelved[one.status] -= 1
                self._take(entry)
                in_order = sorted(self._entries.items(), key=lambda item: item[1].position)
                self._entries = dict(in_order)
                self._by_owner.restore_order(entry)
        if one.id in self._ended:
            self._ended[one.id] = self._clock.monotonic()
            self._ended.move_to_end(one.id)
        return entry

    async def page(self, statuses: Collection[Status], before: str, limit: int) -> tuple[list[Entry], bool]:
        """Return transfers with one of the statuses, newest first, and whether there are older ones.

        `before` is the id that the page before ended with; one that is gone means from the top.
        Raises Unavailable.
        """
        start = await self._position_of(before) if before else None
        here = [
            entry
            for entry in self._entries.values()
            if entry.transfer.status in statuses and (start is None or entry.position < start)
        ]
        ends = [status for status in statuses if self._shelved[status] > 0]
        shelved = await self._journal.page(ends, start, limit + 1)
        by_position = {record.position: found_again(record) for record in shelved}
        by_position |= {entry.position: entry for entry in here}
        newest_first = sorted(by_position.values(), key=lambda entry: entry.position, reverse=True)
        return newest_first[:limit], len(newest_first) > limit

    async def _position_of(self, transfer_id: str) -> int | None:
        entry = self._entries.get(transfer_id)
        return entry.position if entry is not None else await self._journal.position_of(transfer_id)

    def was_removed(self, transfer_id: str, owner: Owner | None) -> bool:
        """Tell whether that id belonged to a transfer that was removed."""
        removed = self._removed.get(transfer_id)
        return removed is not None and owner in (None, removed.owner)

    def removed_owner(self, transfer_id: str) -> Owner | None:
        """Whose transfer had that id before it was removed."""
        removed = self._removed.get(transfer_id)
        return removed.owner if removed is not None else None

    async def of_request(self, owner: Owner, request_id: str) -> Transfer | None:
        """Find the transfer that a start call made, also a removed one; an empty request_id finds none.

        Raises Unavailable.
        """
        if not request_id:
            return None
        listed = [entry.transfer for entry in self._entries.values()]
        for transfer in reversed([*self._removed.values(), *listed]):
            if transfer.request_id == request_id and transfer.owner == owner:
                return transfer
        record = await self._journal.of_request(owner, request_id)
        return record.transfer if record is not None else None

    async def changes(self, owner: Owner, token: int) -> tuple[int, list[Transfer]]:
        """Answer a poll (Connect reference, section 7): the token to come back with, and the transfers.

        With 0, or a token never given out, those that are listed: all that are not over, and the newest
        ENDED_KEPT of the others. Else what changed after the token, removed ones included; when very much
        did, the answer ends early, and its token asks for the rest. Raises Unavailable.
        """
        if not 0 < token <= self._token:
            return await self._listed(owner)
        late: list[Record] = []
        seen = -1
        while seen != self._told and token < self._told:  # again when some were shelved meanwhile
            seen = self._told
            late = await self._journal.told_after(owner, token, TOLD_AT_ONCE)
        await self._read_files(late, ANSWER_REPORTS)
        full = len(late) == TOLD_AT_ONCE
        upto = late[-1].transfer.iteration_token if full else self._token
        removed = (one for one in between(self._removed, token, upto) if one.owner == owner)
        changed = between(self._by_owner.of(owner).news, token, upto)
        return upto, [*self._still_shelved(late), *removed, *changed]

    def _still_shelved(self, records: Sequence[Record]) -> list[Transfer]:
        """The transfers of records that nobody took back or removed while they were read."""
        ids = ((record.transfer.id, record.transfer) for record in records)
        return [one for name, one in ids if name not in self._entries and name not in self._removed]

    async def _listed(self, owner: Owner) -> tuple[int, list[Transfer]]:
        over = len(self._by_owner.of(owner).over)
        older: list[Record] = []
        if over < ENDED_KEPT and self._shelved.total() > 0:
            older = await self._journal.newest_of(owner, ENDED_KEPT - over)
            older.reverse()
            await self._read_files(older, ANSWER_REPORTS)
        here = [entry.transfer for entry in self._by_owner.of(owner).entries.values()]
        return self._token, [*self._still_shelved(older), *here]

    # Changing --------------------------------------------------------------------------------------

    def next_position(self) -> int:
        """Return the place of the next transfer in the order of submission."""
        self._next_position += 1
        return self._next_position - 1

    async def admit(self, entry: Entry) -> None:
        """Put a new transfer on the list. Raises Unavailable when it cannot be kept."""
        try:
            await self._journal.save(entry.record())
            self._take(entry)
        finally:
            self._claimed.discard(entry.transfer.id)
        await self.reserve_tokens()
        self._publish(entry.transfer)

    async def move(self, entry: Entry, move: Move, **fields: Any) -> None:
        """Bring a transfer to its next status, with `fields` of it set along.

        Only one call at a time may be under way for an entry. Raises WrongState, and then nothing changed.
        """
        transfer = entry.transfer
        now = self._clock.wall()
        status = next_status(transfer.status, move)
        fields |= {"status": status, "previous_status": transfer.status, "modify_time": now}
        if move is Move.REMOVE:
            await self._remove(entry, fields)
            return
        if transfer.status is Status.RUNNING:
            await self._reports.end(entry.position)  # who hears of an end may ask for every file
        if move is Move.FINISHED:
            await self._reports.completed(entry.position)
        await self._keep(entry, fields)
        for name, value in fields.items():
            setattr(transfer, name, value)
        self._settle(transfer)
        logger.info("transfer %s: %s%s", transfer.id, status.value, _because(transfer))
        self._publish(transfer)
        await self.reserve_tokens()

    async def change(self, entry: Entry, **fields: Any) -> None:
        """Change anything but the status."""
        fields["modify_time"] = self._clock.wall()
        await self._keep(entry, fields)
        for name, value in fields.items():
            setattr(entry.transfer, name, value)
        self._publish(entry.transfer)

    async def keep(self, entry: Entry) -> None:
        """Write a transfer as it is."""
        await self._reports.flush()
        await self._keep(entry, {})

    def progressed(self, entry: Entry) -> None:
        """Tell of new figures, as often as is useful."""
        now = self._clock.monotonic()
        pace = max(NEWS_S, len(self._running) / NEWS_RATE)
        if now - entry.published_at >= pace and self._ceiling - self._token > TOKEN_RESERVE:
            entry.published_at = now
            entry.transfer.modify_time = self._clock.wall()
            self._publish(entry.transfer)
        # While a move is on its way to disk, the old status must not be written after it.
        if now - entry.saved_at >= SAVE_S and not entry.moving:
            entry.saved_at = now
            self._journal.save_soon(entry.position, entry.transfer)

    async def reserve_tokens(self) -> None:
        """Promise the next block of tokens in time. A disk that refuses holds up news of progress only.

        Waits while too many file reports wait for the disk, so that a session cannot outrun it.
        """
        await self._reports.room()
        if self._reserving or self._ceiling - self._token > TOKEN_BLOCK // 2:
            return
        self._reserving = True
        try:
            ceiling = self._token + TOKEN_BLOCK
            await self._journal.reserve(ceiling)
            self._ceiling = ceiling
        except Unavailable as error:
            logger.error("No new iteration tokens: %s", error.internal_message)
        finally:
            self._reserving = False

    async def remove_old(self, status: Status) -> list[int]:
        """Take what was shelved long ago off the list; return the positions. Raises Unavailable."""
        gone = await self._journal.remove_old(status)
        self._shelved[status] -= len(gone)
        return gone

    async def shelve(self) -> None:
        """Let go of transfers that ended long ago, so that memory does not grow with the history."""
        surplus = self._surplus()
        if not surplus:
            return
        rested = [self._ended[entry.transfer.id] for entry in surplus]
        try:
            await self._journal.shelve([(one.record(), one.transfer.iteration_token) for one in surplus])
        except Unavailable as error:
            logger.error("finished transfers stay in memory: %s", error.internal_message)
            return
        for entry, since in zip(surplus, rested, strict=True):
            one = entry.transfer
            if self._ended.get(one.id) == since and not _busy(entry):
                del self._ended[one.id], self._entries[one.id]
                self._unkept.pop(one.id, None)
                self._by_owner.drop(one)
                self._shelved[one.status] += 1
                self._told = max(self._told, one.iteration_token)
            elif self._entries.get(one.id) is entry:  # wanted again meanwhile
                await self._journal.unshelve(entry.position)

    def _surplus(self) -> list[Entry]:
        """Those that ended first, as many as are too many.

        None that `keep_missed` writes: after that the disk would not have it as shelved, nor memory at all.
        """
        over = len(self._ended) - ENDED_KEPT
        ended = [self._entries[one] for one in self._ended]
        reports = sum(len(entry.transfer.files) for entry in ended) - ENDED_REPORTS
        old = self._clock.monotonic() - REST_S
        found: list[Entry] = []
        for entry in ended:
            if (over <= 0 and reports <= 0) or self._ended[entry.transfer.id] > old:
                break
            unkept = entry.transfer.id in self._unkept
            if len(found) < SHELVED_AT_ONCE and not unkept and not _busy(entry):
                found.append(entry)
                over -= 1
                reports -= len(entry.transfer.files)
        return found

    async def _keep(self, entry: Entry, fields: dict[str, Any]) -> None:
        """Write what the transfer is about to become. A full disk must not hide how a transfer went on."""
        record = entry.record(replace(entry.transfer, **fields))
        large = (record.transfer.spec, record.plan)  # what was asked and the plan
        entry.moving = True
        self._unkept.pop(entry.transfer.id, None)
        try:
            if entry.kept is not None and all(a is b for a, b in zip(entry.kept, large, strict=True)):
                await self._journal.save_step(record)
            else:
                await self._journal.save(record)
                entry.kept = large
        except Unavailable as error:
            self._unkept[entry.transfer.id] = entry
            logger.error("transfer %s: not kept yet: %s", entry.transfer.id, error.internal_message)
        finally:
            entry.moving = False

    async def keep_missed(self) -> None:
        """Write what the disk did not take before. Else a start of the helper would not know how it ended."""
        try:
            while self._removals_unkept:
                position, removed = next(iter(self._removals_unkept.items()))
                await self._journal.remove(position, removed)
                del self._removals_unkept[position]
            for name, entry in list(self._unkept.items()):
                if self._unkept.get(name) is entry and not entry.moving:
                    await self._keep_again(entry)
        except Unavailable as error:
            logger.error("transfers are still not kept: %s", error.internal_message)

    async def _keep_again(self, entry: Entry) -> None:
        """Write a transfer as it is; a move meanwhile is written after it. Raises Unavailable."""
        name, record = entry.transfer.id, entry.record()
        del self._unkept[name]
        try:
            await self._journal.save(record)
        except Unavailable:
            if self._entries.get(name) is entry:
                self._unkept[name] = entry
            raise
        entry.kept = (record.transfer.spec, record.plan)

    async def _remove(self, entry: Entry, fields: dict[str, Any]) -> None:
        transfer = entry.transfer
        removed = replace(transfer, files={}, current_file="", **fields)
        entry.moving = True  # for ever: nothing of it is written again
        self._unkept.pop(transfer.id, None)
        try:
            await self._journal.remove(entry.position, removed)
        except Unavailable as error:
            self._removals_unkept[entry.position] = removed
            logger.error("transfer %s: removal not kept yet: %s", transfer.id, error.internal_message)
        self._entries.pop(transfer.id, None)
        self._by_owner.drop(transfer)
        self._ended.pop(transfer.id, None)
        self._running.discard(transfer.id)
        for name, value in fields.items():
            setattr(transfer, name, value)
        removed.iteration_token = transfer.iteration_token = self._next_token()
        self._removed[transfer.id] = removed
        while len(self._removed) > REMOVALS_KEPT:
            self._removed.popitem(last=False)
        logger.info("transfer %s: removed", transfer.id)
        self.subscribers.publish(removed)

    def _settle(self, transfer: Transfer) -> None:
        """Know who runs and who is at rest."""
        self._ended.pop(transfer.id, None)
        self._running.discard(transfer.id)
        if transfer.status in FINAL:
            self._ended[transfer.id] = self._clock.monotonic()
        elif transfer.status is Status.RUNNING:
            self._running.add(transfer.id)
        self._by_owner.settle(transfer)

    def _publish(self, transfer: Transfer) -> None:
        self._stamp(transfer)
        self.subscribers.publish(transfer)

    def _stamp(self, transfer: Transfer) -> None:
        transfer.iteration_token = self._next_token()
        self._by_owner.stamped(transfer)

    def _next_token(self) -> int:
        self._token += 1
        return self._token


def _busy(entry: Entry) -> bool:
    return entry.moving or entry.changing.locked() or entry.runner is not None


def _because(transfer: Transfer) -> str:
    return f" ({transfer.error})" if transfer.status in (Status.FAILED, Status.WILL_RETRY) else ""
