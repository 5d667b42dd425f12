"""Telling callers apart: a web page by its Origin, a local program by its name, everybody else by nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from connect_helper.api.extensions import PAGE_HEADER, NotPaired
from connect_helper.api.peers import LOOK_AGAIN_S, Connection, connection_of, find_peer, find_program
from connect_helper.consent.origins import LocalProgram, Scope, WebOrigin
from connect_helper.errors import CallerNotIdentified
from connect_helper.spec.names import page_text


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. Only a caller with an `origin` can own grants and transfers."""

    origin: str  # "https://portal.example", "local:curl", "link:", or "" for nobody
    label: str  # how questions name it
    may_be_remembered: bool = False
    is_page: bool = False
    connection: Connection | None = field(default=None, compare=False)  # which the request came by
    is_local: bool = False  # a program of this computer

    def scope(self, app_id: str) -> Scope:
        """The pair that owns grants and transfers."""
        return Scope(self.origin, app_id)


NOBODY: Final = Caller("", "an unknown caller")
CALLER: Final = web.RequestKey("caller", Caller)


def web_caller(origin: WebOrigin, connection: Connection | None = None) -> Caller:
    """A page. An insecure one is named as such wherever the user is asked."""
    label = str(origin) if origin.is_secure or origin.is_loopback else f"{origin} (not secure)"
    remembered = origin.may_be_remembered
    return Caller(str(origin), label, may_be_remembered=remembered, is_page=True, connection=connection)


async def identify(request: web.Request, known: Caller | None = None) -> Caller:
    """Tell who sent the request, from headers a page cannot set and from what the kernel says.

    A browser sends Origin with every POST and cross-origin GET, and Sec-Fetch-* with everything; a
    request with neither, or with an Origin that is no web origin, comes from a local program. Pages that
    a paired extension speaks for are told apart by `Extensions.page`; raises NotPaired for any other request
    that names a page. `known` is what was found of the local program at the other end of the connection.
    """
    if PAGE_HEADER in request.headers:
        raise NotPaired(
            "The browser extension is not paired with connect-helper, or this page has no address. "
            "Open the extension from the toolbar to see."
        )
    origins = request.headers.getall("Origin", [])
    from_browser = any(name.lower().startswith("sec-fetch-") for name in request.headers)
    if len(origins) > 1 or origins == ["null"]:
        return NOBODY
    if origins:
        try:
            return web_caller(WebOrigin.parse(origins[0]), connection_of(request.transport))
        except CallerNotIdentified:
            if from_browser or "://" in origins[0]:
                return NOBODY
    if from_browser or not (request.method == "POST" or opens_a_socket(request)):
        return NOBODY
    return known or await _local_program(request)


def opens_a_socket(request: web.Request) -> bool:
    """A browser names the page's Origin in every handshake of a WebSocket (RFC 6455, section 4.1)."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _local_program(request: web.Request) -> Caller:
    name, pid = "a local program", 0
    connection = connection_of(request.transport)
    if connection is not None:
        found = await asyncio.to_thread(_look, connection)
        if found is None:  # the kernel's table is no snapshot: a socket may be missed once
            await asyncio.sleep(LOOK_AGAIN_S)
            found = await asyncio.to_thread(_look, connection)
        if found is not None:
            name, pid = page_text(found[0], 40), found[1]
    program = LocalProgram(name, pid)
    shown = program.shown if pid else name
    return Caller(str(program), shown, connection=connection, is_local=True)


def _look(connection: Connection) -> tuple[str, int] | None:
    peer = find_peer(*connection)
    return find_program(peer.inode) if peer is not None else None


def caller_of(request: web.Request) -> Caller:
    """The caller, who must be somebody.

    Raises CallerNotIdentified for requests without an Origin that could own anything.
    """
    return identified(request[CALLER])


def identified(caller: Caller) -> Caller:
    """The caller, who must be somebody; raises as `caller_of`."""
    if not caller.origin:
        raise CallerNotIdentified(
            "The caller is not identified. Open this page from a web server rather than from a file or frame."
        )
    return caller
