"""What links mean over HTTP, line by line as docs/http-fallback.md says it."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from tests.support.far_server import HASH
from tests.support.http_far_end import STREAM, FarEnd, metadata
from tests.support.server_parts import PASSWORD

FILES, UPLOADS = "/fallback/v1/files", "/fallback/v1/uploads"


@pytest.fixture
def outside(server: FarEnd, tmp_path: Path) -> Path:
    """A docroot with links inside and out; returns the folder outside."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(b"outside")
    (server.docroot / "real").mkdir()
    (server.docroot / "real" / "file").write_bytes(b"inside")
    (server.docroot / "to-file").symlink_to("real/file")
    (server.docroot / "to-folder").symlink_to("real")
    (server.docroot / "to-outside").symlink_to(folder / "file")
    (server.docroot / "to-nowhere").symlink_to("gone")
    return folder


async def got(client: aiohttp.ClientSession, path: str) -> tuple[int, bytes]:
    async with client.get(f"{FILES}/{path}") as answer:
        return answer.status, await answer.read()


async def listed(client: aiohttp.ClientSession) -> tuple[set[str], int]:
    """The names of the list, and how many it left out."""
    async with client.get("/fallback/v1/manifest?path=") as answer:
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert lines[-1]["end"] is True
    return {line["path"] for line in lines[:-1]}, lines[-1]["skipped"]


async def sent(client: aiohttp.ClientSession, path: str) -> int:
    headers = {**STREAM, "Upload-Length": "3", "Upload-Metadata": metadata(path=path)}
    async with client.post(UPLOADS, data=b"new", headers=headers) as answer:
        return answer.status


async def test_for_a_token_there_are_no_links(server: FarEnd, outside: Path) -> None:
    async with server.client(server.token("receive", "")) as client:
        assert await listed(client) == ({"real", "real/file"}, 4)
        for path in ("to-file", "to-folder/file", "to-outside", "to-nowhere"):
            assert (await got(client, path))[0] in (403, 404), path
    async with server.client(server.token("send", "")) as client:
        assert await sent(client, "to-folder/new") in (403, 404, 409)
        assert await sent(client, "to-outside") == 201
    assert sorted(path.name for path in (server.docroot / "real").iterdir()) == ["file"]
    assert not (server.docroot / "to-outside").is_symlink()
    assert (outside / "file").read_bytes() == b"outside"


async def test_an_account_that_is_kept_from_links_finds_none(server: FarEnd, outside: Path) -> None:
    server.account(password_hash=SecretStr(HASH), follow_links=False)
    login = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with aiohttp.ClientSession(server.url, headers=login) as client:
        assert await listed(client) == ({"real", "real/file"}, 4)
        for path in ("to-file", "to-folder/file", "to-outside", "to-nowhere"):
            assert (await got(client, path))[0] in (403, 404), path
        assert await sent(client, "to-folder/new") in (403, 404, 409)


async def test_an_account_follows_those_that_stay_inside(server: FarEnd, outside: Path) -> None:
    server.account(password_hash=SecretStr(HASH))
    login = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with aiohttp.ClientSession(server.url, headers=login) as client:
        names, skipped = await listed(client)
        assert names == {"real", "real/file", "to-file"}
        assert skipped == 3
        assert await got(client, "to-file") == (200, b"inside")
        assert await got(client, "to-folder/file") == (200, b"inside")
        for path in ("to-outside", "to-nowhere"):
            assert (await got(client, path))[0] in (403, 404), path
        assert await sent(client, "to-folder/new") == 201
        assert await sent(client, "to-outside") == 201
    assert (server.docroot / "real" / "new").read_bytes() == b"new"
    assert not (server.docroot / "to-outside").is_symlink()
    assert (outside / "file").read_bytes() == b"outside"
