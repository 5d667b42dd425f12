"""Connections over HTTP: which one a request goes over, and what is left of them for the next transfer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connect_helper.errors import AuthFailed
from connect_helper.transports import http_connection, http_further, http_kept, http_sending, http_upload
from connect_helper.transports.http_kept import KeptLines, Peer
from connect_helper.transports.http_lines import CONNECTIONS, HttpLines
from connect_helper.transports.tus_client import TusClient
from tests.support.http_far_end import FarEnd, far_end
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import sending

MIB = 1024 * 1024
LIMIT_S = 20
PEER = Peer("https", "files.example", 8443, ("127.0.0.1",), "", "")


async def nothing() -> None:
    return None


@pytest.fixture
async def lines() -> AsyncIterator[HttpLines]:
    made = HttpLines(("127.0.0.1",), False, nothing)
    yield made
    await made.close()


async def test_the_one_used_last_is_used_next_but_for_a_broken_one(lines: HttpLines) -> None:
    async with lines.one() as first, lines.one() as second:
        pass
    async with lines.one() as again:
        assert again is first  # its context ended last
        async with lines.one() as other:
            assert other is second
    with pytest.raises(OSError, match="broken"):
        async with lines.one() as broken:
            raise OSError("broken")
    async with lines.one() as sound:
        assert sound is not broken


async def test_a_spare_one_is_neither_waited_for_nor_made(lines: HttpLines) -> None:
    async with lines.spare() as spare:
        assert spare is None
    async with lines.one() as only, lines.spare() as spare:
        assert spare is None
    async with lines.spare() as spare:
        assert spare is only


async def test_there_are_no_more_than_so_many(lines: HttpLines) -> None:
    used, most, free = 0, 0, asyncio.Event()

    async def use() -> None:
        nonlocal used, most
        async with lines.one():
            used += 1
            most = max(used, most)
            await free.wait()
            used -= 1

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        for _ in range(2 * CONNECTIONS):
            tasks.create_task(use())
        await asyncio.sleep(0)
        free.set()
    assert most == CONNECTIONS
    assert len(lines._all) == CONNECTIONS


class Left(HttpLines):
    """Lines that nobody uses, which note that they were closed."""

    def __init__(self) -> None:
        self.closed = False

    @property
    def are_at_rest(self) -> bool:
        return True

    async def close(self) -> None:
        self.closed = True


class InUse(Left):
    @property
    def are_at_rest(self) -> bool:
        return False


async def test_what_is_left_goes_once_to_whoever_trusts_the_same_server_alike() -> None:
    kept, left = KeptLines(), Left()
    await kept.keep(PEER, left)
    strangers = (
        {"host": "other.example"},
        {"port": 443},
        {"addresses": ("127.0.0.2",)},
        {"scheme": "http"},
        {"pinned": "00" * 32},
        {"ca_file": "/some/file"},
    )
    for other in strangers:
        assert await kept.take(replace(PEER, **other)) is None  # type: ignore[arg-type] # one field each
    assert await kept.take(PEER) is left
    assert await kept.take(PEER) is None
    await kept.close()
    assert not left.closed  # it is the taker's


async def test_what_is_in_use_is_closed() -> None:
    kept, left = KeptLines(), InUse()
    await kept.keep(PEER, left)
    assert left.closed
    assert await kept.take(PEER) is None


async def test_what_nobody_takes_is_closed_after_a_moment() -> None:
    kept, left = KeptLines(kept_s=0.05), Left()
    await kept.keep(PEER, left)
    async with asyncio.timeout(LIMIT_S):
        while not left.closed:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    assert len(kept) == 0


async def test_what_was_left_before_the_machine_slept_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, left = KeptLines(), Left()
    await kept.keep(PEER, left)
    later = time.time() + http_kept.KEPT_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert await kept.take(PEER) is None
    assert left.closed


async def test_of_several_servers_the_last_ones_are_kept() -> None:
    kept, all_of_them = KeptLines(), [Left() for _ in range(http_kept.MOST + 1)]
    for port, left in enumerate(all_of_them):
        await kept.keep(replace(PEER, port=port), left)
    assert [left.closed for left in all_of_them] == [True] + [False] * http_kept.MOST
    await kept.close()
    assert all(left.closed for left in all_of_them)


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def proxy(far: FarEnd) -> AsyncIterator[FaultProxy]:
    port = urlsplit(far.url).port
    assert port is not None
    async with FaultProxy("127.0.0.1", port, delay_s=0.02) as proxy:
        yield proxy


async def test_a_transfer_goes_on_with_the_connections_of_the_last_one(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_further, "LONG_S", 0.0)
    kept, content = KeptLines(), noise(MIB)
    (far.docroot / "film").write_bytes(content)
    sent = far.token("send", "in")
    async with open_http(proxy.port, sent, tmp_path, sends=True, root=b"in", kept=kept) as transport:
        await transport._http.further()
        await transport.send(sending(content, b"in/film.partial")[0])
    made = proxy.connections
    fetched = far.token("receive", "film")  # another token: what was left holds none
    async with open_http(proxy.port, fetched, tmp_path, sends=False, kept=kept) as transport:
        await transport._http.further()
        assert await transport.read_ranges(b"/film", [(0, MIB)]) == [content]
    assert proxy.connections == made
    with pytest.raises(AuthFailed):
        async with open_http(proxy.port, "junk", tmp_path, sends=False, kept=kept):
            pass
    assert len(kept) == 0  # nothing is kept of what failed
    assert proxy.connections == made
    await kept.close()


async def test_the_next_part_is_begun_while_the_answer_to_the_last_bytes_is_awaited(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_further, "LONG_S", 0.0)
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)
    for module in (http_sending, http_upload):
        monkeypatch.setattr(module, "PART", MIB)
    monkeypatch.setattr(http_sending, "FIRST_PORTION", MIB)
    monkeypatch.setattr(http_sending, "LANES", 1)
    create, append = TusClient.create, TusClient.append
    events: list[str] = []

    async def creating(self: TusClient, *args: Any, **kwargs: Any) -> str:
        events.append("create")
        return await create(self, *args, **kwargs)

    async def appending(self: TusClient, *args: Any, **kwargs: Any) -> int | None:
        answer = await append(self, *args, **kwargs)
        events.append("answered")
        return answer

    monkeypatch.setattr(TusClient, "create", creating)
    monkeypatch.setattr(TusClient, "append", appending)
    content, token = noise(8 * MIB), far.token("send", "in")
    async with open_http(proxy.port, token, tmp_path, sends=True, root=b"in") as transport:
        await transport._http.further()
        item, _ = sending(content, b"in/film.partial")
        await transport.send(item)
        await transport.publish(item.partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content
    assert events[:3] == ["create", "create", "answered"]
    assert events[-2:] == ["answered", "answered"]  # the last part was begun before, too
