"""`windows`: show one of the helper's own pages, or a file in the file manager (section 5.2).

Each answers once the window was asked for. GET requests carry no app_id, so an id counts for its origin.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from connect_helper.api.callers import caller_of
from connect_helper.api.parts import PARTS
from connect_helper.api.showing import transfer_of_origin
from connect_helper.errors import NotFound
from connect_helper.transfers.transfer import Transfer

PREFERENCE_PAGES: Final = frozenset({"general", "transfers", "bandwidth", "network", "security"})


async def _show(request: web.Request, path: str) -> web.Response:
    await request.app[PARTS].showing.page(caller_of(request), path)
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
    transfer = await _transfer(request)
    await request.app[PARTS].showing.monitor(caller_of(request), transfer)
    return web.json_response({})


async def finder(request: web.Request) -> web.Response:
    transfer = await _transfer(request)
    await request.app[PARTS].showing.files(caller_of(request), transfer)
    return web.json_response({})


async def _transfer(request: web.Request) -> Transfer:
    return await transfer_of_origin(request.app[PARTS].manager, caller_of(request), request.match_info["id"])
