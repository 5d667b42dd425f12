"""Lists of folders, and folders made."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from connect_helper.server.http import manifest
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot
from tests.support.http_far_end import FarEnd, far_end

MANIFEST = "/fallback/v1/manifest"
FOLDERS = "/fallback/v1/folders"


async def lines_of(client: aiohttp.ClientSession, path: str) -> list[dict[str, Any]]:
    async with client.get(f"{MANIFEST}?path={quote(path)}") as answer:
        assert answer.status == 200, await answer.text()
        return [json.loads(line) async for line in answer.content]


async def test_everything_below_a_folder(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    out = server.docroot / "out"
    (out / "a/empty").mkdir(parents=True)
    (out / "a/x").write_bytes(b"12345")
    (out / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    (out / "a b+c").touch()
    (out / "link").symlink_to("a/x")
    os.mkfifo(out / "pipe")
    *lines, end = await lines_of(receiver, "out")
    assert end == {"end": True, "files": 3, "bytes": 6, "directories": 2, "skipped": 2}
    by_name = {line.get("path", line.get("path_base64")): line for line in lines}
    assert set(by_name) == {"a", "a/empty", "a/x", "a b+c", base64.b64encode(b"caf\xe9").decode()}
    assert by_name["a"]["type"] == by_name["a/empty"]["type"] == "directory"
    told = by_name["a/x"]
    assert (told["type"], told["size"]) == ("file", 5)
    assert told["mtime_ns"] == (out / "a/x").stat().st_mtime_ns
    async with receiver.head("/fallback/v1/files/out/a/x") as answer:
        assert answer.headers["ETag"] == told["etag"]


async def test_one_file_is_a_list_too(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    (server.docroot / "out/x").write_bytes(b"12345")
    first, end = await lines_of(receiver, "/out/x")
    assert (first["path"], first["size"], end["files"]) == ("", 5, 1)


async def test_a_folder_too_deep_for_a_path_spoils_the_rest_of_no_list(
    server: FarEnd, receiver: aiohttp.ClientSession
) -> None:
    (server.docroot / "out/x").write_bytes(b"12345")
    folder = os.open(server.docroot / "out", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    *lines, end = await lines_of(receiver, "out")
    assert (end["end"], end["files"]) == (True, 1)
    (left_out,) = [line for line in lines if line["type"] == "unreadable"]
    assert left_out["path"].count("/") > 200


async def test_more_lines_than_a_batch(server: FarEnd, receiver: aiohttp.ClientSession) -> None:
    for number in range(1203):
        (server.docroot / f"out/{number}").touch()
    *lines, end = await lines_of(receiver, "out")
    assert {line["path"] for line in lines} == {str(number) for number in range(1203)}
    assert end["files"] == 1203


async def test_lists_are_made_a_few_at_a_time_for_the_same_token(
    server: FarEnd, receiver: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, at_work = threading.Event(), list[Iterator[manifest.Line]]()
    batch = manifest._batch

    def slow(lines: Iterator[manifest.Line]) -> bytes:
        at_work.append(lines)
        may_go_on.wait(30)
        return batch(lines)

    async def until_at_work(count: int) -> None:
        async with asyncio.timeout(20):
            while len(at_work) < count:  # noqa: ASYNC110 - as the threads get to it
                await asyncio.sleep(0.02)

    monkeypatch.setattr(manifest, "_batch", slow)
    try:
        async with server.client(server.token("receive", "out")) as other:
            many = [asyncio.create_task(lines_of(receiver, "out")) for _ in range(5 * manifest.AT_ONCE)]
            await until_at_work(manifest.AT_ONCE)
            await asyncio.sleep(0.3)
            assert len(at_work) == manifest.AT_ONCE
            many.append(asyncio.create_task(lines_of(other, "out")))
            await until_at_work(manifest.AT_ONCE + 1)
            may_go_on.set()
            for lines in await asyncio.gather(*many):
                assert lines[-1]["end"] is True
    finally:
        may_go_on.set()


async def test_who_takes_nothing_of_a_list_is_let_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with far_end(tmp_path, limits=UploadLimits(idle_s=0.2)) as server:
        folder = server.docroot / "/".join(["n" * 250] * 4)
        folder.mkdir(parents=True)
        for number in range(8000):  # more than the system keeps for a client that reads nothing
            (folder / str(number)).touch()
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1000)
        token = server.token("receive")
        writer.write(
            f"GET {MANIFEST}?path= HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(20):
            while server.sessions.listing():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        writer.transport.abort()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_token_sees_its_paths_and_the_way_to_them(server: FarEnd) -> None:
    for name in ("a/b/c/one", "a/b/two", "a/three", "four"):
        (server.docroot / name).parent.mkdir(parents=True, exist_ok=True)
        (server.docroot / name).touch()
    async with server.client(server.token("receive", "a/b/c", "four")) as receiver:
        *lines, end = await lines_of(receiver, "")
        assert {line["path"] for line in lines} == {"a", "a/b", "a/b/c", "a/b/c/one", "four"}
        assert end["skipped"] == 0  # what does not exist for it is not counted either
        for hidden in ("a/three", "a/b/two", "none", "bob"):
            async with receiver.get(f"{MANIFEST}?path={hidden}") as answer:
                assert answer.status == 404, hidden


@pytest.mark.parametrize("download", ["deny", "token"])
async def test_who_may_fetch_nothing_gets_no_list_that_looks_empty(server: FarEnd, download: str) -> None:
    (server.docroot / "out").mkdir()
    (server.docroot / "out/x").touch()
    server.account(download=download)
    async with server.client(server.token("send", "out")) as sender:
        async with sender.get(f"{MANIFEST}?path=out") as answer:
            assert (answer.status, (await answer.json())["error"]["reason"]) == (403, "denied")
        assert (await lines_of(sender, "out/x"))[0]["type"] == "file"  # what is in its way is told


async def test_the_address_must_say_which_folder(receiver: aiohttp.ClientSession) -> None:
    async with receiver.get(MANIFEST) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
async def test_a_folder_is_made_also_where_the_disk_keeps_no_time_of_it(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def utime(docroot: Docroot, path: DocPath, atime_ns: int, mtime_ns: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Docroot, "utime", utime)
    for status in (201, 200):
        body = {"path": "a", "mtime_ns": 1_600_000_000_000_000_000}
        async with sender.post(FOLDERS, json=body) as answer:
            assert answer.status == status
            assert (await answer.json())["mtime_ns"] is None


async def test_empty_folders_are_made(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    body = {"path": "a/b", "mtime_ns": 1_600_000_000_000_000_000}
    for status in (201, 200):
        async with sender.post(FOLDERS, json=body) as answer:
            assert answer.status == status
            told = await answer.json()
            assert (told["created"], told["mtime_ns"]) == (status == 201, body["mtime_ns"])
    assert server.names() == ["in/", "in/a/", "in/a/b/"]
    assert (server.docroot / "in/a/b").stat().st_mtime_ns == body["mtime_ns"]
    raw = base64.b64encode(b"caf\xe9").decode()
    async with sender.post(FOLDERS, json={"path_base64": raw}) as answer:
        assert answer.status == 201
    assert (server.docroot / "in" / os.fsdecode(b"caf\xe9")).is_dir()


@pytest.mark.parametrize("overwrite", ["allow", "deny"])
async def test_a_folder_that_is_there_gets_its_time_where_it_may_be_changed(
    server: FarEnd, sender: aiohttp.ClientSession, overwrite: str
) -> None:
    """At the end of a transfer: each file that was made in it has changed the time."""
    (server.docroot / "in/a/b").mkdir(parents=True)
    server.account(overwrite=overwrite)
    body = {"path": "a", "mtime_ns": 1_600_000_000_000_000_000}
    async with sender.post(FOLDERS, json=body) as answer:
        assert answer.status == 200
        kept = (await answer.json()).get("mtime_ns") == body["mtime_ns"]
    changed = (server.docroot / "in/a").stat().st_mtime_ns == body["mtime_ns"]
    assert kept is changed is (overwrite == "allow")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"path": "a", "path": "b"}', 400),
        (b'{"path": "a", "path_base64": "YQ=="}', 400),
        (b'{"path": 5}', 400),
        (b'{"path": "a", "mtime_ns": NaN}', 400),
        (b'{"path": "\\ud800"}', 400),
        (b'{"path": "a\\u0000"}', 400),
        (b'{"path_base64": "!"}', 400),
        (b"[" * 60_000, 400),
        (b'{"path": "../x"}', 404),
        (b'{"path": "../../x"}', 400),
        (b'{"path": "file"}', 404),
        (b" " * 60_000 + b"0" * 10_000, 413),
    ],
)
async def test_folders_that_cannot_be(
    server: FarEnd, sender: aiohttp.ClientSession, body: bytes, status: int
) -> None:
    (server.docroot / "in").mkdir()
    (server.docroot / "in/file").touch()
    async with sender.post(FOLDERS, data=BytesIO(body)) as answer:
        assert answer.status == status, await answer.text()
    assert server.names() == ["in/", "in/file"]


async def test_the_longest_path_fits_however_it_is_written(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    path = "/".join(["n" * 250] * 15)
    body = b'{"path": "' + "".join(f"\\u{ord(one):04x}" for one in path).encode() + b'"}'
    async with sender.post(FOLDERS, data=BytesIO(body)) as answer:
        assert answer.status == 201, await answer.text()
    assert (server.docroot / "in" / path).is_dir()


async def test_who_may_send_nothing_is_refused_before_the_body_is_read(
    receiver: aiohttp.ClientSession,
) -> None:
    for body in (b"{", b" " * 100_000):
        async with receiver.post(FOLDERS, data=BytesIO(body)) as answer:
            assert answer.status == 404


async def test_what_is_wrong_with_a_body_is_said(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    for body, said in ((b'{"path": }', "line 1, column 10"), (b'{"path": "a", "path": "b"}', "'path' twice")):
        async with sender.post(FOLDERS, data=BytesIO(body)) as answer:
            assert answer.status == 400
            assert said in (await answer.json())["error"]["user_message"]
