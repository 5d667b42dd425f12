"""HTTP connections made before they are needed: on long lines, and held up by none that hangs."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from connect_helper.errors import AuthFailed
from connect_helper.transports import https
from connect_helper.transports.base import BlockHashes, SendItem
from connect_helper.transports.http_connection import HttpConnection, HttpEndpoint
from connect_helper.transports.http_further import FURTHER, LONG_S, FurtherConnections
from connect_helper.transports.https import HttpTransport
from tests.support.http_far_end import far_end
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.tls import tls_pair
from tests.support.transports import Memory

SIZE = 40_000_001
LIMIT_S = 30
SO_MAX_PACING_RATE = 47  # <asm-generic/socket.h>


def highest_rate(sock: socket.socket) -> int:
    """Bytes/s; all bits set where there is none."""
    return sock.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE) & 0xFFFFFFFF


@asynccontextmanager
async def line(
    folder: Path, delay_s: float, token: str = ""
) -> AsyncIterator[tuple[FaultProxy, HttpTransport]]:
    """A line that holds each block up, and an open transport at its other end."""
    async with far_end(folder / "server", tls=tls_pair(folder)[0]) as far:
        port = urlsplit(far.url).port
        assert port is not None
        async with FaultProxy("127.0.0.1", port, delay_s=delay_s) as proxy:
            token = token or far.token("send", "in")
            ca_file = str(folder / "cert.pem")
            async with open_http(
                proxy.port, token, folder, sends=True, root=b"in", ca_file=ca_file
            ) as transport:
                yield proxy, transport


async def test_a_large_file_on_a_long_line_finds_its_connections_made(tmp_path: Path) -> None:
    async with line(tmp_path, LONG_S) as (proxy, transport):
        await transport._http.further()
        assert proxy.connections == 2 + FURTHER
        source = Memory(noise(SIZE))
        item = SendItem(
            source, b"in/film.partial", 0, BlockHashes(chained="sha256"), lambda _: None, exclusive=True
        )
        await transport.send(item)
        assert proxy.connections == 2 + FURTHER


@pytest.mark.skipif(sys.platform != "linux", reason="the system paces nothing elsewhere")
@pytest.mark.parametrize(("delay_s", "paced"), [(LONG_S, True), (0, False)])
async def test_what_goes_over_a_long_line_is_paced(tmp_path: Path, delay_s: float, paced: bool) -> None:
    async with line(tmp_path, delay_s) as (_, transport):
        await transport._http.further()
        sockets = list(transport._http._opened.sockets._sockets)
        assert sockets
        assert {highest_rate(sock) for sock in sockets} == {2_000_000_000 if paced else 0xFFFFFFFF}


async def test_a_short_line_gets_none_before_they_are_needed(tmp_path: Path) -> None:
    async with line(tmp_path, 0) as (proxy, transport):
        await transport._http.further()
        assert proxy.connections <= 2


async def test_a_refused_token_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed):
        async with line(tmp_path, LONG_S, token="another"):
            pass
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "further connections"]


async def test_one_that_hangs_holds_nothing_up() -> None:
    answers = asyncio.Event()
    further = FurtherConnections(answers.wait, lambda: None)
    began = time.monotonic()
    further._first.set_result(LONG_S)
    async with asyncio.timeout(LIMIT_S):
        await further.ready()
    assert time.monotonic() - began >= LONG_S
    for _ in range(100):  # files that come later
        await further.ready()
    assert time.monotonic() - began < 50 * LONG_S
    await further.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[int]:
    """A server that does as `serve` with each connection; its port."""
    ended: list[asyncio.Event] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(over := asyncio.Event())
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            over.set()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
        async with asyncio.timeout(LIMIT_S):
            for over in ended:
                await over.wait()


async def test_one_that_hangs_is_no_silence_of_the_server() -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async with served(hang) as port:
        endpoint = HttpEndpoint("localhost", port, ("127.0.0.1",), SecretStr("token"), tls=False)
        connection = HttpConnection(endpoint, "/")
        await connection.open()
        making = asyncio.create_task(connection._ask(), name="further connection")
        await asked.wait()
        await asyncio.sleep(0.05)
        assert connection.silent_s == 0
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        await connection.close()


async def test_a_server_that_serves_one_connection_at_a_time_is_met_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "LEAST_PATIENCE_S", 0.2)
    turn, asked = asyncio.Lock(), list[tuple[str, int]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    method = head.split()[0].decode()
                    asked.append((method, writer.get_extra_info("peername")[1]))
                    facts = "Tus-Version: 1.0.0\r\nTus-Extension: creation\r\nContent-Length: 0\r\n\r\n"
                    writer.write(f"HTTP/1.1 200 OK\r\n{facts}".encode())

    async with (
        served(serve) as port,
        asyncio.timeout(LIMIT_S / 2),
        open_http(port, "token", tmp_path, sends=True),
    ):
        assert sorted(method for method, _ in asked) == ["HEAD", "OPTIONS"]
        assert len({came_from for _, came_from in asked}) == 1


async def test_a_refused_token_is_told_although_the_other_question_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "LEAST_PATIENCE_S", 0.2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD"):
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

    async with served(serve) as port, asyncio.timeout(LIMIT_S / 2):
        with pytest.raises(AuthFailed):
            async with open_http(port, "token", tmp_path, sends=True):
                pass
