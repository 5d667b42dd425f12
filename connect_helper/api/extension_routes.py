"""What the browser extension itself asks, below /extension. What it carries for pages goes to their routes.

All are POST, so that browsers name the extension in Origin.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from connect_helper import __version__
from connect_helper.api.bodies import read_object
from connect_helper.api.callers import caller_of
from connect_helper.api.parts import PARTS
from connect_helper.api.ui_views import counts_view
from connect_helper.consent.pairing import helper_proof
from connect_helper.errors import InvalidRequest, Unavailable

_WINDOW_PAGES: Final = {"activity": "/", "sites": "/sites"}


def extension_routes() -> list[web.RouteDef]:
    """`pair` once; `hello` and `session` for each run of either side; then `status` and `window`."""
    return [
        web.post("/extension/pair", pair),
        web.post("/extension/hello", hello),
        web.post("/extension/session", session),
        web.post("/extension/status", status),
        web.post("/extension/window", window),
    ]


async def hello(request: web.Request) -> web.Response:
    """Body `{"key_hash", "nonce"}`, both hex; answer `{"proof"}`, by which the extension knows its helper.

    The extension shows its key only to who answered this rightly. NotPaired (401) for a key the user did not
    pair, or removed.
    """
    caller = caller_of(request)
    body = await read_object(request)
    extension = request.app[PARTS].extensions.with_hash(_text(body, "key_hash"), caller.origin)
    return web.json_response(
        {"proof": helper_proof(extension.key_hash, _text(body, "nonce"), _port(request))}
    )


async def pair(request: web.Request) -> web.Response:
    """Body `{"key_hash", "browser"}`; `{}` once the user has agreed, Refused (403) when not.

    The answer waits for the user; a request that is given up takes the question away.
    """
    caller = caller_of(request)
    body = await read_object(request)
    key_hash, browser = _text(body, "key_hash"), _text(body, "browser")
    await request.app[PARTS].pairing.pair(caller, key_hash, browser, _port(request))
    return web.json_response({})


async def session(request: web.Request) -> web.Response:
    """With the key as bearer; answer `{"token"}`, the bearer of all that follows. NotPaired (401)."""
    return web.json_response({"token": request.app[PARTS].extensions.open_session(request)})


async def status(request: web.Request) -> web.Response:
    """`{"version", "transfers": {"all", "running", "finished", "failed"}}` for a paired extension."""
    parts = request.app[PARTS]
    parts.extensions.caller(request)
    return web.json_response({"version": __version__, "transfers": counts_view(parts.manager.counts())})


async def window(request: web.Request) -> web.Response:
    """Body `{"page": "activity" | "sites"}`: have the helper open its window there."""
    parts = request.app[PARTS]
    parts.extensions.caller(request)
    page = _WINDOW_PAGES.get(_text(await read_object(request), "page"))
    if page is None:
        raise InvalidRequest("page must be activity or sites.", field="page")
    await parts.showing.page(caller_of(request), page)
    return web.json_response({})


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a text is needed.", field=name)
    return value


def _port(request: web.Request) -> int:
    """The port the request came in on, as the kernel has it."""
    if request.transport is None:
        raise Unavailable("The connection is gone.")
    port: int = request.transport.get_extra_info("sockname")[1]
    return port
