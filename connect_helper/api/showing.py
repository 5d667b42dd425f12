"""Showing something for a page (L1): one of the helper's own pages, or a transfer's files."""

from __future__ import annotations

from urllib.parse import quote

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.api.reveal import place_of, reveal
from connect_helper.api.windows import Windows
from connect_helper.errors import NotFound
from connect_helper.transfers.listing import NO_SUCH_TRANSFER
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.transfer import Transfer


async def transfer_of_origin(
    manager: TransferManager, caller: Caller, transfer_id: str, *, app_id: str | None = None
) -> Transfer:
    """The transfer with that id, for calls that need not name their app_id; to look at only.

    Raises NotFound; one of another origin, or of another app_id where one is given, reads like one that
    never was.
    """
    transfer = (await manager.look(transfer_id, exact_first=True)).transfer
    if transfer.owner.origin != caller.origin or app_id not in (None, transfer.owner.app_id):
        raise NotFound(NO_SUCH_TRANSFER)
    return transfer


class Showing:
    """Opens windows within what the ladder allows; answers once the window was asked for."""

    def __init__(self, ladder: Ladder, windows: Windows) -> None:
        self._ladder = ladder
        self._windows = windows

    async def page(self, caller: Caller, path: str) -> None:
        """Open one of our pages, such as "/about". Raises TooManyRequests, Unavailable."""
        self._ladder.may_show_window(caller)
        await self._windows.open(path)

    async def monitor(self, caller: Caller, transfer: Transfer) -> None:
        """Open the page of one transfer; raises as `page`."""
        await self.page(caller, f"/activity/{quote(transfer.id, safe='')}")

    async def files(self, caller: Caller, transfer: Transfer) -> None:
        """Select the transfer's file in the file manager, or where it is going to be; opens nothing.

        Raises TooManyRequests, NotFound, Unavailable.
        """
        self._ladder.may_show_window(caller)
        await reveal(await place_of(transfer))
