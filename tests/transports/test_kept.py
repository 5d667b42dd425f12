"""Connections that stay for the next transfer: who gets them, who does not, and how they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import asyncssh
import psutil
import pytest

from connect_helper.errors import TransferError
from connect_helper.transports.connections import Connections
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.kept import KeptConnections, Owner
from connect_helper.transports.lane import Lane
from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.ssh_connection import Credentials, Endpoint
from connect_helper.transports.tcp_facts import TcpFacts
from tests.support.sshd import SshServer, served_by
from tests.support.transports import open_transport, sending

LIMIT_S = 20
ADDRESSES = ("127.0.0.1",)


@pytest.fixture
def server() -> Iterator[SshServer]:
    with SshServer() as running:
        yield running


@pytest.fixture(autouse=True)
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """The connections that lost packets: on a busy machine loopback loses some too, when nobody wants it."""
    lanes: list[Lane] = []
    monkeypatch.setattr(Lane, "tcp_facts", lambda lane: TcpFacts(0.1, 0.1, disturbed=int(lane in lanes)))
    return lanes


def store(kept_s: float = 30.0) -> KeptConnections:
    """One that takes a server near by for a far one."""
    return KeptConnections(kept_s, long_s=0.0)


def logins(server: SshServer) -> int:
    return (server.folder / "sshd.log").read_text(errors="replace").count("Accepted publickey")


def sessions_of(server: SshServer) -> list[psutil.Process]:
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not fact():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


async def send(
    server: SshServer, kept: KeptConnections | None, name: str, connections: int = 3
) -> list[Lane]:
    """Send a small file; return the connections there were."""
    async with open_transport(server, connections=connections, kept=kept) as transport:
        await until(lambda: transport.connections == connections)
        lanes = list(transport._all.all)
        path = server.root / name
        await transport.send(sending(name.encode(), str(path).encode())[0])
        assert path.read_bytes() == name.encode()
    return lanes


def owner_of(server: SshServer) -> Owner:
    login = Credentials(server.user, private_key=server.client_key)
    return Owner.of(Endpoint("h.example", server.port, ADDRESSES), login)


def trusting(server: SshServer) -> KnownKeys:
    return KnownKeys(trusted=(server.host_key_line,))


async def test_the_next_transfer_logs_in_no_more(server: SshServer) -> None:
    kept = store()
    first = await send(server, kept, "first")
    assert len(kept) == 3
    before = logins(server)
    second = await send(server, kept, "second")
    assert second == first
    assert logins(server) == before == 3
    await kept.close()
    assert len(kept) == 0
    assert all(lane.connection.is_closed() for lane in second)


async def test_further_connections_join_those_that_are_there(server: SshServer) -> None:
    kept = store()
    first = await send(server, kept, "first", connections=2)
    second = await send(server, kept, "second", connections=4)
    assert second[:2] == first
    assert len(kept) == logins(server) == 4
    await kept.close()


async def test_a_transfer_that_wants_few_takes_few(server: SshServer) -> None:
    kept = store()
    first = await send(server, kept, "first", connections=3)
    second = await send(server, kept, "second", connections=1)
    assert second == first[:1]
    await until(lambda: all(lane.connection.is_closed() for lane in first[1:]))
    assert len(kept) == 1
    await kept.close()


async def test_connections_that_broke_unseen_are_made_anew(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transports.kept.ASKED_AFTER_S", 0.0)
    monkeypatch.setattr("connect_helper.transports.kept.ANSWER_S", 0.3)
    kept = store()
    first = await send(server, kept, "first", connections=2)
    silent = sessions_of(server)
    for process in silent:
        process.suspend()  # as behind a router that forgot the connection: nothing comes back
    second = await send(server, kept, "second", connections=1)
    assert second[0] not in first
    assert len(kept) == 1
    for process in silent:
        process.kill()
    await kept.close()


async def test_one_that_broke_unseen_is_left_out(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connect_helper.transports.kept.ASKED_AFTER_S", 0.0)
    monkeypatch.setattr("connect_helper.transports.kept.ANSWER_S", 0.3)
    kept = store()
    first = await send(server, kept, "first", connections=2)
    silent = served_by(server, first[1])
    silent.suspend()
    second = await send(server, kept, "second", connections=1)
    assert second == first[:1]
    await until(first[1].connection.is_closed)
    silent.kill()
    await kept.close()


async def test_a_server_that_thinks_for_a_while_is_waited_for(server: SshServer) -> None:
    kept = store()
    first = await send(server, kept, "first", connections=1)
    busy = served_by(server, first[0])
    busy.suspend()
    asyncio.get_running_loop().call_later(2.5, busy.resume)
    assert await send(server, kept, "second", connections=1) == first
    await kept.close()


async def test_the_key_of_every_connection_is_judged(server: SshServer) -> None:
    kept = store()
    first = await send(server, kept, "first", connections=2)
    other = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    first[1].connection.get_server_host_key = lambda: other  # type: ignore[method-assign] # another machine
    left = await kept.take(owner_of(server), trusting(server))
    assert left is not None
    assert left.lanes == first[:1]
    await until(first[1].connection.is_closed)
    left.lanes[0].abort()
    await left.lanes[0].connection.wait_closed()


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_as_a_transfer_ends_leaves_no_connection(server: SshServer, turns: int) -> None:
    kept = store()
    lanes: list[Lane] = []
    done = asyncio.Event()

    async def work() -> None:
        async with open_transport(server, connections=2, kept=kept) as transport:
            await until(lambda: transport.connections == 2)
            lanes.extend(transport._all.all)
            done.set()

    task = asyncio.create_task(work())
    await done.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await kept.close()
    await until(lambda: all(lane.connection.is_closed() for lane in lanes))


async def test_what_nobody_comes_for_is_closed(server: SshServer) -> None:
    kept = store(0.2)
    lanes = await send(server, kept, "first")
    await until(lambda: all(lane.connection.is_closed() for lane in lanes))
    assert len(kept) == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda owner: replace(owner, host="other.example"),
        lambda owner: replace(owner, port=owner.port + 1),
        lambda owner: replace(owner, addresses=frozenset({"127.0.0.2"})),
        lambda owner: replace(owner, credentials=replace(owner.credentials, user="somebody")),
        lambda owner: replace(owner, credentials=replace(owner.credentials, password="x")),
        lambda owner: replace(owner, credentials=replace(owner.credentials, private_key=None)),
        lambda owner: replace(owner, credentials=replace(owner.credentials, passphrase="x")),
    ],
)
async def test_whoever_would_log_in_otherwise_gets_nothing(
    server: SshServer, other: Callable[[Owner], Owner]
) -> None:
    kept = store()
    await send(server, kept, "first", connections=1)
    owner = owner_of(server)
    assert await kept.take(other(owner), trusting(server)) is None
    left = await kept.take(owner, trusting(server))
    assert left is not None
    assert await kept.take(owner, trusting(server)) is None  # it is somebody's now
    left.lanes[0].abort()
    await left.lanes[0].connection.wait_closed()


@pytest.mark.parametrize("how", ["revoked", "changed", "unknown", "another fingerprint"])
async def test_the_key_of_the_server_is_judged_again(server: SshServer, how: str) -> None:
    kept = store()
    lanes = await send(server, kept, "first", connections=1)
    key = server.host_key_line
    known = {
        "revoked": KnownKeys(trusted=(key,), revoked=(key,)),
        "changed": KnownKeys(trusted=("ssh-ed25519 AAAA",)),
        "unknown": KnownKeys(),
        "another fingerprint": KnownKeys(sshfp="00" * 32),
    }[how]
    assert await kept.take(owner_of(server), known) is None
    await until(lanes[0].connection.is_closed)


async def test_a_token_leaves_nothing(server: SshServer) -> None:
    kept = store()
    login = Credentials(server.user, private_key=server.client_key, is_token=True)
    endpoint = Endpoint("h.example", server.port, ADDRESSES)

    async def never(_key: str, _fingerprint: str) -> bool:
        return False

    connections = Connections(endpoint, login, trusting(server), never, TokenBucket(None), fixed=1, kept=kept)
    async with SftpTransport(connections) as transport:
        lanes = list(transport._all.all)
    assert len(kept) == 0
    await until(lanes[0].connection.is_closed)


async def test_a_server_near_by_is_left(server: SshServer) -> None:
    kept = KeptConnections()
    lanes = await send(server, kept, "first")
    assert len(kept) == 0
    await until(lambda: all(lane.connection.is_closed() for lane in lanes))


async def test_a_transfer_that_broke_leaves_nothing(server: SshServer) -> None:
    kept = store()
    lanes: list[Lane] = []

    async def broken() -> None:
        async with open_transport(server, connections=1, kept=kept) as transport:
            lanes.extend(transport._all.all)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    assert len(kept) == 0
    await until(lanes[0].connection.is_closed)


async def test_a_file_that_failed_does_no_harm_to_the_connection(server: SshServer) -> None:
    kept = store()
    async with open_transport(server, connections=1, kept=kept) as transport:
        with pytest.raises(TransferError):
            await transport.remove_folder(b"/proc")
    assert len(kept) == 1
    await send(server, kept, "second", connections=1)
    assert logins(server) == 1
    await kept.close()


async def test_a_connection_the_server_ended_meanwhile_is_made_anew(server: SshServer) -> None:
    kept = store()
    lanes = await send(server, kept, "first", connections=1)
    lanes[0].connection.abort()  # what the end of the server's process does to it
    await asyncio.sleep(0.05)
    second = await send(server, kept, "second", connections=1)
    assert second[0] is not lanes[0]
    assert logins(server) == 2
    await kept.close()


async def test_a_clock_that_went_on_while_the_machine_slept_counts(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(30.0)
    lanes = await send(server, kept, "first", connections=1)
    now = time.time()
    monkeypatch.setattr("connect_helper.transports.kept.time.time", lambda: now + 3600)
    assert await kept.take(owner_of(server), trusting(server)) is None
    await until(lanes[0].connection.is_closed)


@pytest.mark.parametrize("queued", [False, True])
async def test_connections_that_lost_packets_are_made_anew(
    server: SshServer, lost: list[Lane], queued: bool
) -> None:
    """TCP goes on slowly over them; but the first one saves the login, and a full line loses some anyway."""
    kept = store()
    async with open_transport(server, connections=4, kept=kept) as transport:
        await until(lambda: transport.connections == 4)
        lanes = list(transport._all.all)
        lost += [lanes[0], lanes[2]]
        if queued:
            transport._all.line.full_at = time.monotonic()
    expected = lanes if queued else [lanes[0], lanes[1], lanes[3]]
    left = await kept.take(owner_of(server), trusting(server))
    assert left is not None
    assert left.lanes == expected
    for lane in left.lanes:
        lane.abort()
    await until(lambda: all(lane.connection.is_closed() for lane in lanes))


async def test_no_more_than_so_many_are_kept(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connect_helper.transports.kept.MOST", 2)
    kept = store()
    lanes = await send(server, kept, "first", connections=4)
    assert len(kept) == 2
    await until(lambda: [lane.connection.is_closed() for lane in lanes] == [False, False, True, True])
    await kept.close()
