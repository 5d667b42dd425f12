"""Asking a server over HTTP for digests of blocks: once where it knows none, and of one version of a file."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connect_helper.errors import ChecksumMismatch, ConnectionLost, DiskFull, SourceChanged
from connect_helper.server.http import blocks
from connect_helper.server.http.digests import Digests
from connect_helper.server.http.downloads import another_version
from connect_helper.transports import http_connection, http_proof, http_straight
from connect_helper.transports.base import BlockHashes, ReceiveItem
from connect_helper.transports.http_connection import HttpConnection
from connect_helper.transports.https import HttpTransport
from tests.support.http_far_end import FarEnd, far_end
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import Memory

SIZE = 41_000_003
BLOCK = 8 * 1024 * 1024


async def plainly(transport: HttpTransport, path: bytes, had: bytes = b"") -> ReceiveItem:
    """A file to fetch for which nobody asks a digest; `had` is here already."""
    facts = await transport.facts(path)
    assert facts is not None
    hashes = BlockHashes()
    hashes.feed(had)
    return ReceiveItem(
        path, facts.size, facts.mtime_ns, Memory(had), len(had), hashes, lambda _count: None, etag=facts.etag
    )


def port_of(far: FarEnd) -> int:
    port = urlsplit(far.url).port
    assert port is not None
    return port


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions about blocks, as they are sent."""

    def request(self: HttpConnection, method: str, path: str, **more: Any) -> Any:
        if path.startswith(http_proof.BLOCKS):
            questions.append(path.removeprefix(http_proof.BLOCKS))
        return real(self, method, path, **more)

    questions: list[str] = []
    real = HttpConnection.request
    monkeypatch.setattr(HttpConnection, "request", request)
    return questions


@pytest.mark.parametrize("is_far", [True, False])
async def test_a_file_is_asked_about_while_it_arrives(
    far: FarEnd, tmp_path: Path, asked: list[str], is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FAR_S", 0.0 if is_far else 1000.0)
    (far.docroot / "a b").write_bytes(noise(SIZE))
    async with open_http(port_of(far), far.token("receive", "a b"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/a b")
        await transport.receive(item)
    assert item.proved
    first = 4 * BLOCK
    assert asked == [f"a%20b?start=0&length={first}", f"a%20b?start={first}&length={SIZE - first}"]


@pytest.mark.parametrize("had", [100, BLOCK + 1, SIZE])
async def test_what_was_here_already_is_asked_about_too(
    far: FarEnd, tmp_path: Path, asked: list[str], had: int
) -> None:
    content = noise(SIZE)
    (far.docroot / "film").write_bytes(content)
    async with open_http(port_of(far), far.token("receive", "film"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film", content[:had])
        await transport.receive(item)
        assert item.proved
        assert asked[0].startswith("film?start=0&")
        damaged = await plainly(transport, b"/film", b"x" + content[1:had])
        with pytest.raises(ChecksumMismatch):
            await transport.receive(damaged)


async def test_a_small_file_brings_its_digest_along(far: FarEnd, tmp_path: Path, asked: list[str]) -> None:
    (far.docroot / "film").write_bytes(noise(BLOCK - 1))
    async with open_http(port_of(far), far.token("receive", "film"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film")
        await transport.receive(item)
    assert item.proved
    assert asked == []


async def test_where_a_digest_is_asked_for_no_other_is(
    far: FarEnd, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[object] = []
    monkeypatch.setattr(Digests, "_made", lambda *given: hashed.append(given))
    async with open_http(port_of(far), far.token("receive"), tmp_path, sends=False) as transport:
        for size in (70_000, 9_000_000):
            (far.docroot / "film").write_bytes(noise(size))
            item = await plainly(transport, b"/film")
            item.hashes = BlockHashes("sha256")
            await transport.receive(item)
            assert item.hashes.digest() == hashlib.sha256(noise(size)).hexdigest()
            assert not item.proved
    assert (asked, hashed) == ([], [])


async def test_an_older_server_is_asked_once(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks.Blocks, "routes", lambda _: [])
    async with (
        far_end(tmp_path / "server") as far,
        open_http(port_of(far), far.token("receive"), tmp_path, sends=False) as transport,
    ):
        (far.docroot / "film").write_bytes(noise(9_000_000))
        for _ in range(2):
            item = await plainly(transport, b"/film")
            await transport.receive(item)
            assert not item.proved
    assert len(asked) == 1


async def test_a_file_that_is_gone_does_not_end_the_asking(
    far: FarEnd, tmp_path: Path, asked: list[str]
) -> None:
    (far.docroot / "film").write_bytes(noise(9_000_000))
    async with open_http(port_of(far), far.token("receive"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film")
        await transport.receive(item)
        gone = await plainly(transport, b"/film")
        (far.docroot / "film").unlink()
        assert await transport._files._questions._ask(gone, 0, 100) == b""
        (far.docroot / "film").write_bytes(noise(9_000_000))
        item = await plainly(transport, b"/film")
        await transport.receive(item)
    assert item.proved
    assert len(asked) == 3


async def test_another_version_is_no_proof_of_this_one(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of_blocks(*_: Any) -> list[bytes]:
        raise another_version('"other"')

    monkeypatch.setattr(Digests, "of_blocks", of_blocks)
    (far.docroot / "film").write_bytes(noise(9_000_000))
    async with open_http(port_of(far), far.token("receive"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film")
        with pytest.raises(SourceChanged):
            await transport.receive(item)
    assert not item.proved


class Full(Memory):
    """A target on a disk with little room."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        if offset > 36_000_000:
            raise DiskFull("There is no room.")
        super().write(offset, data)


async def test_no_question_outlives_a_file_that_failed(
    far: FarEnd, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of_blocks(*_: Any) -> list[bytes]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(Digests, "of_blocks", of_blocks)
    monkeypatch.setattr(http_straight, "STEP_S", 0.001)  # so that it asks before the end
    (far.docroot / "film").write_bytes(noise(SIZE))
    async with open_http(port_of(far), far.token("receive"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film")
        item.target = Full()
        with pytest.raises(DiskFull):
            await transport.receive(item)
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("digests")] == []
    assert len(asked) == 1


@pytest.mark.parametrize("ending", ["cancelled", "cut"])
async def test_waiting_for_the_proof_may_end_early(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def of_blocks(*_: Any) -> list[bytes]:
        begun.set()
        if ending == "cut":
            proxy.cut()
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(Digests, "of_blocks", of_blocks)
    (far.docroot / "film").write_bytes(noise(9_000_000))
    async with open_http(proxy.port, far.token("receive"), tmp_path, sends=False) as transport:
        item = await plainly(transport, b"/film")
        receiving = asyncio.create_task(transport.receive(item), name="receive")
        await begun.wait()
        if ending == "cancelled":
            receiving.cancel()
        with pytest.raises(asyncio.CancelledError if ending == "cancelled" else ConnectionLost):
            await receiving
    assert item.done.offset == 9_000_000
    assert not item.proved


def told(**changes: object) -> bytes:
    answer = {"algorithm": "xxh128", "block": BLOCK, "digests": ["0" * 32, "1" * 32], **changes}
    return json.dumps(answer).encode()


def test_an_answer_that_is_complete_is_taken() -> None:
    expected = bytes(16) + b"\x11" * 16
    assert http_proof._digests_in(told(), BLOCK + 1) == expected
    assert http_proof._digests_in(told(), 2 * BLOCK) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"<html>",
        lambda: b"[" * 5000,
        lambda: b"[]",
        lambda: told(algorithm="md5"),
        lambda: told(block=BLOCK // 2),
        lambda: told(digests=["0" * 32]),
        lambda: told(digests=["0" * 32] * 3),
        lambda: told(digests=["0" * 32, "1" * 30]),
        lambda: told(digests=["0" * 32, "x" * 32]),
        lambda: told(digests=["0" * 32, None]),
        lambda: told(digests=None),
    ],
)
def test_any_other_answer_tells_nothing(make: Callable[[], bytes]) -> None:
    assert http_proof._digests_in(make(), 2 * BLOCK) == b""
