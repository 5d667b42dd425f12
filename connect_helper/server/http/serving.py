"""Listening for HTTP: bounded connections, and none kept that asks nothing (slow-loris).

A connection has ten seconds for its first request and may rest for a while after each; both are counted from
the last answer, not from the last byte, so dripping bytes gains nothing. One connection too many is answered
503 rather than left hanging, and no address may hold more than a share for long: of those that ask nothing
at any time, of those that are being answered when the places run out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from connect_helper.server.fast_lane import give_way
from connect_helper.server.http.cancel_verb import CancelVerb
from connect_helper.server.http.problems import unreadable
from connect_helper.server.http.tls_door import LIMIT_S, TlsDoor
from connect_helper.server.login_limiter import network_of
from connect_helper.server.tokens import MAX_CHARACTERS
from connect_helper.storage.docpath import PATH_LIMIT

HEAD_LIMIT_S: Final = 10.0
REST_LIMIT_S: Final = 75.0  # between two requests on one connection
SWEEP_EVERY_S: Final = 1.0
ALMOST_FULL: Final = 0.9  # of the places: room is made
ROOMY: Final = 0.8  # until so many are taken
READ_BUFFER: Final = 256 * 1024  # bytes of a body held back before the sender is slowed down
LINE_BYTES: Final = 3 * PATH_LIMIT + 512  # of an address: the longest path, every byte of it as %XX
HEADER_BYTES: Final = MAX_CHARACTERS + 512  # of one header: a long token, and what stands before it
MOST_HEADERS: Final = 64  # half of what the library takes, since each may be long
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Access-Control-Allow-Origin: *\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
)
_FULL_BODY: Final = (
    b'{"error": {"code": 503, "reason": "too_many_connections", '
    b'"user_message": "The server has too many connections; try again in a moment."}}'
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections may be open."""

    in_total: int = 4000
    per_address: int = 1000


@dataclass(slots=True)
class _Life:
    """One connection: since when nothing is asked on it, whether anything ever was, and what answers now."""

    quiet_since: float = field(default_factory=time.monotonic)
    served: bool = False
    unsent: int = 0  # bytes of the last answer, when it was looked at
    answering: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is asked on it."""
        return self.answering is not None

    @property
    def ending(self) -> bool:
        """Whether the answer is being broken off."""
        return self.answering is not None and self.answering.cancelling() > 0

    def look_at(self, unsent: int, now: float) -> None:
        """Count it as quiet from now on where its client took some of the last answer."""
        if unsent < self.unsent:
            self.quiet_since = now
        self.unsent = unsent


def _quiet_log() -> logging.Logger:
    """What the parser below us writes to: without tracebacks, which quote the header at fault (SEC-28)."""
    log = logging.getLogger(__name__)
    log.addFilter(_without_quotes)
    return log


def _without_quotes(record: logging.LogRecord) -> bool:
    failure = record.exc_info[1] if record.exc_info else None
    if isinstance(failure, HttpProcessingError):
        record.msg, record.args = "a request could not be read: %s", (type(failure).__name__,)
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = None
    return True


class HttpListener:
    """Serves one application on one or more sockets; the application's clean-up is part of it."""

    def __init__(self, app: web.Application, limits: ConnectionLimits | None = None) -> None:
        app.middlewares.insert(0, self._note)
        self._options: dict[str, Any] = {
            "access_log": None,
            "logger": _quiet_log(),
            "keepalive_timeout": REST_LIMIT_S,
            "read_bufsize": READ_BUFFER,
            "max_line_size": LINE_BYTES,
            "max_field_size": HEADER_BYTES,
            "max_headers": MOST_HEADERS,
        }
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.5, **self._options)
        self._limits = limits or ConnectionLimits()
        self._lives: dict[RequestHandler, _Life] = {}
        self._servers: list[asyncio.Server] = []
        self._doors: list[TlsDoor] = []

    async def start(self) -> None:
        """Start the application; raises what its parts raise."""
        await self._runner.setup()

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket."""
        if tls is not None:
            door = TlsDoor(sock, tls, self._accept)
            door.open()
            self._doors.append(door)
            return
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(self._accept, sock=sock, backlog=512))

    @property
    def open_connections(self) -> int:
        """How many there are, also of those whose client has gone and that are still being answered."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def watch(self) -> None:
        """Hang up on connections that ask nothing, for as long as this runs."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._sweep(time.monotonic())

    def stop_listening(self) -> None:
        """Take no new connections; those that are open go on."""
        for server in self._servers:
            server.close()
        for door in self._doors:
            door.close()
        self._servers.clear()

    async def close(self) -> None:
        """End requests under way, and the application."""
        self.stop_listening()
        for door in self._doors:
            await door.end()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or self.open_connections >= self._limits.in_total:
            return _Full()
        protocol = _Connection(server, loop=asyncio.get_running_loop(), **self._options)
        life = self._lives[protocol] = _Life()
        return CancelVerb(protocol, lambda: None if life.busy else life.quiet_since)

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        life = self._lives.get(request.protocol)
        if life is None:
            return await handler(request)
        if not life.served and request.transport is not None:
            give_way(request.transport.get_extra_info("socket"))
        life.served, life.answering = True, asyncio.current_task()
        try:
            return await handler(request)
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()  # closed, it would wait for its client to take what is on the way
            raise
        finally:
            life.answering, life.quiet_since = None, time.monotonic()

    def _sweep(self, now: float) -> None:
        server = self._runner.server
        open_now = list(server.connections) if server is not None else []
        shares: Counter[str] = Counter()
        for protocol in open_now:  # oldest first: the newest of too many have to go
            life = self._lives.setdefault(protocol, _Life())
            shares[address := _address_of(protocol)] += 1
            life.look_at(_unsent(protocol), now)
            limit_s = REST_LIMIT_S if life.served else HEAD_LIMIT_S
            quiet = not life.busy and now - life.quiet_since > limit_s
            if quiet or (shares[address] > self._limits.per_address and not life.busy):
                _hang_up(protocol)
        self._make_room(open_now)
        # Not connected yet as far as the application knows: TLS is being agreed.
        waiting = (
            each for each, life in self._lives.items() if not life.served and now - life.quiet_since < LIMIT_S
        )
        self._lives = {each: self._lives[each] for each in (*open_now, *waiting)}

    def _make_room(self, open_now: list[RequestHandler]) -> None:
        """When all places are almost taken, hang up: on those that ask nothing, then on those above a share.

        A crowd of connections from a few addresses must not keep out who comes from elsewhere.
        """
        if len(open_now) <= self._limits.in_total * ALMOST_FULL:
            return
        leaving = sum(not _address_of(each) or self._lives[each].ending for each in open_now)
        too_many = len(open_now) - leaving - int(self._limits.in_total * ROOMY)
        too_many -= self._end_idle(open_now, too_many)
        self._end_busy(open_now, too_many)

    def _end_idle(self, open_now: list[RequestHandler], wanted: int) -> int:
        """Hang up on so many that ask nothing, where there are most of them; returns how many there were."""
        idle: dict[str, deque[RequestHandler]] = defaultdict(deque)
        for protocol in open_now:
            if not self._lives[protocol].busy:
                idle[_address_of(protocol)].append(protocol)
        for ended in range(wanted):
            most = max(idle, key=lambda address: len(idle[address]), default="")
            if len(idle[most]) <= 1:  # everybody has one: nobody to blame
                return ended
            _hang_up(idle[most].popleft())
        return wanted

    def _end_busy(self, open_now: list[RequestHandler], wanted: int) -> None:
        """End the answers on up to so many connections, the newest of addresses that hold above a share."""
        staying = [each for each in open_now if not self._lives[each].ending]
        shares = Counter(_address_of(each) for each in staying)
        for protocol in reversed(staying):
            if wanted <= 0:
                return
            address, answering = _address_of(protocol), self._lives[protocol].answering
            if answering is not None and address and shares[address] > self._limits.per_address:
                answering.cancel()
                shares[address] -= 1
                wanted -= 1


class _Connection(RequestHandler):
    """Refuses what the parser below cannot read in the form of all other refusals, as the page that waits for
    JSON expects; the library's own answer is text that quotes the request."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # notes it; raises where an answer has begun
        return unreadable(status).response()


def _address_of(protocol: RequestHandler) -> str:
    """Where a connection comes from: the address, or the network that counts as one; "" when it is closing.

    Then there may be nobody to ask: the transport of TLS forgets what it was when it is closed twice.
    """
    transport = protocol.transport
    peer = (
        transport.get_extra_info("peername") if transport is not None and not transport.is_closing() else None
    )
    return network_of(str(peer[0])) if isinstance(peer, tuple) else ""


def _hang_up(protocol: RequestHandler) -> None:
    """Close a connection, without waiting for a client that does not take the last of its answer."""
    transport, unsent = protocol.transport, _unsent(protocol)
    protocol.force_close()
    if transport is not None and unsent:
        transport.abort()


def _unsent(protocol: RequestHandler) -> int:
    """Bytes that wait for the client to take some."""
    try:
        return protocol.transport.get_write_buffer_size() if protocol.transport is not None else 0
    except AttributeError:  # as above: it was TLS and was closed twice, so nothing waits
        return 0


class _Full(asyncio.Protocol):
    """Answers a connection above the limit, as soon as it has asked something."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server's transport
        self._transport = transport
        self._limit = asyncio.get_running_loop().call_later(HEAD_LIMIT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if data:
            self._transport.write(_FULL % (len(_FULL_BODY), _FULL_BODY))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
