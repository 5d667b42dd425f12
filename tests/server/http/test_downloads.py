"""Downloads: ranges and tags, and no mixture of two versions of a file."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import itertools
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from connect_helper.server.http import digests
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot
from tests.support.http_far_end import FarEnd, far_end
from tests.support.tls import tls_pair

FILES = "/fallback/v1/files"


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the server's operator is told to look at."""
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_file_and_its_parts(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    content = os.urandom(1_500_000)
    (server.docroot / "out/a b.bin").write_bytes(content)
    async with receiver.get(f"{FILES}/out/a%20b.bin") as answer:
        assert answer.status == 200
        assert await answer.read() == content
        tag = answer.headers["ETag"]
        assert answer.headers["Accept-Ranges"] == "bytes"
    assert tag.startswith('"')
    async with receiver.get(f"{FILES}//out/a%20b.bin", headers={"Range": "bytes=1000-1999"}) as answer:
        assert answer.status == 206
        assert await answer.read() == content[1000:2000]
        assert answer.headers["Content-Range"] == "bytes 1000-1999/1500000"
        assert answer.headers["ETag"] == tag
    async with receiver.get(f"{FILES}/out/a%20b.bin", headers={"Range": "bytes=1500000-"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */1500000"


@pytest.mark.parametrize("name", ["of two\nlines", "\n", "a\rb\tc", " %41?#"])
async def test_a_file_of_any_name(name: str, server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out" / name).write_bytes(b"hello")
    address = URL(f"{FILES}/out/{quote(name)}", encoded=True)
    async with receiver.get(address) as answer:
        assert (answer.status, await answer.read()) == (200, b"hello")
    async with receiver.head(address) as answer:
        assert answer.status == 200


async def test_facts_without_content(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/x").write_bytes(b"hello")
    os.utime(server.docroot / "out/x", (1_600_000_000, 1_600_000_000))
    async with receiver.head(
        f"{FILES}/out/x", headers={"Want-Repr-Digest": "sha-512=3, sha-256=1"}
    ) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == "5"
        assert answer.headers["Last-Modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"
        told = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
        assert answer.headers["Repr-Digest"] == f"sha-256=:{told}:"
    async with receiver.head(f"{FILES}/out/x", headers={"Want-Repr-Digest": "sha-256=0"}) as answer:
        assert "Repr-Digest" not in answer.headers


async def test_a_part_of_a_file_that_must_not_be_a_newer_one(
    server: FarEnd, receiver: aiohttp.ClientSession
) -> None:
    """By its date, as clients that know of no tags ask; beside a tag the date counts for nothing."""
    (server.docroot / "out/x").write_bytes(b"hello")
    os.utime(server.docroot / "out/x", (1_600_000_000.5, 1_600_000_000.5))
    async with receiver.head(f"{FILES}/out/x") as answer:
        modified, tag = answer.headers["Last-Modified"], answer.headers["ETag"]
    before = "Sun, 13 Sep 2020 12:26:39 GMT"
    for since, more, status in (
        (modified, {}, 206),
        (before, {}, 412),
        ("yesterday", {}, 206),
        (before, {"If-Match": tag}, 206),
        (modified, {"If-Match": '"another"'}, 412),
    ):
        headers = {"Range": "bytes=1-2", "If-Unmodified-Since": since, **more}
        async with receiver.get(f"{FILES}/out/x", headers=headers) as answer:
            assert answer.status == status, (since, more)


class _Feeds:
    """Counts the pieces that are hashed, and takes its time for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.begun = threading.Event()
        self._feed = digests._feed
        monkeypatch.setattr(digests, "_STEP", 1000)
        monkeypatch.setattr(digests, "_feed", self)

    def __call__(self, *given: Any) -> None:
        self.count += 1
        self.begun.set()
        time.sleep(0.01)
        self._feed(*given)


async def test_many_who_ask_for_one_digest_share_the_hashing(
    server: FarEnd, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = _Feeds(monkeypatch)
    (server.docroot / "out/x").write_bytes(bytes(20_000))

    async def ask() -> str:
        async with receiver.head(f"{FILES}/out/x", headers={"Want-Repr-Digest": "sha-256=1"}) as answer:
            return answer.headers["Repr-Digest"]

    told = set(await asyncio.gather(*(ask() for _ in range(30))))
    assert told == {f"sha-256=:{base64.b64encode(hashlib.sha256(bytes(20_000)).digest()).decode()}:"}
    assert feeds.count == 20


async def test_who_asks_about_a_small_file_does_not_wait_for_huge_ones(
    server: FarEnd, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Feeds(monkeypatch)
    wanted = {"Want-Repr-Digest": "sha-256=1"}
    for name, size in (("one", 4_000_000), ("other", 4_000_000), ("small", 10)):
        (server.docroot / "out" / name).write_bytes(bytes(size))

    async def ask(name: str) -> str:
        async with receiver.head(f"{FILES}/out/{name}", headers=wanted) as answer:
            return answer.headers["Repr-Digest"]

    huge = [asyncio.create_task(ask(name), name=name) for name in ("one", "other")]
    try:
        async with asyncio.timeout(20):
            assert await ask("small")
        assert not any(task.done() for task in huge)
    finally:
        for task in huge:
            task.cancel()
        await asyncio.gather(*huge, return_exceptions=True)


@pytest.mark.parametrize("address", [f"{FILES}/{{}}", "/fallback/v1/blocks/{}?start=0&length=10"])
async def test_one_token_s_many_digests_do_not_keep_another_waiting(
    server: FarEnd, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    feeds, most = _Feeds(monkeypatch), 60
    (server.docroot / "mine").mkdir()
    (server.docroot / "mine/small").write_bytes(bytes(10))
    for number in range(most):
        (server.docroot / f"out/{number}").write_bytes(bytes(400_000))
    wanted = {"Want-Repr-Digest": "sha-256=1"}

    async def ask(client: aiohttp.ClientSession, path: str) -> None:
        async with client.head(path, headers=wanted) as answer:
            assert "Repr-Digest" in answer.headers

    crowd = server.client(server.token("receive", "out"), connector=aiohttp.TCPConnector(limit=0))
    async with crowd, server.client(server.token("receive", "mine")) as other:
        huge = [
            asyncio.create_task(ask(crowd, f"{FILES}/out/{number}"), name="huge") for number in range(most)
        ]
        try:
            async with asyncio.timeout(20):
                while feeds.count < 2 * most:  # noqa: ASYNC110 - all of them wait by then
                    await asyncio.sleep(0.01)
                before = feeds.count
                async with other.get(address.format("mine/small"), headers=wanted) as answer:
                    assert answer.status == 200
                    assert "Repr-Digest" in answer.headers or (await answer.json())["digests"]
            assert feeds.count - before < most // 2
        finally:
            for task in huge:
                task.cancel()
            await asyncio.gather(*huge, return_exceptions=True)


async def test_one_token_has_so_many_digests_under_way_and_no_more(
    server: FarEnd, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question is put off then, and a file is sent without what was not the question."""
    feeds = _Feeds(monkeypatch)
    monkeypatch.setattr(digests, "MOST_ASKED", 1)
    for name, size in (("huge", 4_000_000), ("small", 10)):
        (server.docroot / "out" / name).write_bytes(bytes(size))
    wanted = {"Want-Repr-Digest": "sha-256=1"}
    async with server.client(server.token("receive", "out")) as client:
        busy = asyncio.create_task(client.head(f"{FILES}/out/huge", headers=wanted), name="huge")
        await asyncio.to_thread(feeds.begun.wait, 10)
        blocks = "/fallback/v1/blocks/out/small?start=0&length=10"
        for method, address in (("HEAD", f"{FILES}/out/small"), ("GET", blocks)):
            async with client.request(method, address, headers=wanted) as answer:
                assert answer.status == 429
                assert int(answer.headers["Retry-After"]) > 0
        async with client.get(f"{FILES}/out/small", headers=wanted) as answer:
            assert (answer.status, await answer.read()) == (200, bytes(10))
            assert "Repr-Digest" not in answer.headers
        async with receiver.head(f"{FILES}/out/small", headers=wanted) as answer:  # another token
            assert answer.status == 200
        async with client.head(f"{FILES}/out/small", headers=wanted) as answer:
            assert "Repr-Digest" in answer.headers  # known by now
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


@pytest.mark.parametrize("ended", ["by the client", "by the operator"])
async def test_nothing_is_hashed_for_who_has_gone(
    server: FarEnd, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    feeds = _Feeds(monkeypatch)
    (server.docroot / "x").write_bytes(bytes(2_000_000))
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    lines = [f"HEAD {FILES}/x HTTP/1.1", "Host: a", f"Authorization: Bearer {server.token('receive')}"]
    writer.write("\r\n".join([*lines, "Want-Repr-Digest: sha-256=1", "", ""]).encode())
    await asyncio.to_thread(feeds.begun.wait, 20)
    if ended == "by the client":
        writer.transport.abort()
    else:
        server.sessions.cancel_all()
    async with asyncio.timeout(60):
        while server.sessions.listing():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    assert feeds.count < 2000
    writer.transport.abort()


async def test_an_empty_file(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/empty").touch()
    async with receiver.get(f"{FILES}/out/empty", headers={"Want-Repr-Digest": "sha-256=1"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert "47DEQpj8HBSa" in answer.headers["Repr-Digest"]


async def test_a_part_of_another_version_is_never_sent(
    server: FarEnd, receiver: aiohttp.ClientSession
) -> None:
    file = server.docroot / "out/x"
    seen = set()
    for content in (b"one..", b"two..", b"three", b"four."):
        before = file.stat() if file.exists() else None
        file.write_bytes(content)  # of one length, and often within one tick of the clock
        if before is not None:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        async with receiver.get(f"{FILES}/out/x") as answer:
            tag = answer.headers["ETag"]
        assert tag not in seen
        for old in seen:
            headers = {"Range": "bytes=2-", "If-Range": old}
            async with receiver.get(f"{FILES}/out/x", headers=headers) as answer:
                assert (answer.status, await answer.read()) == (200, content)
        headers = {"Range": "bytes=2-", "If-Range": tag}
        async with receiver.get(f"{FILES}/out/x", headers=headers) as answer:
            assert (answer.status, await answer.read()) == (206, content[2:])
        seen.add(tag)


async def test_conditions(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/x").write_bytes(b"hello")
    async with receiver.get(f"{FILES}/out/x") as answer:
        tag = answer.headers["ETag"]
    for name, value, status in (
        ("If-None-Match", tag, 304),
        ("If-None-Match", '"other"', 200),
        ("If-Match", tag, 200),
        ("If-Match", '"other"', 412),
    ):
        async with receiver.get(f"{FILES}/out/x", headers={name: value}) as answer:
            assert answer.status == status, name


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("change", ["rewritten", "shortened"])
async def test_a_file_that_changes_on_the_way_is_cut_off(
    tmp_path: Path, encrypted: bool, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    server_tls, client_tls = tls_pair(tmp_path) if encrypted else (None, None)
    async with far_end(tmp_path, tls=server_tls) as server:
        server.account(download_cap_kbps=400_000)
        file = server.docroot / "x"
        file.write_bytes(os.urandom(24_000_000))
        connector = aiohttp.TCPConnector(ssl=client_tls or False)
        async with server.client(server.token("receive"), connector=connector) as receiver:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):  # noqa: PT012 - the read may raise
                async with receiver.get(f"{FILES}/x") as answer:
                    assert answer.status == 200
                    await answer.content.readexactly(1_000_000)
                    with file.open("r+b") as writing:
                        if change == "shortened":
                            writing.truncate(20_000_000)
                        else:
                            writing.seek(23_000_000)
                            writing.write(b"other content")
                    await answer.read()
    assert not faults(caplog)


async def test_a_file_over_https(tmp_path: Path) -> None:
    server_tls, client_tls = tls_pair(tmp_path)
    content = os.urandom(3_000_000)
    async with far_end(tmp_path, tls=server_tls) as server:
        (server.docroot / "x").write_bytes(content)
        connector = aiohttp.TCPConnector(ssl=client_tls)
        async with server.client(server.token("receive"), connector=connector) as receiver:
            async with receiver.get(f"{FILES}/x") as answer:
                assert await answer.read() == content
            async with receiver.get(f"{FILES}/x", headers={"Range": "bytes=-700000"}) as answer:
                assert await answer.read() == content[-700000:]


async def test_names_that_are_not_utf8(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    name = b"caf\xe9 #?%"
    (server.docroot / "out" / os.fsdecode(name)).write_bytes(b"x")
    async with receiver.get(
        aiohttp.client.URL(f"{server.url}{FILES}/out/{quote(name)}", encoded=True)
    ) as answer:
        assert (answer.status, await answer.read()) == (200, b"x")


async def test_what_is_no_file(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/folder").mkdir()
    os.mkfifo(server.docroot / "out/pipe")
    (server.docroot / "out/link").symlink_to("folder")
    for name, status in (("folder", 409), ("pipe", 403), ("link", 404), ("none", 404), ("folder/x", 404)):
        async with receiver.get(f"{FILES}/out/{name}") as answer:
            assert answer.status == status, name
            assert (await answer.json())["error"]["user_message"]


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_client_that_takes_nothing_is_let_go(
    tmp_path: Path, encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server_tls, client_tls = tls_pair(tmp_path) if encrypted else (None, None)
    limits = UploadLimits(idle_s=0.2)
    async with far_end(tmp_path, tls=server_tls, limits=limits) as server:
        with (server.docroot / "x").open("wb") as file:
            file.truncate(200_000_000)
        scheme, host, port = server.url.replace("//", "").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=client_tls, limit=1000)
        token = server.token("receive")
        writer.write(f"GET {FILES}/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(10):
            while server.sessions.listing():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        writer.transport.abort()
        assert scheme == ("https" if encrypted else "http")
    assert not faults(caplog)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_at_a_low_rate_something_comes_all_the_time(tmp_path: Path, encrypted: bool) -> None:
    """Clients take a long silence for a broken line."""
    server_tls, client_tls = tls_pair(tmp_path) if encrypted else (None, None)
    async with far_end(tmp_path, tls=server_tls) as server:
        server.account(download_cap_kbps=800)
        (server.docroot / "x").write_bytes(bytes(300_000))
        async with (
            server.client(server.token("receive")) as client,
            client.get(f"{FILES}/x", ssl=client_tls or False) as answer,
        ):
            came = [time.monotonic() async for _ in answer.content.iter_any()]
    assert came[-1] - came[0] > 1.5
    assert max(after - before for before, after in itertools.pairwise(came)) < 1.5


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.ECONNRESET, errno.EPIPE])
async def test_a_disk_whose_own_connection_broke_is_told_to_the_client_and_logged(
    server: FarEnd,
    receiver: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    def broken(_docroot: Docroot, _path: DocPath) -> int:
        raise OSError(number, os.strerror(number))  # as FUSE does when its program dies

    monkeypatch.setattr(Docroot, "open_read", broken)
    async with receiver.get("/fallback/v1/files/out/x") as answer:
        assert answer.status == 500
    assert [record.getMessage().split()[0] for record in faults(caplog)] == ["incident"]
