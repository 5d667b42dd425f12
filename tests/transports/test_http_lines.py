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
from pydantic import SecretStr

from connect_helper.errors import AuthFailed, ConnectionLost, TargetDenied
from connect_helper.transports import (
    http_connection,
    http_further,
    http_kept,
    http_sending,
    http_upload,
    https,
)
from connect_helper.transports.http_connection import HttpEndpoint
from connect_helper.transports.http_further import FurtherConnections
from connect_helper.transports.http_kept import KeptLines, Peer
from connect_helper.transports.http_lines import CONNECTIONS, HttpLine, HttpLines
from connect_helper.transports.http_upload import Cutter, Upload
from connect_helper.transports.portions import Portions
from connect_helper.transports.tus_client import TusClient
from tests.support.http_far_end import FarEnd, far_end
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import sending

MIB = 1024 * 1024
LIMIT_S = 20
PEER = Peer("https", "files.example", 8443, frozenset({"127.0.0.1"}), ("", 0, 0, 0), "")


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
    with pytest.raises(ConnectionLost):
        async with lines.one() as broken:
            raise ConnectionLost("broken")
    async with lines.one() as sound:
        assert sound is not broken


async def test_one_whose_server_only_said_no_is_sound(lines: HttpLines) -> None:
    with pytest.raises(TargetDenied):
        async with lines.one() as line:
            raise TargetDenied("no")
    async with lines.spare() as spare:
        assert spare is line


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

    def __init__(self, *, at_rest: bool = True, took_s: float = 1.0) -> None:
        self.closed = False
        self.made_at = time.monotonic()
        self.further = FurtherConnections(nothing, lambda: None)
        self.further._first.set_result(took_s)
        self._at_rest = at_rest

    @property
    def are_at_rest(self) -> bool:
        return self._at_rest

    async def close(self) -> None:
        await self.further.close()
        await asyncio.sleep(0)
        self.closed = True


async def test_what_is_left_goes_once_to_whoever_trusts_the_same_server_alike() -> None:
    kept, left = KeptLines(), Left()
    await kept.keep(PEER, left)
    strangers = (
        {"host": "other.example"},
        {"port": 443},
        {"addresses": frozenset({"127.0.0.2"})},
        {"scheme": "http"},
        {"pinned": "00" * 32},
        {"ca_file": ("/some/file", 0, 0, 0)},
        {"ca_file": ("", 1, 2, 3)},
    )
    for other in strangers:
        assert await kept.take(replace(PEER, **other)) is None  # type: ignore[arg-type] # one field each
    assert await kept.take(PEER) is left
    assert await kept.take(PEER) is None
    await kept.close()
    assert not left.closed  # it is the taker's


@pytest.mark.parametrize("why", ["in use", "quickly made", "old"])
async def test_what_is_of_no_use_is_closed(why: str) -> None:
    kept, left = KeptLines(), Left(at_rest=why != "in use", took_s=0.01 if why == "quickly made" else 1.0)
    if why == "old":
        left.made_at -= http_kept.OLDEST_S + 1
    await kept.keep(PEER, left)
    assert left.closed
    assert await kept.take(PEER) is None


async def test_of_two_that_are_left_for_one_server_the_later_is_kept() -> None:
    kept, first, second = KeptLines(kept_s=1.0), Left(), Left()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kept.keep(PEER, first))
        tasks.create_task(kept.keep(PEER, second))
    assert first.closed
    assert not second.closed
    async with asyncio.timeout(LIMIT_S):
        while not second.closed:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    await kept.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "kept http connections"]


def test_a_changed_file_of_certificates_is_another_trust(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("one")
    endpoint = HttpEndpoint("files.example", 443, ("127.0.0.1",), SecretStr("secret"), ca_file=str(file))
    before = endpoint.peer()
    assert endpoint.peer() == before
    assert "secret" not in repr(before)
    file.write_text("others")
    assert endpoint.peer() != before


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


async def test_connections_that_died_unseen_are_made_anew(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_further, "LONG_S", 0.0)
    monkeypatch.setattr(https, "REUSED_ANSWER_S", 0.3)
    kept, content = KeptLines(), noise(MIB)
    (far.docroot / "film").write_bytes(content)
    token = far.token("receive", "film")
    async with open_http(proxy.port, token, tmp_path, sends=False, kept=kept) as transport:
        await transport._http.further()
    made = proxy.connections
    proxy.swallow()
    async with asyncio.timeout(LIMIT_S):
        async with open_http(proxy.port, token, tmp_path, sends=False, kept=kept) as transport:
            assert await transport.read_ranges(b"/film", [(0, MIB)]) == [content]
    assert proxy.connections > made
    await kept.close()


async def send_in_parts(
    far: FarEnd, proxy: FaultProxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lane sends eight parts."""
    monkeypatch.setattr(http_further, "LONG_S", 0.0)
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)
    for module in (http_sending, http_upload):
        monkeypatch.setattr(module, "PART", MIB)
    monkeypatch.setattr(http_sending, "FIRST_PORTION", MIB)
    monkeypatch.setattr(http_sending, "LANES", 1)
    content, token = noise(8 * MIB), far.token("send", "in")
    async with open_http(proxy.port, token, folder, sends=True, root=b"in") as transport:
        await transport._http.further()
        item, _ = sending(content, b"in/film.partial")
        await transport.send(item)
        await transport.publish(item.partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content


async def test_the_next_part_is_begun_while_the_answer_to_the_last_bytes_is_awaited(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    await send_in_parts(far, proxy, tmp_path, monkeypatch)
    assert events[:3] == ["create", "create", "answered"]
    assert events[-2:] == ["answered", "answered"]  # the last part was begun before, too


async def test_a_part_that_could_not_be_begun_ahead_is_begun_over_the_lanes_own_connection(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, failed = TusClient.create, list[int]()
    lanes: list[HttpLine] = []

    async def failing(self: TusClient, size: int, name: bytes, *, over: HttpLine, **options: Any) -> str:
        lanes.append(over)
        if over is not lanes[0]:
            failed.append(size)
            raise ConnectionLost("It broke.")
        return await create(self, size, name, over=over, **options)

    monkeypatch.setattr(TusClient, "create", failing)
    await send_in_parts(far, proxy, tmp_path, monkeypatch)
    assert failed


def test_what_could_not_be_begun_is_handed_out_again() -> None:
    cutter = Cutter(Upload(256 * MIB), divided=True)
    size = cutter.size(0)
    assert size is not None
    span = cutter.take(size)
    other = cutter.take(cutter.size(0) or 0)
    cutter.give_back(span)
    spans = [other]
    while (size := cutter.size(0)) is not None:
        spans.append(cutter.take(size))
    assert spans[1][0] == 0
    end = 0
    for start, length in sorted(spans):
        assert start == end
        end += length
    assert end == 256 * MIB


async def test_parts_that_nobody_sends_are_an_error_and_no_silence(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Portions, "would_be_last", lambda self, lane, size, left: left < 4 * MIB)
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(ConnectionLost, match="Not all was sent"):
            await send_in_parts(far, proxy, tmp_path, monkeypatch)
