"""The kernel's word on who is at the other end of a loopback connection (SEC-9)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from connect_helper.api import peers
from connect_helper.errors import Refused


@contextmanager
def connected(family: socket.AddressFamily) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A server's and a client's end on 127.0.0.1, the client's through a socket of `family`."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        port = server.getsockname()[1]
        client.connect(("127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1", port))
        ours, _ = server.accept()
        with ours:
            yield ours, client


class Transport(asyncio.BaseTransport):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"sockname": sock.getsockname(), "peername": sock.getpeername()})


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_peer_is_found_whichever_kind_of_socket_it_uses(family: socket.AddressFamily) -> None:
    with connected(family) as (ours, client):
        found = peers.find_peer(ours.getpeername(), ours.getsockname())
        assert found is not None
        assert found.uid == os.getuid()
        assert found.inode == os.fstat(client.fileno()).st_ino
        program = peers.find_program(found.inode)
        assert program is not None
        assert program[1] == os.getpid()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_sec_09_our_own_account_passes_and_another_does_not(
    family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(family) as (ours, _):
        await peers.require_own_account(Transport(ours))
        monkeypatch.setattr(peers, "_OWN_UID", os.getuid() + 1)
        with pytest.raises(Refused):
            await peers.require_own_account(Transport(ours))


async def test_sec_09_a_peer_that_hung_up_already_is_nobody_of_ours() -> None:
    with connected(socket.AF_INET) as (ours, client):
        transport = Transport(ours)
        client.close()
        with pytest.raises(Refused):
            await peers.require_own_account(transport)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_a_listener_is_found(family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family) as server:
        found = peers.find_listener(server.getsockname()[1])
        assert found is not None
        assert found.inode == os.fstat(server.fileno()).st_ino
    assert peers.find_listener(1) is None
