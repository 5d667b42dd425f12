"""The part of the window's API that shows and steers transfers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from pydantic import SecretStr

from connect_helper.api.addresses import describe_nearness
from connect_helper.api.bodies import read_object
from connect_helper.api.reveal import place_of
from connect_helper.api.ui_views import GROUPS, counts_view, transfer_details, transfer_view
from connect_helper.errors import HostNotFound, InvalidRequest, NotFound, WrongState
from connect_helper.spec.rates import check_user_policy, check_user_rate, requested_rate_kbps
from connect_helper.transfers.entry import Listed
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Login, Server
from connect_helper.transfers.transfer import Transfer
from connect_helper.transports.resolving import resolve

PAGE_SIZE: Final = 100
PAGE_LIMIT: Final = 500
_RATE_RANGE_KBPS: Final = range(8, 100_000_001)
_TEXT_LIMIT: Final = 1_024

Reveal = Callable[[str], Awaitable[None]]


class TransferPages:
    """Handlers below /api/transfers. The window belongs to the user, so it sees every caller's transfers."""

    def __init__(self, manager: TransferManager, reveal: Reveal) -> None:
        self._manager = manager
        self._reveal = reveal

    def routes(self) -> list[web.RouteDef]:
        one = "/api/transfers/{id}"
        return [
            web.get("/api/transfers", self.list_transfers),
            web.post("/api/transfers/clear", self.clear),
            web.get(one, self.details),
            web.post(f"{one}/stop", self.stop),
            web.post(f"{one}/resume", self.resume),
            web.post(f"{one}/remove", self.remove),
            web.post(f"{one}/reveal", self.show_in_folder),
            web.post(f"{one}/rate", self.set_rate),
        ]

    def render(self, transfers: list[Transfer]) -> dict[str, Any]:
        """`{"transfers": [...], "counts": {...}}`, in the order given."""
        return self._render(self._manager.listed(transfers))

    def _render(self, listed: list[Listed]) -> dict[str, Any]:
        views = [transfer_view(one) for one in listed]
        return {"transfers": views, "counts": counts_view(self._manager.counts())}

    async def list_transfers(self, request: web.Request) -> web.Response:
        """GET ?limit&before&show: newest first.

        `before` is the id of the last transfer of the page before; `show` one of all, running, finished,
        failed. `more` tells whether older ones follow.
        """
        limit = page_size(request.query.get("limit", str(PAGE_SIZE)))
        show = request.query.get("show", "all")
        if show != "all" and show not in GROUPS.values():
            raise InvalidRequest("show: choose all, running, finished or failed.", field="show")
        statuses = [status for status, group in GROUPS.items() if show in ("all", group)]
        before = request.query.get("before", "")
        listed, more = await self._manager.page(statuses, before=before, limit=limit)
        return web.json_response({**self._render(listed), "more": more})

    async def details(self, request: web.Request) -> web.Response:
        """The transfer with what was asked for; its files are for `FilePages`."""
        return web.json_response(
            transfer_details(await self._manager.look(request.match_info["id"], exact_first=True))
        )

    async def _named(self, request: web.Request) -> Transfer:
        """The transfer to act upon."""
        return await self._manager.fetch(request.match_info["id"], exact_first=True)

    async def _answer(self, transfer: Transfer) -> web.Response:
        return web.json_response(transfer_details(await self._manager.look(transfer.id, exact_first=True)))

    async def stop(self, request: web.Request) -> web.Response:
        """Stop it; what has arrived is kept for a resume."""
        transfer = await self._named(request)
        await self._manager.stop(transfer.id)
        return await self._answer(transfer)

    async def resume(self, request: web.Request) -> web.Response:
        """Go on. Body `{user?, password?}`: a fresh login, when the old one was refused or is gone."""
        transfer = await self._named(request)
        body = await read_object(request) if request.can_read_body else {}
        user, password = (_text(body, name) for name in ("user", "password"))
        login = Login(user=user or transfer.user, password=SecretStr(password)) if password else None
        if user and not password:
            raise InvalidRequest("Type the password too.", field="password")
        addresses = await _found_again(self._manager.plan_of(transfer.id).server)
        return await self._answer(await self._manager.resume(transfer.id, login=login, addresses=addresses))

    async def remove(self, request: web.Request) -> web.Response:
        """Take it off the list; a running one is stopped first. Finished files stay where they are."""
        await self._manager.remove((await self._named(request)).id)
        return web.Response(status=204)

    async def show_in_folder(self, request: web.Request) -> web.Response:
        """Show its file or folder, or where it is going to be, selected in the file manager."""
        transfer = await self._named(request)
        if not transfer.explorer_path:
            raise NotFound("This transfer has no file or folder on this computer yet.")
        await self._reveal(await place_of(transfer))
        return web.Response(status=204)

    async def set_rate(self, request: web.Request) -> web.Response:
        """Body `{"rate_kbps"?: number | null, "rate_policy"?: word}`: its own limit, null for none; its part
        of the limit of all."""
        transfer = await self._named(request)
        body = await read_object(request)
        changes: dict[str, Any] = {}
        if "rate_kbps" in body:
            rate = body["rate_kbps"]
            if rate is not None and (type(rate) is not int or rate not in _RATE_RANGE_KBPS):
                raise InvalidRequest("Choose a rate from 0.008 to 100,000 Mbit/s.", field="rate_kbps")
            check_user_rate(transfer.spec, rate)
            changes["target_rate_kbps"] = rate or 0
        if "rate_policy" in body:
            changes["rate_policy"] = check_user_policy(transfer.spec, body["rate_policy"])
        if not changes:
            raise InvalidRequest("Give a rate, or null for none, or a policy.", field="rate_kbps")
        limit = requested_rate_kbps({**transfer.spec, **changes})
        return await self._answer(await self._manager.set_rate(transfer.id, limit, changes))

    async def clear(self, _: web.Request) -> web.Response:
        """Take all that has completed off the list; answers `{"removed": number}`. The files stay."""
        return web.json_response({"removed": await self._manager.clear_completed()})


async def _found_again(server: Server) -> tuple[str, ...] | None:
    """The addresses of a server whose name led nowhere before; None when it has some, or still none.

    Raises WrongState for one that turns out to be near: the site's question did not say so.
    """
    if server.addresses:
        return None
    try:
        addresses = await resolve(server.host, server.port)
    except HostNotFound:
        return None
    if describe_nearness(addresses):
        raise WrongState("The server's name leads to a private address now. Start again from the site.")
    return addresses


def page_size(text: str) -> int:
    """Read `limit` of a query; raises InvalidRequest."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= PAGE_LIMIT:
        raise InvalidRequest(f"limit: a number from 1 to {PAGE_LIMIT}.", field="limit")
    return int(text)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise InvalidRequest("A text of at most 1,024 characters is needed here.", field=name)
    return value
