"""The gate in front of every route that pages reach, in this order: Host, account, fetch mode, rate, caller.

Neither CORS nor a token can be the gate here, since page libraries send neither; what a caller may do
is decided by consent and grants (`ladder.py`). The gate keeps out what must not even be looked at, and
gives every answer the headers without which a page takes the helper for dead. Who a page is, its browser
says in Origin; the word of a browser extension for it counts only when the user paired that extension.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Middleware

from connect_helper.api.callers import CALLER, Caller, identify, web_caller
from connect_helper.api.extensions import Extensions
from connect_helper.api.peers import connection_of, require_own_account
from connect_helper.api.turns import Turns
from connect_helper.consent.limits import CallRate
from connect_helper.consent.origins import WebOrigin
from connect_helper.errors import ConnectHelperError, InvalidRequest, Refused, TooManyRequests

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is answered with an error: what a face makes its answer of."""

    status: int  # of HTTP
    user_message: str
    error: ConnectHelperError | None = None  # None: a wrong route or verb, or a bug of ours


ErrorShape = Callable[[web.Request, Problem], Awaitable[web.Response]]
"""Writes an error in a face's own words."""


async def connect_error(request: web.Request, problem: Problem) -> web.Response:
    """The shape of the Connect face (Connect reference, section 4)."""
    note = _note(problem.error) if problem.error is not None else ""
    return error_body(problem.status, problem.user_message, note)


def connect_error_midway(error: ConnectHelperError) -> bytes:
    """The same error as the last member of an object that is being sent."""
    facts = _error_facts(error.http_status, error.user_message, _note(error))
    return f', "error": {json.dumps(facts)}}}'.encode()


def _note(error: ConnectHelperError) -> str:
    # Not error.internal_message: that one may name local paths, and this goes to the page.
    if isinstance(error, InvalidRequest) and error.field:
        return f"{error.code}: {error.field}"
    return error.code


# Public files of ours that a page may load with a plain <script> tag; they hold no state.
PUBLIC_PREFIX: Final = "/sdk/"
_FETCH_MODES: Final = frozenset({"cors", "websocket"})


@dataclass(slots=True)
class Gate:
    """Middlewares for one listening address; `port` is set once the socket is bound."""

    port: int = 0
    methods: str = "GET, POST, OPTIONS"  # what a preflight is told
    shape: ErrorShape = connect_error
    extensions: Extensions | None = None  # whose word for a page's origin is taken; None: nobody's
    paced: frozenset[str] = frozenset()  # routes, by the last part of their path, that wait for their turn
    rate: CallRate[str] = field(default_factory=lambda: CallRate(per_second=20, burst=60))
    paced_rate: CallRate[str] = field(default_factory=lambda: CallRate(per_second=50, burst=100))
    _pacing: Turns = field(default_factory=lambda: Turns(at_once=1))
    _checked: WeakSet[asyncio.Transport] = field(default_factory=WeakSet)
    _programs: WeakKeyDictionary[asyncio.Transport, Caller] = field(default_factory=WeakKeyDictionary)

    def middlewares(self) -> list[Middleware]:
        """Outermost first."""
        return [self.check_host, self.answer, self.admit]

    @web.middleware
    async def check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not addressed to exactly this server: the end of DNS rebinding.

        Looks at the raw header and target, since the parser fills in a missing Host. The refusal
        carries no CORS headers.
        """
        hosts = [value for name, value in request.raw_headers if name.lower() == b"host"]
        names = {f"127.0.0.1:{self.port}".encode(), f"localhost:{self.port}".encode()}
        addressed = len(hosts) == 1 and hosts[0] in names
        if not addressed or request.version != HttpVersion11 or not request.raw_path.startswith("/"):
            return error_body(421, "This address is not served here.")
        return await handler(request)

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other accounts, requests no script made, and callers in too great a hurry."""
        await self._check_account(request)
        _check_fetch_mode(request)
        if request.method == "OPTIONS":
            return _preflight(request, self.methods)
        page = self.extensions.page(request) if self.extensions else None
        if request.path.rstrip("/").rpartition("/")[2] in self.paced:
            await self.pace(request, page)
        else:
            self.count(request, page)
        if page is not None:  # the extension's requests come from the browser the page is in
            request[CALLER] = web_caller(page, connection_of(request.transport))
        else:
            request[CALLER] = await self._identify(request)
        return await handler(request)

    def count(self, request: web.Request, page: WebOrigin | None = None) -> None:
        """Take one call of the caller's rate, or of the page's that an extension speaks for.

        Raises TooManyRequests when it has none left.
        """
        if not self.rate.allow(_rate_key(request, page), time.monotonic()):
            raise TooManyRequests("Too many requests; slow down.")

    async def _identify(self, request: web.Request) -> Caller:
        """A local program stays the same for as long as its connection lasts, and so does what it owns."""
        transport = request.transport
        known = self._programs.get(transport) if transport is not None else None
        caller = await identify(request, known)
        if caller.is_local and transport is not None:
            self._programs[transport] = caller
        return caller

    async def pace(self, request: web.Request, page: WebOrigin | None = None) -> None:
        """Wait until the caller may make another call of those that come in long rows, one after the other.

        Raises TooManyRequests for a caller that does not wait for the answers.
        """
        key = _rate_key(request, page)
        async with self._pacing.take(key):
            await asyncio.sleep(self.paced_rate.wait_s(key, time.monotonic()))
            self.paced_rate.allow(key, time.monotonic())  # nobody else took it meanwhile

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every error into the face's shape, and give every answer its headers."""
        try:
            response = await handler(request)
        except ConnectHelperError as error:
            response = await self.shape(request, Problem(error.http_status, error.user_message, error))
            if isinstance(error, TooManyRequests):
                response.headers["Retry-After"] = str(error.retry_after)
        except web.HTTPException as error:
            sentence = _HTTP_SENTENCES.get(error.status, "The request cannot be served.")
            response = await self.shape(request, Problem(error.status, sentence))
        except Exception as error:  # noqa: BLE001 - the outermost edge: a bug of ours must still be an answer
            response = await self.shape(request, Problem(500, note_bug(error, _route(request))))
        if not response.prepared:
            add_headers(request, response)
        return response

    async def _check_account(self, request: web.Request) -> None:
        """Once a connection: its other end must be of our own account, where the kernel tells."""
        transport = request.transport
        if transport is not None and transport not in self._checked:
            await require_own_account(transport)
            self._checked.add(transport)


def _rate_key(request: web.Request, page: WebOrigin | None) -> str:
    # Each connection of a local program counts by itself: two of them must not block each other.
    return str(page) if page else request.headers.get("Origin") or str(id(request.transport))


def _check_fetch_mode(request: web.Request) -> None:
    """Forms, images, frames and navigations say so in Sec-Fetch-Mode; only scripts may call."""
    if request.path.startswith(PUBLIC_PREFIX):
        return
    if not any(name.lower().startswith("sec-fetch-") for name in request.headers):
        return
    if request.headers.get("Sec-Fetch-Mode") not in _FETCH_MODES:
        raise Refused("The caller is not identified: only scripts of a page may call the helper.")


def _preflight(request: web.Request, methods: str) -> web.Response:
    headers = {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "content-type"),
        "Access-Control-Max-Age": "600",
    }
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


_HTTP_SENTENCES: Final = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The request is too large.",
}


def note_bug(error: Exception, place: str) -> str:
    """Log a bug of ours; the sentence for whoever met it."""
    incident = uuid.uuid4().hex[:12]
    # The traceback may hold values of the request, so only its place is logged.
    log.error("incident %s in %s: %s at %s", incident, place, type(error).__name__, _place(error))
    return f"Something went wrong in the helper (incident {incident})."


def error_body(status: int, user_message: str, internal_message: str = "") -> web.Response:
    """The error shape of section 4: `{"error": {"code", "internal_message", "user_message"}}`."""
    return web.json_response({"error": _error_facts(status, user_message, internal_message)}, status=status)


def _error_facts(status: int, user_message: str, internal_message: str) -> dict[str, object]:
    return {
        "code": status,
        "internal_message": internal_message or user_message,
        "user_message": user_message,
    }


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Reflect the exact Origin and forbid everything a reflected Origin could be abused for."""
    headers = response.headers
    origins = request.headers.getall("Origin", [])
    if len(origins) == 1:
        headers["Access-Control-Allow-Origin"] = origins[0]
    headers["Server"] = "connect-helper"  # and not which Python this is
    headers["Vary"] = "Origin"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cache-Control"] = "no-store"
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else '(no route)'}"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
