"""Rate limits over HTTP, low ones too: an even flow, and no silence of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from connect_helper.transports import http_connection, http_ranges
from connect_helper.transports.rate import TokenBucket
from tests.support.http_far_end import FarEnd
from tests.support.http_transport import fetching, open_http
from tests.support.sessions import noise
from tests.transports.test_http_answers import CONTENT, FACTS, SIZE, answered, serving, span

LIMIT_S = 10.0
LOW_KBPS = 8  # the lowest one that preferences take


async def test_what_came_at_once_passes_a_low_limit_in_small_blocks(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (far.docroot / "film").write_bytes(noise(SIZE))
    port = urlsplit(far.url).port
    assert port is not None
    asked: list[int] = []

    async def take(_: TokenBucket, amount: int) -> None:
        asked.append(amount)

    monkeypatch.setattr(TokenBucket, "take", take)
    token = far.token("receive", "film")
    async with open_http(port, token, tmp_path, sends=False, rate_kbps=LOW_KBPS) as transport:
        facts = await transport.facts(b"/film")
        assert facts is not None
        item, target, counts = fetching(b"/film", facts)
        await transport.receive(item)
        assert max(asked) <= transport._limiter.block_limit()
    assert sum(asked) == sum(counts) == SIZE
    assert bytes(target.content) == noise(SIZE)


@pytest.mark.parametrize(("rate_kbps", "at_once"), [(LOW_KBPS, 100_000), (None, SIZE)])
async def test_at_a_low_limit_no_server_waits_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate_kbps: int | None, at_once: int
) -> None:
    monkeypatch.setattr(http_connection, "FAR_S", 60.0)
    monkeypatch.setattr(http_ranges, "HELD", 100_000)

    async def take(_bucket: TokenBucket, _amount: int) -> None:
        """No wait."""

    monkeypatch.setattr(TokenBucket, "take", take)
    asked: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        part = span(request)
        asked.append(part.stop - part.start)
        return answered(CONTENT[part], start=part.start)

    async with (
        serving(handler) as port,
        open_http(port, "t", tmp_path, sends=False, rate_kbps=rate_kbps) as transport,
    ):
        item, target, _ = fetching(b"/film", FACTS)
        await transport.receive(item)
    assert bytes(target.content) == CONTENT
    assert set(asked) == {at_once}


async def test_a_rate_lowered_after_the_first_connection_has_left_loses_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further connections end at a low rate, and the first one where it would be the last to end."""
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)
    monkeypatch.setattr(http_ranges, "PART", 100_000)
    monkeypatch.setattr(http_ranges, "SMALLEST_PART", 25_000)
    lowered, asked = asyncio.Event(), set[int]()

    async def handler(request: web.Request) -> web.Response:
        part = span(request)
        asked.add(part.start)
        if not part.start:
            while len(asked) <= http_ranges.PARTS:  # noqa: ASYNC110 - each lane has had a part
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.5)  # so slow that it takes nothing more
        elif len(asked) > http_ranges.PARTS:
            await lowered.wait()
        return answered(CONTENT[part], start=part.start)

    async with (
        asyncio.timeout(LIMIT_S),
        serving(handler) as port,
        open_http(port, "t", tmp_path, sends=False) as transport,
    ):
        item, target, counts = fetching(b"/film", FACTS)
        running = asyncio.create_task(transport.receive(item), name="receive")
        while not counts:  # noqa: ASYNC110 - the first part has come
            await asyncio.sleep(0.01)
        transport._limiter.set_rate(500)  # type: ignore[attr-defined] # a bucket
        lowered.set()
        while any(task.get_name() == "further part" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        transport._limiter.set_rate(None)  # type: ignore[attr-defined]
        await running
    assert bytes(target.content) == CONTENT
    assert sum(counts) == SIZE
