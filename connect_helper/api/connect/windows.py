"""`windows`: show one of the helper's own pages, or a file in the file manager (section 5.2).

Each answers once the window was asked for. GET requests carry no app_id, so an id counts for its origin.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from aiohttp import web

from connect_helper.api.callers import caller_of
from connect_helper.api.parts import PARTS
from connect_helper.api.reveal import reveal
from connect_helper.errors import NotFound
from connect_helper.transfers.listing import NO_SUCH_TRANSFER
from connect_helper.transfers.transfer import Transfer

PREFERENCE_PAGES: Final = frozenset({"general", "transfers", "bandwidth", "network", "security"})


async def _show(request: web.Request, path: str) -> web.Response:
    parts = request.app[PARTS]
    parts.ladder.may_show_window(caller_of(request))
    await parts.windows.open(path)
    return web.json_response({})


async def about(request: web.Request) -> web.Response:
    return await _show(request, "/about")


async def preferences(request: web.Request) -> web.Response:
    page = request.match_info.get("page", "")
    if page and page not in PREFERENCE_PAGES:
        raise NotFound(f"There is no preferences page {page[:40]!r}.")
    return await _show(request, f"/preferences/{page}" if page else "/preferences")


async def transfer_manager(request: web.Request) -> web.Response:
    return await _show(request, "/")


async def transfer_monitor(request: web.Request) -> web.Response:
    transfer = await _transfer_of_origin(request)
    return await _show(request, f"/activity/{quote(transfer.id, safe='')}")


async def finder(request: web.Request) -> web.Response:
    """Selects the transfer's file in the file manager; opens nothing."""
    transfer = await _transfer_of_origin(request)
    request.app[PARTS].ladder.may_show_window(caller_of(request))
    await reveal(transfer.explorer_path)
    return web.json_response({})


async def _transfer_of_origin(request: web.Request) -> Transfer:
    """The transfer of the path; one of another origin reads like one that never was."""
    caller = caller_of(request)
    transfer = (await request.app[PARTS].manager.look(request.match_info["id"])).transfer
    if transfer.owner.origin != caller.origin:
        raise NotFound(NO_SUCH_TRANSFER)
    return transfer
