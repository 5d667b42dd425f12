"""Uploads by tus: what arrives, under which name, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from connect_helper.server.access import Access
from connect_helper.server.http.upload_limits import UploadLimits
from tests.support.http_far_end import (
    STREAM,
    TUS,
    FarEnd,
    begin,
    far_end,
    metadata,
    offset_of,
    send,
)

UPLOADS = "/fallback/v1/uploads"


async def until_received(server: FarEnd, amount: int) -> None:
    """Wait until that many bytes have come in, in a request that goes on."""
    async with asyncio.timeout(5):
        while sum(session.bytes_in for session in server.sessions.listing()) < amount:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_file_arrives_whole_under_its_name(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    content = os.urandom(3_000_000)
    upload = await begin(sender, "deep/er/film.bin", len(content))
    assert (await send(sender, upload, 0, content[:1_000_000])).status == 204
    assert not (server.docroot / "in/deep/er/film.bin").exists()
    assert await offset_of(sender, upload) == 1_000_000
    answer = await send(sender, upload, 1_000_000, content[1_000_000:])
    assert answer.headers["Upload-Offset"] == "3000000"
    assert (server.docroot / "in/deep/er/film.bin").read_bytes() == content
    assert server.names() == ["in/", "in/deep/", "in/deep/er/", "in/deep/er/film.bin"]


async def test_an_empty_file_is_there_at_once(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "empty", 0)
    assert (server.docroot / "in/empty").read_bytes() == b""
    assert await offset_of(sender, upload) == 0


async def test_a_file_that_came_meanwhile_is_not_replaced_by_one_that_had_to_be_new(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    """Said once, at the creation, it holds for the upload, over later requests too."""
    fresh = {"If-None-Match": "*"}
    upload, other = await begin(sender, "x", 3, fresh), await begin(sender, "y", 3, fresh)
    assert (await send(sender, upload, 0, b"ab")).status == 204
    (server.docroot / "in/x").write_bytes(b"somebody else's")
    answer = await send(sender, upload, 2, b"c")
    assert answer.status == 403
    assert (server.docroot / "in/x").read_bytes() == b"somebody else's"
    assert (await send(sender, other, 0, b"abc")).status == 204
    assert server.names() == ["in/", "in/x", "in/y"]
    headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path="x"), **fresh}
    async with sender.post(UPLOADS, headers=headers) as refused:
        assert refused.status == 403  # before any byte is sent
    assert (await send(sender, await begin(sender, "x", 3), 0, b"abc")).status == 204  # replaced as ever


async def test_the_first_bytes_may_come_with_the_creation(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    headers = {**STREAM, "Upload-Length": "5", "Upload-Metadata": metadata(filename="a b")}
    async with sender.post(UPLOADS, data=b"hello", headers=headers) as answer:
        assert answer.status == 201
        assert answer.headers["Upload-Offset"] == "5"
    assert (server.docroot / "in/a b").read_bytes() == b"hello"


async def test_length_said_later(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    headers = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata(path="x")}
    async with sender.post(UPLOADS, headers=headers) as answer:
        upload = answer.headers["Location"]
    assert (await send(sender, upload, 0, b"abc")).status == 204
    async with sender.head(upload, headers=TUS) as answer:
        assert answer.headers["Upload-Defer-Length"] == "1"
    assert (await send(sender, upload, 3, b"de", {"Upload-Length": "5"})).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcde"


async def test_time_and_digest_are_kept_and_told(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    content = os.urandom(100_000)
    digest = hashlib.sha256(content)
    upload = await begin(
        sender,
        "x",
        len(content),
        {
            "Upload-Metadata": metadata(path="x", mtime="1600000000.5", sha256=digest.hexdigest()),
            "Want-Repr-Digest": "sha-256=1",
        },
    )
    await send(sender, upload, 0, content[:70_000])
    answer = await send(sender, upload, 70_000, content[70_000:])
    told = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["Repr-Digest"] == told
    async with sender.head(upload, headers=TUS) as again:
        assert again.headers["Repr-Digest"] == told
    assert (server.docroot / "in/x").stat().st_mtime_ns == 1_600_000_000_500_000_000


async def test_content_that_is_not_what_was_promised_gets_no_name(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    promised = hashlib.sha256(b"other").hexdigest()
    upload = await begin(sender, "x", 5, {"Upload-Metadata": metadata(path="x", sha256=promised)})
    assert (await send(sender, upload, 0, b"hello")).status == 460
    assert server.names() == ["in/"]
    async with sender.head(upload, headers=TUS) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_damaged_piece_is_not_kept(
    server: FarEnd, sender: aiohttp.ClientSession, algorithm: str
) -> None:
    upload = await begin(sender, "x", 6)
    good = base64.b64encode(hashlib.new(algorithm, b"abc").digest()).decode()
    assert (await send(sender, upload, 0, b"abX", {"Upload-Checksum": f"{algorithm} {good}"})).status == 460
    assert await offset_of(sender, upload) == 0
    assert (await send(sender, upload, 0, b"abc", {"Upload-Checksum": f"{algorithm} {good}"})).status == 204
    assert (await send(sender, upload, 3, b"def")).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcdef"


@pytest.mark.parametrize(
    "checksum", ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 !!", "sha1 AAAA", "sha256", "sha1"]
)
async def test_checksums_that_cannot_be_checked_are_refused(
    sender: aiohttp.ClientSession, checksum: str
) -> None:
    upload = await begin(sender, "x", 6)
    assert (await send(sender, upload, 0, b"abc", {"Upload-Checksum": checksum})).status == 400
    assert await offset_of(sender, upload) == 0


async def test_another_offset_is_refused_with_the_right_one(sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 10)
    await send(sender, upload, 0, b"abcd")
    for wrong in (0, 3, 5):
        answer = await send(sender, upload, wrong, b"zz")
        assert answer.status == 409
        assert answer.headers["Upload-Offset"] == "4"


async def test_more_bytes_than_promised_are_refused(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 4)
    assert (await send(sender, upload, 0, b"abcde")).status == 413

    async def unannounced() -> AsyncIterator[bytes]:
        yield b"abcd"
        yield b"e" * 100_000

    assert (await send(sender, upload, 0, unannounced())).status == 413
    assert await offset_of(sender, upload) == 0
    assert (await send(sender, upload, 0, b"abcd")).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcd"


async def test_a_line_that_breaks_leaves_what_came(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    content = os.urandom(4_000_000)
    upload = await begin(sender, "x", len(content))

    async def breaking() -> AsyncIterator[bytes]:
        yield content[:2_500_000]
        raise ConnectionAbortedError

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await send(sender, upload, 0, breaking(), {"Content-Length": str(len(content))})
    came = await offset_of(sender, upload)
    assert 0 < came <= 2_500_000
    assert (await send(sender, upload, came, content[came:])).status == 204
    assert (server.docroot / "in/x").read_bytes() == content


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("nothing", ("failed", 0, 1)),
        ("sends the rest", ("completed", 1, 0)),
        ("drops it", ("completed", 0, 0)),
    ],
)
async def test_a_session_is_judged_by_what_became_of_the_upload_that_broke_off(
    server: FarEnd, sender: aiohttp.ClientSession, then: str, expected: tuple[str, int, int]
) -> None:
    account = server.accounts.get("ann")
    assert account is not None
    token = server.admission.keyring.open(sender.headers["Authorization"].split()[1])
    with server.sessions.join(Access(account, token), "http", "127.0.0.1"):  # it goes on meanwhile
        upload = await begin(sender, "x", 1_000_000)

        async def breaking() -> AsyncIterator[bytes]:
            yield bytes(300_000)
            await until_received(server, 300_000)
            raise ConnectionResetError

        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await sender.patch(upload, data=breaking(), headers={**STREAM, "Upload-Offset": "0"})
        if then == "sends the rest":
            offset = await offset_of(sender, upload)
            assert (await send(sender, upload, offset, bytes(1_000_000 - offset))).status == 204
        elif then == "drops it":
            await offset_of(sender, upload)  # waits for the request before
            async with sender.delete(upload, headers=TUS) as answer:
                assert answer.status == 204
        else:
            await offset_of(sender, upload)
    async with asyncio.timeout(10):
        while server.sessions.listing():  # noqa: ASYNC110 - the sessions tell nobody
            await asyncio.sleep(0.01)
    (ended,) = server.sessions.history()
    assert (ended.status, ended.files_in, ended.files_failed) == expected


async def test_a_new_request_takes_over_from_a_stuck_one(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    upload = await begin(sender, "x", 10)
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"abcd"
        await never.wait()

    first = asyncio.create_task(send(sender, upload, 0, stuck(), {"Content-Length": "10"}), name="stuck")
    await until_received(server, 4)
    assert await offset_of(sender, upload) == 4
    never.set()
    with suppress(aiohttp.ClientError, ConnectionError):  # unless the refusal comes before the line ends
        assert (await first).status == 423
    assert (await send(sender, upload, 4, b"efghij")).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcdefghij"


async def test_a_body_that_stalls_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    limits = UploadLimits(idle_s=0.2, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", 10)

        async def stalling() -> object:
            yield b"abc"
            await asyncio.sleep(5)

        answer = await send(sender, upload, 0, stalling(), {"Content-Length": "10"})
        assert answer.status == 408
        assert await offset_of(sender, upload) == 3


async def test_uploads_survive_the_server(tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", len(content), {"Want-Repr-Digest": "sha-256=1"})
        await send(sender, upload, 0, content[:1_200_000])
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        assert await offset_of(sender, upload) == 1_200_000
        answer = await send(sender, upload, 1_200_000, content[1_200_000:])
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
        assert (server.docroot / "x").read_bytes() == content


async def test_a_file_there_already_is_replaced_whole_or_not_at_all(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    target = server.docroot / "in/x"
    target.parent.mkdir()
    target.write_bytes(b"old")
    upload = await begin(sender, "x", 6)
    await send(sender, upload, 0, b"new")
    assert target.read_bytes() == b"old"
    await send(sender, upload, 3, b"new")
    assert target.read_bytes() == b"newnew"
    late = await begin(sender, "y", 3)
    server.account(overwrite="deny")
    async with sender.post(
        UPLOADS, headers={**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path="x")}
    ) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["reason"] == "already_exists"
    (server.docroot / "in/y").write_bytes(b"quicker")
    assert (await send(sender, late, 0, b"abc")).status == 403
    assert (server.docroot / "in/y").read_bytes() == b"quicker"
    assert server.names() == ["in/", "in/x", "in/y"]


async def test_a_folder_is_never_replaced(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    (server.docroot / "in/x/inside").mkdir(parents=True)
    headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path="x")}
    async with sender.post(UPLOADS, headers=headers) as answer:
        assert answer.status == 403
    assert server.names() == ["in/", "in/x/", "in/x/inside/"]


async def test_giving_up_removes_what_came(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 10)
    await send(sender, upload, 0, b"abcd")
    async with sender.delete(upload, headers=TUS) as answer:
        assert answer.status == 204
    assert server.names() == ["in/"]
    for answer in (await send(sender, upload, 4, b"e"), await sender.delete(upload, headers=TUS)):
        assert answer.status == 404


async def test_two_uploads_to_one_name_do_not_mix(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    first, second = [await begin(sender, "x", 6) for _ in range(2)]
    await send(sender, first, 0, b"aaa")
    await send(sender, second, 0, b"bbbbbb")
    assert (server.docroot / "in/x").read_bytes() == b"bbbbbb"
    await send(sender, first, 3, b"aaa")
    assert (server.docroot / "in/x").read_bytes() == b"aaaaaa"


async def test_an_upload_shortened_behind_our_back_goes_on_from_what_is_left(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    upload = await begin(sender, "x", 10)
    await send(sender, upload, 0, b"abcdef")
    (partial,) = (server.docroot / "in").iterdir()
    os.truncate(partial, 2)
    answer = await send(sender, upload, 6, b"ghij")
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "2")
    assert (await send(sender, upload, 2, b"cdefghij")).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcdefghij"


async def test_a_file_under_way_is_told_while_its_bytes_come(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    upload = await begin(sender, "x", 6)
    told: list[tuple[bytes, ...]] = []

    async def watched() -> AsyncIterator[bytes]:
        yield b"abc"
        async with asyncio.timeout(30):
            while not told:
                for running in server.sessions.listing():  # none yet, where the server is slow to begin
                    told.extend(file.path for file in running.under_way)
                await asyncio.sleep(0.01)
        yield b"def"

    assert (await send(sender, upload, 0, watched(), {"Content-Length": "6"})).status == 204
    assert told == [(b"in", b"x")]
    (session,) = server.sessions.listing()
    assert (session.under_way, session.files_in) == ((), 1)
