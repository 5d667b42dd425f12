"""Listening on loopback only, with bounded connections.

Pages take the lowest port of the range that answers, and one that accepts a connection but never
answers blocks every page; so each connection has a time limit for its first request, and one too many
gets an answer rather than silence.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from connect_helper.api.peers import find_listener, find_program
from connect_helper.errors import Unavailable

PAGE_PORTS: Final = range(33003, 33023)
# Pages know the first; they try the others where several people use one computer.
DESKTOP_PORTS: Final = range(33024, 33030)
WINDOW_PORTS: Final = range(33030, 33040)
CONNECTION_LIMIT: Final = 256
REFUSED_LIMIT: Final = 64  # connections above the limit that are waiting for their answer
FIRST_REQUEST_LIMIT_S: Final = 10.0
IDLE_LIMIT_S: Final = 90.0  # above aiohttp's own keep-alive limit, which ends idle connections first
TOO_MANY_CONNECTIONS: Final = "Too many connections to the helper; close some pages."
CROWDED: Final = (
    '{"error": {"code": 429, "internal_message": "too_many_requests", '
    f'"user_message": "{TOO_MANY_CONNECTIONS}"}}}}'
)
_ORIGIN: Final = re.compile(rb"\r\n[Oo]rigin:[ \t]*([!-~]{1,300})[ \t]*\r\n")
_HEAD_LIMIT: Final = 16 * 1024  # bytes


def bind_first_free(ports: Iterable[int], *, fall_back: bool = False) -> socket.socket:
    """Bind the first free port on 127.0.0.1, or any free one when all are taken and `fall_back` is set.

    Raises Unavailable when none is free.
    """
    for port in ports:
        sock = _bind(port)
        if sock is not None:
            return sock
    if fall_back:
        sock = _bind(0)
        if sock is not None:
            return sock
    raise Unavailable("All ports the helper may use are taken; end the programs that hold them.")


def describe_holders(ports: Iterable[int]) -> list[str]:
    """Warnings about programs on ports below ours.

    Pages take the lowest port that answers, so whoever sits there gets what pages send, passwords included.
    """
    warnings = []
    for port in ports:
        holder = find_listener(port)
        if holder is None:
            continue
        if holder.uid != os.getuid():
            who = f"a program of another account (user id {holder.uid})"
        else:
            program = find_program(holder.inode)
            who = f"{program[0]} (process {program[1]})" if program else "an unknown program"
        warnings.append(f"Port {port} is held by {who}; pages may talk to it instead of this helper.")
    return warnings


def _bind(port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # Without this, another program could bind the same port and pose as us.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    sock.setblocking(False)
    return sock


@dataclass(slots=True)
class _Life:
    """One connection: since when nothing is asked on it, whether anything ever was, and is now."""

    quiet_since: float = field(default_factory=time.monotonic)
    served: bool = False
    busy: bool = False


@dataclass(eq=False, slots=True)
class Listener:
    """Serves one application, not started yet, on one socket."""

    app: web.Application
    sock: socket.socket
    crowded: str = CROWDED  # body of the answer to a connection above the limit
    started: asyncio.Event = field(default_factory=asyncio.Event)
    _refused: set[_TooMany] = field(default_factory=set)
    _lives: dict[asyncio.BaseProtocol, _Life] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app.middlewares.insert(0, self._note)

    @web.middleware
    async def _note(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        life = self._lives.setdefault(request.protocol, _Life())
        life.served, life.busy = True, True
        try:
            return await handler(request)
        finally:
            life.busy, life.quiet_since = False, time.monotonic()

    async def run(self) -> None:
        """Serve until cancelled; then let open requests finish briefly."""
        # A page that goes away takes its open dialogs and questions with it.
        runner = web.AppRunner(self.app, access_log=None, handler_cancellation=True, shutdown_timeout=2.0)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - set up just now
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: self._admit(server), sock=self.sock)
        self.started.set()
        try:
            while True:
                await asyncio.sleep(2.0)
                self._sweep(server)
        finally:
            listening.close()
            await runner.cleanup()

    def _admit(self, server: web.Server) -> asyncio.BaseProtocol:
        if len(server.connections) >= CONNECTION_LIMIT:
            return _TooMany(self._refused, self.crowded)
        protocol = server()
        self._lives[protocol] = _Life()
        return protocol

    def _sweep(self, server: web.Server) -> None:
        """Hang up on connections whose request does not come."""
        now = time.monotonic()
        open_now = server.connections
        for protocol in open_now:
            life = self._lives.setdefault(protocol, _Life())
            limit_s = IDLE_LIMIT_S if life.served else FIRST_REQUEST_LIMIT_S
            if not life.busy and now - life.quiet_since > limit_s:
                protocol.force_close()
        self._lives = {protocol: self._lives[protocol] for protocol in open_now}


class _TooMany(asyncio.Protocol):
    """Answers 429 to a connection above the limit, with the header that lets a page read it."""

    def __init__(self, others: set[_TooMany], body: str) -> None:
        self._others = others
        self._body = body.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server's transport
        self._transport = transport
        if len(self._others) >= REFUSED_LIMIT:
            transport.abort()
        self._others.add(self)
        self._head = b""
        self._limit = asyncio.get_running_loop().call_later(FIRST_REQUEST_LIMIT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._head += data[:_HEAD_LIMIT]
        if b"\r\n\r\n" not in self._head and len(self._head) < _HEAD_LIMIT:
            return
        body = self._body
        origin = _ORIGIN.search(self._head)
        lines = [b"HTTP/1.1 429 Too Many Requests", b"Content-Type: application/json", b"Retry-After: 5"]
        lines += [b"Vary: Origin", b"Connection: close", b"Content-Length: %d" % len(body)]
        if origin:
            lines.append(b"Access-Control-Allow-Origin: " + origin[1])
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        self._others.discard(self)
