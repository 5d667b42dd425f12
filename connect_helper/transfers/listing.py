"""The list of transfers: found by id, owner or request, every change stamped, kept and published here.

A status changes in `move` and nowhere else: the table allows it, the journal has it, then it is seen. The
iteration token is given at the moment it is seen, so that a page which has heard of token N has been told
every change up to N.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from typing import Any, Final

from connect_helper.errors import NotFound, Unavailable
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry
from connect_helper.transfers.journal import REMOVALS_KEPT, Journal, Loaded
from connect_helper.transfers.state import FINAL, Move, Status, next_status
from connect_helper.transfers.subscriptions import Subscribers
from connect_helper.transfers.transfer import Owner, Transfer

logger = logging.getLogger(__name__)

NO_SUCH_TRANSFER: Final = "There is no such transfer."  # unknown and foreign ids read alike
TOKEN_BLOCK: Final = 20_000  # tokens promised to the journal at a time
TOKEN_RESERVE: Final = 1_000  # kept for changes of status when the disk does not take the next promise
NEWS_S: Final = 0.25  # progress of one transfer is news at most this often
SAVE_S: Final = 5.0  # and is kept at most this often


class TransferList:
    """All transfers that are not removed, in order of submission, and the memory of those that were."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._removed: OrderedDict[str, Transfer] = OrderedDict()  # oldest first
        self._claimed: set[str] = set()  # ids of transfers on their way to the journal
        self._token = 0
        self._ceiling = 0
        self._reserving = False
        self._next_position = 0
        self.subscribers = Subscribers()

    async def load(self, loaded: Loaded, entries: list[Entry]) -> None:
        """Take over what the journal knew. Everything counts as changed, since tokens are not kept."""
        self._token = self._ceiling = loaded.token
        self._next_position = max((entry.position for entry in entries), default=-1) + 1
        await self.reserve_tokens()
        for removed in loaded.removals:
            removed.iteration_token = self._next_token()
            self._removed[removed.id] = removed
        for entry in entries:
            entry.transfer.iteration_token = self._next_token()
            self._entries[entry.transfer.id] = entry

    # Finding ---------------------------------------------------------------------------------------

    @property
    def token(self) -> int:
        """The token of the last change."""
        return self._token

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def claim(self, transfer_id: str) -> bool:
        """Take an id for a transfer to be admitted; False when it is or was in use."""
        taken = transfer_id in self._entries or transfer_id in self._removed or transfer_id in self._claimed
        if not taken:
            self._claimed.add(transfer_id)
        return not taken

    def find(self, transfer_id: str, owner: Owner | None, *, exact_first: bool = False) -> Entry:
        """Find by id or xfer_id; with `owner`, only among theirs. Raises NotFound.

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

    def was_removed(self, transfer_id: str, owner: Owner | None) -> bool:
        """Tell whether that id belonged to a transfer that was removed."""
        removed = self._removed.get(transfer_id)
        return removed is not None and owner in (None, removed.owner)

    def of_request(self, owner: Owner, request_id: str) -> Transfer | None:
        """Find the transfer that a start call made, also a removed one; an empty request_id finds none."""
        if not request_id:
            return None
        listed = [entry.transfer for entry in self._entries.values()]
        for transfer in reversed([*self._removed.values(), *listed]):
            if transfer.request_id == request_id and transfer.owner == owner:
                return transfer
        return None

    def changes(self, owner: Owner, token: int) -> tuple[int, list[Transfer]]:
        """Answer a poll (Connect reference, section 7): the token to come back with, and the transfers.

        With 0, or a token never given out, all that are listed; else what changed after it, removed
        ones included.
        """
        mine = [entry.transfer for entry in self._entries.values() if entry.transfer.owner == owner]
        if not 0 < token <= self._token:
            return self._token, mine
        gone = [one for one in self._removed.values() if one.owner == owner]
        return self._token, [one for one in (*gone, *mine) if one.iteration_token > token]

    # Changing --------------------------------------------------------------------------------------

    def next_position(self) -> int:
        """Return the place of the next transfer in the order of submission."""
        self._next_position += 1
        return self._next_position - 1

    async def admit(self, entry: Entry) -> None:
        """Put a new transfer on the list. Raises Unavailable when it cannot be kept."""
        try:
            await self._journal.save(entry.record())
            self._entries[entry.transfer.id] = entry
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
        await self._keep(entry, fields)
        for name, value in fields.items():
            setattr(transfer, name, value)
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
        await self._keep(entry, {})

    def progressed(self, entry: Entry) -> None:
        """Tell of new figures, as often as is useful."""
        now = self._clock.monotonic()
        if now - entry.published_at >= NEWS_S and self._ceiling - self._token > TOKEN_RESERVE:
            entry.published_at = now
            entry.transfer.modify_time = self._clock.wall()
            self._publish(entry.transfer)
        # While a move is on its way to disk, the old status must not be written after it.
        if now - entry.saved_at >= SAVE_S and not entry.moving:
            entry.saved_at = now
            self._journal.save_soon(entry.transfer)

    async def reserve_tokens(self) -> None:
        """Promise the next block of tokens in time. A disk that refuses holds up news of progress only."""
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

    async def _keep(self, entry: Entry, fields: dict[str, Any]) -> None:
        """Write what the transfer is about to become. A full disk must not hide how a transfer went on."""
        entry.moving = True
        try:
            await self._journal.save(entry.record(replace(entry.transfer, **fields)))
        except Unavailable as error:
            logger.error("transfer %s: not kept: %s", entry.transfer.id, error.internal_message)
        finally:
            entry.moving = False

    async def _remove(self, entry: Entry, fields: dict[str, Any]) -> None:
        transfer = entry.transfer
        removed = replace(transfer, files={}, current_file="", **fields)
        entry.moving = True  # for ever: nothing of it is written again
        try:
            await self._journal.remove(removed)
        except Unavailable as error:
            logger.error("transfer %s: removal not kept: %s", transfer.id, error.internal_message)
        self._entries.pop(transfer.id, None)
        for name, value in fields.items():
            setattr(transfer, name, value)
        removed.iteration_token = transfer.iteration_token = self._next_token()
        self._removed[transfer.id] = removed
        while len(self._removed) > REMOVALS_KEPT:
            self._removed.popitem(last=False)
        logger.info("transfer %s: removed", transfer.id)
        self.subscribers.publish(removed)

    def _publish(self, transfer: Transfer) -> None:
        transfer.iteration_token = self._next_token()
        self.subscribers.publish(transfer)

    def _next_token(self) -> int:
        self._token += 1
        return self._token


def _because(transfer: Transfer) -> str:
    return f" ({transfer.error})" if transfer.status in (Status.FAILED, Status.WILL_RETRY) else ""
