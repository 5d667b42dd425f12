"""The server is killed while it receives; the next one goes on, and no half file ever has its name."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from tests.support.http_far_end import TUS, FarEnd, begin, far_end, metadata, offset_of, send

SERVE = """
import asyncio, sys
from collections.abc import AsyncIterator
from pathlib import Path
from tests.support.http_far_end import far_end

async def main():
    async with far_end(Path(sys.argv[1])) as server:
        print(server.url, server.token("send"), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
DIES_AFTER_PUBLISHING = """
import os, signal
from connect_helper.server.http import upload_endings

published = upload_endings.publish_upload

def publish_and_die(*arguments):
    published(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

upload_endings.publish_upload = publish_and_die
"""


@pytest.mark.parametrize("after", [1_000_000, 3_000_000])
async def test_killed_in_mid_upload(tmp_path: Path, after: int) -> None:
    content = os.urandom(4_000_000)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url, token = (await process.stdout.readline()).decode().split()

    async def until_killed() -> AsyncIterator[bytes]:
        for at in range(500_000, after, 100_000):
            yield content[at : at + 100_000]
        process.send_signal(signal.SIGKILL)
        await process.wait()
        yield content[after:]

    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=headers) as sender:
        upload = await begin(sender, "x", len(content), {"Upload-Metadata": metadata(path="x")})
        assert (await send(sender, upload, 0, content[:500_000])).status == 204
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(sender, upload, 500_000, until_killed(), {"Content-Length": "3500000"})
    assert await process.wait() == -signal.SIGKILL
    assert not (tmp_path / "ann/x").exists()
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        await _go_on(server, sender, upload, content)


@asynccontextmanager
async def one_that_dies_publishing(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server that is killed as soon as a file has its name, before it is noted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES_AFTER_PUBLISHING + SERVE, folder, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url, token = (await process.stdout.readline()).decode().split()
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as sender:
        yield sender
    assert await process.wait() == -signal.SIGKILL


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("asks_first", [True, False])
async def test_killed_between_the_name_and_the_note_of_it(tmp_path: Path, asks_first: bool) -> None:
    content = os.urandom(1_000_000)
    async with one_that_dies_publishing(tmp_path) as sender:
        said = metadata(path="x", sha256=digest_of(content))
        upload = await begin(sender, "x", len(content), {"Upload-Metadata": said})
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(sender, upload, 0, content)
    assert (tmp_path / "ann/x").read_bytes() == content
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        if asks_first:
            assert await offset_of(sender, upload) == len(content)
        assert (await send(sender, upload, len(content), b"")).status == 204
        assert server.names() == ["x"]


@pytest.mark.parametrize("amount", [1, 3])
async def test_killed_between_the_name_of_joined_parts_and_the_note_of_it(
    tmp_path: Path, amount: int
) -> None:
    cuts = [os.urandom(100_000) for _ in range(amount)]
    whole = {"path": "x", "sha256": digest_of(b"".join(cuts))}
    async with one_that_dies_publishing(tmp_path) as sender:
        parts = [await begin(sender, "x", len(cut), {"Upload-Concat": "partial"}) for cut in cuts]
        for part, cut in zip(parts, cuts, strict=True):
            assert (await send(sender, part, 0, cut)).status == 204
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await join(sender, parts, whole)
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        for _ in range(2):  # the answer may be lost again
            assert (await join(sender, parts, whole)).status == 201
        assert (server.docroot / "x").read_bytes() == b"".join(cuts)
        assert server.names() == ["x"]


async def test_another_file_under_the_name_is_not_taken_for_the_upload(tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    async with one_that_dies_publishing(tmp_path) as sender:
        upload = await begin(sender, "x", len(content))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(sender, upload, 0, content)
    (tmp_path / "ann/another").write_bytes(os.urandom(1_000_000))
    (tmp_path / "ann/another").replace(tmp_path / "ann/x")
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        for _ in range(2):
            answer = await send(sender, upload, len(content), b"")
            assert answer.status == 404
            assert (await answer.json())["error"]["reason"] == "no_such_upload"


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
async def test_the_list_of_an_earlier_version_is_gone_on_with(tmp_path: Path, version: int) -> None:
    newer = ("inode", "identity", "fresh", "token", "algorithm")[
        version - 1 :
    ]  # columns, each of the version after
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", 4)
        assert (await send(sender, upload, 0, b"ab")).status == 204
    (file,) = [each for each in (tmp_path / "state").iterdir() if each.name.startswith("uploads")]
    with closing(sqlite3.connect(file)) as database:
        for column in newer:
            database.execute(f"ALTER TABLE uploads DROP COLUMN {column}")
        database.execute("ALTER TABLE uploads RENAME COLUMN expected TO sha256")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        assert (await send(sender, upload, 2, b"c")).status == 204
        assert (await send(sender, upload, 3, b"d")).status == 204
        assert (server.docroot / "x").read_bytes() == b"abcd"


async def join(
    sender: aiohttp.ClientSession, parts: list[str], values: dict[str, str]
) -> aiohttp.ClientResponse:
    """Have parts joined to a file that must not be there yet."""
    headers = {
        **TUS,
        "Upload-Concat": "final;" + " ".join(parts),
        "Upload-Metadata": metadata(**values),
        "If-None-Match": "*",
    }
    async with sender.post("/fallback/v1/uploads", headers=headers) as answer:
        await answer.read()
        return answer


async def _go_on(server: FarEnd, sender: aiohttp.ClientSession, upload: str, content: bytes) -> None:
    offset = await offset_of(sender, upload)
    assert 500_000 <= offset < len(content)
    assert (await send(sender, upload, offset, content[offset:])).status == 204
    assert (server.docroot / "x").read_bytes() == content
    assert server.names() == ["x"]
