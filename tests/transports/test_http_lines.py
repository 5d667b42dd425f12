"""Connections over HTTP: which one a request goes over, and when a part of a file is begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import ConnectionLost, TargetDenied
from connect_helper.transports import (
    http_connection,
    http_further,
    http_sending,
    http_upload,
)
from connect_helper.transports.http_lines import CONNECTIONS, HttpLine, HttpLines
from connect_helper.transports.http_upload import Cutter, Upload
from connect_helper.transports.portions import Portions
from connect_helper.transports.tus_client import TusClient
from tests.support.http_far_end import FarEnd
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import sending

MIB = 1024 * 1024
LIMIT_S = 20


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


@pytest.fixture
def proxy(proxy: FaultProxy) -> FaultProxy:
    """The line is long enough for something to happen while an answer is awaited."""
    proxy.delay_s = 0.02
    return proxy


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
