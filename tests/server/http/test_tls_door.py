"""Connections that never agree on TLS: they hold their own places for a while, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connect_helper.server.http import tls_door
from tests.support.http_far_end import FarEnd, far_end
from tests.support.tls import tls_pair

HELLO = b"\x16\x03\x01"  # the first bytes of a client's, and all of these ever say
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def trust(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_pair(tmp_path)


@pytest.fixture
async def silent(request: pytest.FixtureRequest) -> AsyncIterator[list[Pair]]:
    """Connections that are closed at the end."""
    made: list[Pair] = []
    yield made
    for _, writer in made:
        writer.close()


async def knock(server: FarEnd, source: str) -> Pair:
    """A connection from `source` that begins TLS and falls silent."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(HELLO)
    return reader, writer


async def ask(server: FarEnd, trusting: ssl.SSLContext) -> int:
    """The status a client of 127.0.0.1 is answered."""
    async with server.client(None) as client, client.get("/openapi.json", ssl=trusting) as answer:
        return answer.status


async def test_who_comes_from_elsewhere_gets_in_at_once(
    tmp_path: Path,
    trust: tuple[ssl.SSLContext, ssl.SSLContext],
    silent: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_door, "AT_ONCE", 4)
    monkeypatch.setattr(tls_door, "LIMIT_S", 600)
    async with far_end(tmp_path, tls=trust[0]) as server:
        silent += [await knock(server, "127.0.0.2") for _ in range(10)]
        async with asyncio.timeout(60):  # less than they may be silent
            for _ in range(3):
                assert await ask(server, trust[1]) == 200


async def test_an_address_waits_behind_its_own_silent_connections(
    tmp_path: Path,
    trust: tuple[ssl.SSLContext, ssl.SSLContext],
    silent: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_door, "AT_ONCE_PER_ADDRESS", 2)
    async with far_end(tmp_path, tls=trust[0]) as server:
        silent += [await knock(server, "127.0.0.1") for _ in range(2)]
        asking = asyncio.create_task(ask(server, trust[1]))
        done, _ = await asyncio.wait([asking], timeout=0.5)
        assert not done
        silent[0][1].close()
        assert await asyncio.wait_for(asking, 30) == 200


async def test_silence_is_hung_up_on(
    tmp_path: Path,
    trust: tuple[ssl.SSLContext, ssl.SSLContext],
    silent: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_door, "LIMIT_S", 0.2)
    async with far_end(tmp_path, tls=trust[0]) as server:
        silent.append(await knock(server, "127.0.0.1"))
        assert await asyncio.wait_for(silent[0][0].read(), 30) == b""


async def test_a_stop_ends_those_that_are_agreeing_and_those_that_wait(
    tmp_path: Path,
    trust: tuple[ssl.SSLContext, ssl.SSLContext],
    silent: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_door, "AT_ONCE_PER_ADDRESS", 1)
    async with far_end(tmp_path, tls=trust[0]) as server:
        silent += [await knock(server, "127.0.0.1") for _ in range(3)]
        assert await ask_from(server, trust[1], "127.0.0.3") == 200  # they have come in by now
    for reader, _ in silent:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""


async def ask_from(server: FarEnd, trusting: ssl.SSLContext, source: str) -> int:
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(source, 0), ssl=trusting, server_hostname="127.0.0.1"
    )
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head = await reader.readline()
    writer.close()
    return int(head.split()[1])


async def test_a_connection_that_is_closed_already_does_not_stop_the_watch(
    tmp_path: Path, trust: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """A transport of TLS that was broken off and then closed knows nothing any more, until it is gone."""
    async with far_end(tmp_path, tls=trust[0]) as server:
        port = int(server.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust[1])
        serving_now = server.listener._runner.server
        assert serving_now is not None
        async with asyncio.timeout(60):
            while not serving_now.connections:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        (protocol,) = serving_now.connections
        assert protocol.transport is not None
        protocol.transport.abort()
        protocol.transport.close()
        server.listener._sweep(time.monotonic())
        writer.close()
        assert await ask(server, trust[1]) == 200
