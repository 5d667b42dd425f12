"""The digests of a file's blocks: right, of one version, and only for who may read the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import xxhash
from yarl import URL

from connect_helper.server.http import digests
from tests.support.http_far_end import FarEnd

BLOCKS = "/fallback/v1/blocks"
BLOCK = 8 * 1024 * 1024


def of_blocks(content: bytes) -> list[str]:
    return [xxhash.xxh3_128(content[at : at + BLOCK]).hexdigest() for at in range(0, len(content), BLOCK)]


@pytest.fixture
def film(server: FarEnd, receiver: aiohttp.ClientSession) -> Path:
    """A file of three blocks, the last one short, in the folder that the receiver may read."""
    path = server.docroot / "out/a b.bin"
    path.write_bytes(os.urandom(2 * BLOCK + 1000))
    return path


@pytest.mark.parametrize(
    ("start", "length"), [(0, 2 * BLOCK + 1000), (0, 1), (0, BLOCK), (BLOCK, BLOCK + 7), (2 * BLOCK, 1000)]
)
async def test_each_block_of_the_part_is_told(
    film: Path, receiver: aiohttp.ClientSession, start: int, length: int
) -> None:
    query = f"?start={start}&length={length}"
    async with receiver.get(f"{BLOCKS}/out/a%20b.bin{query}") as answer:
        assert answer.status == 200
        told = await answer.json()
    expected = of_blocks(film.read_bytes()[start : start + length])
    assert told == {"algorithm": "xxh128", "block": BLOCK, "digests": expected}


async def test_the_name_may_be_of_two_lines(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/a\nb").write_bytes(b"hello")
    async with receiver.get(URL(f"{BLOCKS}/out/a%0Ab?start=0&length=5", encoded=True)) as answer:
        assert answer.status == 200
        assert (await answer.json())["digests"] == of_blocks(b"hello")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?start=0", 400),
        ("?length=1", 400),
        ("?start=-8388608&length=1", 400),
        ("?start=x&length=1", 400),
        ("?start=1&length=1", 400),
        ("?start=0&length=0", 400),
        (f"?start=0&length={8 * BLOCK + 1}", 400),
        (f"?start=0&length={2 * BLOCK + 1001}", 416),
        (f"?start={3 * BLOCK}&length=1", 416),
    ],
)
async def test_a_part_that_cannot_be_is_refused_with_a_sentence(
    film: Path, receiver: aiohttp.ClientSession, query: str, status: int
) -> None:
    async with receiver.get(f"{BLOCKS}/out/a%20b.bin{query}") as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["user_message"].endswith(".")
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{2 * BLOCK + 1000}"


async def test_another_version_is_told_of(film: Path, receiver: aiohttp.ClientSession) -> None:
    address = f"{BLOCKS}/out/a%20b.bin?start=0&length=1000"
    async with receiver.head("/fallback/v1/files/out/a%20b.bin") as answer:
        tag = answer.headers["ETag"]
    for if_match, status in ((tag, 200), ('"other"', 412)):
        async with receiver.get(address, headers={"If-Match": if_match}) as answer:
            assert answer.status == status
            assert answer.headers["ETag"] == tag
    film.write_bytes(os.urandom(2 * BLOCK + 1000))
    async with receiver.get(address, headers={"If-Match": tag}) as answer:
        assert (answer.status, (await answer.json())["error"]["reason"]) == (412, "changed")


async def test_a_file_that_changes_while_it_is_hashed_is_another_version(
    film: Path, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def feed(*given: Any) -> None:
        real(*given)
        with film.open("r+b") as file:
            file.write(b"other content")

    real = digests._feed
    monkeypatch.setattr(digests, "_feed", feed)
    async with receiver.get(f"{BLOCKS}/out/a%20b.bin?start=0&length=1000") as answer:
        assert (answer.status, (await answer.json())["error"]["reason"]) == (412, "changed")


async def test_what_a_token_does_not_open_is_not_there(server: FarEnd, film: Path) -> None:
    query = "?start=0&length=1"
    (server.docroot / "other").write_bytes(b"x")
    (server.docroot / "out/link").symlink_to("../other")
    for token, path in (
        (server.token("receive", "out"), "other"),
        (server.token("receive", "out"), "out/link"),
        (server.token("receive", "out"), "out/none"),
        (server.token("send", "out"), "out/a%20b.bin"),
    ):
        async with server.client(token) as client, client.get(f"{BLOCKS}/{path}{query}") as answer:
            assert (answer.status, (await answer.json())["error"]["reason"]) == (404, "not_found"), path
    async with server.client(None) as client:
        async with client.get(f"{BLOCKS}/out/a%20b.bin{query}") as answer:
            assert answer.status == 401
        async with client.options(f"{BLOCKS}/out/a%20b.bin{query}") as answer:
            assert answer.status == 204
            assert "If-Match" in answer.headers["Access-Control-Allow-Headers"]
