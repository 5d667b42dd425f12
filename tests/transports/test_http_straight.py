"""Large files from a near server, by a thread from the connection to the disk."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from aiohttp import web

from connect_helper.errors import ConnectionLost, DiskFull, TransferError
from connect_helper.transports import http_blocking, http_connection, http_straight, https
from connect_helper.transports.base import ReceiveItem
from connect_helper.transports.http_straight import StraightClient
from connect_helper.transports.https import HttpTransport
from connect_helper.transports.rate import TokenBucket
from tests.support.http_far_end import FarEnd
from tests.support.http_transport import fetching, open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import Memory
from tests.transports.test_http_answers import (
    CONTENT,
    FACTS,
    MTIME_S,
    TAG,
    WRONG,
    answered,
    nothing_is_added,
    serving,
    span,
)
from tests.transports.test_http_further import served

SIZE = 12_000_001
QUICK_KBPS = 800_000


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where each fetch that went straight got to; files of these tests are large and their servers near."""
    reached: list[int] = []
    take = StraightClient._take

    async def noted(self: StraightClient, fetch: http_straight._Fetch, proof: object) -> None:
        try:
            await take(self, fetch, proof)  # type: ignore[arg-type] # passed on
        finally:
            reached.append(fetch.at)

    monkeypatch.setattr(StraightClient, "_take", noted)
    monkeypatch.setattr(http_straight, "WORTH", 100_000)
    monkeypatch.setattr(http_connection, "FAR_S", 60.0)
    return reached


def film(far: FarEnd) -> bytes:
    content = noise(SIZE)
    (far.docroot / "film").write_bytes(content)
    return content


async def asked(transport: HttpTransport, had: bytes = b"") -> tuple[ReceiveItem, Memory, list[int]]:
    facts = await transport.facts(b"/film")
    assert facts is not None
    return fetching(b"/film", facts, had)


async def test_it_arrives_whole_and_is_compared(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, straight: list[int]
) -> None:
    content = film(far)
    async with open_http(proxy.port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        item, target, counts = await asked(transport)
        item.hashes = type(item.hashes)()  # nobody asked for another digest
        await transport.receive(item)
    assert bytes(target.content) == content
    assert straight == [SIZE]
    assert sum(counts) == item.done.offset == SIZE
    assert item.proved
    listed = [file for _, files in far.sessions.with_files() for file in files]
    assert [(file.path, file.size, file.error) for file in listed] == [((b"film",), SIZE, None)]


async def test_a_flipped_byte_is_found(far: FarEnd, tmp_path: Path, straight: list[int]) -> None:
    film(far)
    port = urlsplit(far.url).port
    assert port is not None
    async with (
        FaultProxy("127.0.0.1", port, flip_down_at=5_000_000) as proxy,
        open_http(proxy.port, far.token("receive", "film"), tmp_path, sends=False) as transport,
    ):
        item, _, _ = await asked(transport)
        item.hashes = type(item.hashes)()
        with pytest.raises(TransferError, match="damaged"):
            await transport.receive(item)
    assert straight == [SIZE]


@pytest.mark.parametrize("cut_after", [30_000, 3_000_000, 11_000_000])
async def test_cut_off_it_goes_on_without_a_gap(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, straight: list[int], cut_after: int
) -> None:
    content, token = film(far), far.token("receive", "film")
    async with open_http(proxy.port, token, tmp_path, sends=False) as transport:
        item, target, counts = await asked(transport)
        proxy.down, proxy.cut_after = 0, cut_after
        with pytest.raises(ConnectionLost):
            await transport.receive(item)
        had = bytes(target.content)
        assert content.startswith(had)
        assert sum(counts) == item.done.offset == len(had) == straight[0] < SIZE
    async with open_http(proxy.port, token, tmp_path, sends=False) as transport:
        again, target, counts = await asked(transport, had)
        await transport.receive(again)
    assert bytes(target.content) == content
    assert sum(counts) == SIZE - len(had)
    assert straight[1:] == [SIZE]
    assert again.hashes.digest() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("when", ["at the answer", "in the middle"])
async def test_cancelled_it_is_off_the_line_at_once(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, straight: list[int], when: str
) -> None:
    content = film(far)
    async with open_http(proxy.port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        item, target, counts = await asked(transport)
        if when == "at the answer":
            proxy.silence()
        else:
            proxy.slow = 10_000_000
        running = asyncio.create_task(transport.receive(item), name="receive")
        async with asyncio.timeout(10):
            while not counts and when == "in the middle":  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.005)
        proxy.silence()
        await asyncio.sleep(0.2)  # a thread waits for what does not come
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - began < 1.0
        had = bytes(target.content)
        assert content.startswith(had)
        assert sum(counts) == item.done.offset == len(had)
        await asyncio.sleep(0.1)
        assert bytes(target.content) == had  # no thread goes on
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("fetch") and _works(thread)
    ]
    assert len(straight) == (when == "in the middle")


def _works(thread: threading.Thread) -> bool:
    thread.join(1.0)
    return thread.is_alive()


async def test_a_lower_limit_holds_from_then_on(far: FarEnd, tmp_path: Path, straight: list[int]) -> None:
    content = film(far)
    port = urlsplit(far.url).port
    assert port is not None
    token = far.token("receive", "film")
    async with open_http(port, token, tmp_path, sends=False, rate_kbps=QUICK_KBPS) as transport:
        limiter = transport._limiter
        assert isinstance(limiter, TokenBucket)
        limiter.set_rate(300_000)  # 37.5 MB/s
        item, target, counts = await asked(transport)
        running = asyncio.create_task(transport.receive(item), name="receive")
        async with asyncio.timeout(10):
            while not counts:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.002)
        limiter.set_rate(40_000)  # 5 MB/s
        began, before = time.monotonic(), sum(counts)
        await running
        took = time.monotonic() - began
    assert bytes(target.content) == content
    assert 0 < straight[0] < SIZE  # the rest came the usual way
    # What had been asked of the system already came at once: two steps of a tenth of a second.
    assert took > (SIZE - before - 2 * 3_750_000) / 5_000_000 * 0.9


async def test_a_limit_holds(far: FarEnd, tmp_path: Path, straight: list[int]) -> None:
    content = film(far)
    port = urlsplit(far.url).port
    assert port is not None
    token = far.token("receive", "film")
    async with open_http(port, token, tmp_path, sends=False, rate_kbps=200_000) as transport:
        item, target, _ = await asked(transport)
        began = time.monotonic()
        await transport.receive(item)
        took = time.monotonic() - began
    assert bytes(target.content) == content
    assert straight == [SIZE]
    assert took >= (SIZE - 2 * 2_500_000) / 25_000_000


class Full(Memory):
    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        if offset > 1_000_000:
            raise DiskFull("There is no space left.")
        super().write(offset, data)


async def test_a_full_disk_ends_it_where_it_is(far: FarEnd, tmp_path: Path, straight: list[int]) -> None:
    content = film(far)
    port = urlsplit(far.url).port
    assert port is not None
    async with open_http(port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        item, _, counts = await asked(transport)
        item.target = target = Full(b"")
        with pytest.raises(DiskFull):
            await transport.receive(item)
    assert bytes(target.content) == content[: item.done.offset]
    assert sum(counts) == item.done.offset == straight[0] > 1_000_000


@pytest.mark.parametrize("how", WRONG)
async def test_what_does_not_fit_is_left_to_the_usual_way(
    tmp_path: Path, straight: list[int], how: str
) -> None:
    assert await nothing_is_added(tmp_path, how) == [TAG, TAG]
    assert straight == []


async def test_a_body_of_unknown_length_comes_the_usual_way(tmp_path: Path, straight: list[int]) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        last_modified = formatdate(MTIME_S, usegmt=True)
        answer = web.StreamResponse(status=206, headers={"ETag": TAG, "Last-Modified": last_modified})
        answer.headers["Content-Range"] = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(CONTENT)
        return answer

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, _ = fetching(b"/film", FACTS)
        await transport.receive(item)
    assert bytes(target.content) == CONTENT
    assert straight == []


async def test_a_server_that_serves_one_connection_at_a_time_is_waited_for_once(
    far: FarEnd, tmp_path: Path, straight: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_blocking, "ANSWER_S", 0.5)
    monkeypatch.setattr(https, "LEAST_PATIENCE_S", 0.1)
    content, port = film(far), urlsplit(far.url).port
    turn, took = asyncio.Lock(), list[float]()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(ConnectionError):
                await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    token = far.token("receive", "film")
    async with served(serve) as narrow, open_http(narrow, token, tmp_path, sends=False) as transport:
        for _ in range(2):
            item, target, _ = await asked(transport)
            await transport._http._ask()  # leaves a connection in use
            began = time.monotonic()
            await transport.receive(item)
            took.append(time.monotonic() - began)
            assert bytes(target.content) == content
    assert straight == []
    assert 0.5 <= took[0] < 5
    assert took[1] < 0.5


def answering(body: bytes, request: web.Request, **headers: str) -> web.StreamResponse:
    """The head of an answer that a good server gives, for a body to follow."""
    part = span(request)
    facts = {"Last-Modified": formatdate(MTIME_S, usegmt=True), "Content-Length": str(part.stop - part.start)}
    facts["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
    return web.StreamResponse(status=206, headers={**facts, **headers})


async def test_without_a_strong_tag_nothing_is_put_together(tmp_path: Path, straight: list[int]) -> None:
    versions = [CONTENT, noise(len(CONTENT), 2)]

    async def handler(request: web.Request) -> web.StreamResponse:
        body = versions.pop(0)
        answer = answering(body, request)
        await answer.prepare(request)
        await answer.write(body[span(request)])
        return answer

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, _ = fetching(b"/film", replace(FACTS, etag=""))
        await transport.receive(item)
    assert straight == []
    assert bytes(target.content) == CONTENT


async def test_of_a_server_without_ranges_nothing_is_thrown_away(tmp_path: Path, straight: list[int]) -> None:
    """Below the limit at which it would go straight, the rest could not be asked for."""

    async def handler(_: web.Request) -> web.Response:
        return answered(CONTENT, 200)

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, _ = fetching(b"/film", FACTS)
        await transport.receive(item)
    assert straight == []
    assert bytes(target.content) == CONTENT


async def test_what_moved_at_a_higher_limit_stalls_no_lower_one(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(far)
    port = urlsplit(far.url).port
    assert port is not None
    async with open_http(port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        item, _, counts = await asked(transport)
        limiter, step = transport._limiter, http_straight._Fetch.step
        assert isinstance(limiter, TokenBucket)

        def lowered(self: http_straight._Fetch, limit: int) -> bool:
            went_on = step(self, limit)
            loop.call_soon_threadsafe(limiter.set_rate, 1_000)  # 125 kB/s
            return went_on

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(http_straight, "STEP_S", 0.002)
        monkeypatch.setattr(http_straight._Fetch, "step", lowered)
        running = asyncio.create_task(transport.receive(item), name="receive")
        async with asyncio.timeout(10):
            while not counts:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.002)
            at_first = sum(counts)
            while sum(counts) == at_first:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert at_first > 100_000


async def test_a_server_that_becomes_slow_is_not_taken_for_silent(
    tmp_path: Path, straight: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, ended = len(CONTENT) // 2, asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = answering(CONTENT, request, ETag=TAG)
        await answer.prepare(request)
        await answer.write(CONTENT[:at_once])
        for at in range(at_once, len(CONTENT), 500):
            if ended.is_set():
                break
            await answer.write(CONTENT[at : at + 500])
            await asyncio.sleep(0.05)
        return answer

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, counts = fetching(b"/film", FACTS)
        running = asyncio.create_task(transport.receive(item), name="receive")
        silent, moved = list[float](), list[int]()
        for _ in range(30):
            await asyncio.sleep(0.1)
            silent.append(transport.silent_s)
            moved.append(sum(counts))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ended.set()
    assert max(silent) < 1.0
    assert moved[-1] > moved[15] > at_once  # it is told of while it trickles
    assert bytes(target.content) == CONTENT[: item.done.offset]
    assert straight[0] == item.done.offset


@pytest.mark.parametrize("closes", [False, True])
async def test_stopped_it_leaves_no_connection(
    tmp_path: Path, straight: list[int], closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_straight, "STEP_S", 0.002)  # it is stopped before all has come
    body, over = noise(40_000_000), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = answering(body, request, ETag=TAG)
        if closes:
            answer.force_close()
        await answer.prepare(request)
        try:
            await answer.write(body)  # until it is told that nobody is there
        finally:
            over.set()
        return answer

    before = descriptors()
    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, _, counts = fetching(b"/film", replace(FACTS, size=len(body)))
        running = asyncio.create_task(transport.receive(item), name="receive")
        async with asyncio.timeout(10):
            while not counts:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with asyncio.timeout(5):
            await over.wait()
    del running
    assert len(straight) == 1
    assert descriptors() <= before


def descriptors() -> int:
    """Open TCP sockets of this process."""
    return len(psutil.Process().net_connections("tcp"))
