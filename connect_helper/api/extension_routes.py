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
from connect_helper.errors import InvalidRequest, Unavailable

_WINDOW_PAGES: Final = {"activity": "/", "sites": "/sites"}


def extension_routes() -> list[web.RouteDef]:
    """`pair/begin` and `pair` once; `hello` and `session` for each run of either side; then the others."""
    return [
        web.post("/extension/pair/begin", begin_pairing),
        web.post("/extension/pair", pair),
        web.post("/extension/hello", hello),
        web.post("/extension/session", session),
        web.post("/extension/status", status),
        web.post("/extension/window", window),
    ]


async def begin_pairing(request: web.Request) -> web.Response:
    """Body `{"commitment"}`, to the extension's key; answer `{"exchange", "public_key"}`. Asks nothing."""
    caller = caller_of(request)
    commitment = _text(await read_object(request), "commitment")
    return web.json_response(request.app[PARTS].pairing.begin(caller, commitment, _port(request)))


async def pair(request: web.Request) -> web.Response:
    """Body `{"exchange", "public_key", "browser"}`; `{}` once the user has agreed, Refused (403) when not.

    The answer waits for the user; a request that is given up takes the question away.
    """
    caller = caller_of(request)
    body = await read_object(request)
    exchange, public_key, browser = (_text(body, name) for name in ("exchange", "public_key", "browser"))
    await request.app[PARTS].pairing.pair(caller, exchange, public_key, browser)
    return web.json_response({})


async def hello(request: web.Request) -> web.Response:
    """Body `{"pairing", "nonce"}`, both hex; answer `{"run", "proof"}`: it is the helper of that pairing.

    Nothing in the body helps to compute the proof. NotPaired (401) for a pairing the user did not make, or
    removed.
    """
    caller = caller_of(request)
    body = await read_object(request)
    pairing, nonce = _text(body, "pairing"), _text(body, "nonce")
    proof = request.app[PARTS].extensions.prove(pairing, caller.origin, nonce, _port(request))
    return web.json_response(proof)


async def session(request: web.Request) -> web.Response:
    """Body `{"pairing", "nonce", "proof"}`, the nonce that of `hello`; answer `{}`. NotPaired (401).

    From then on the token that both derive from the greeting is the bearer of requests.
    """
    caller = caller_of(request)
    body = await read_object(request)
    pairing, nonce, proof = (_text(body, name) for name in ("pairing", "nonce", "proof"))
    request.app[PARTS].extensions.open_session(pairing, caller.origin, nonce, _port(request), proof)
    return web.json_response({})


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
