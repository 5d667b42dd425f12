"""An upload writes to the file it made itself: nothing else that has that name by now is written to."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from connect_helper.server.http import upload_files
from connect_helper.storage.kernel import identity_of
from tests.support.far_server import HASH
from tests.support.http_far_end import TUS, FarEnd, begin, metadata, send
from tests.support.server_parts import PASSWORD

UPLOADS = "/fallback/v1/uploads"
PRECIOUS = b"precious" * 10


@pytest.fixture
async def keeper(server: FarEnd) -> AsyncIterator[aiohttp.ClientSession]:
    """An account without a token that may replace and remove nothing; `victim` is there already."""
    server.account(password_hash=SecretStr(HASH), overwrite="deny", may_delete=False)
    (server.docroot / "victim").write_bytes(PRECIOUS)
    os.utime(server.docroot / "victim", (1, 1))
    login = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with aiohttp.ClientSession(server.url, headers=login) as client:
        yield client


def put_link(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("victim")


def put_hard_link(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.hardlink_to(file.parent / "victim")


PUT = pytest.mark.parametrize("put", [put_link, put_hard_link])


def unfinished(server: FarEnd, upload: str, name: str = "t") -> Path:
    """Where the bytes of an upload gather: who knows its address can tell."""
    return server.docroot / f"{name}.{upload.rpartition('/')[2][:16]}.partial"


def assert_untouched(server: FarEnd) -> None:
    victim = server.docroot / "victim"
    assert victim.read_bytes() == PRECIOUS
    assert victim.stat().st_mtime == 1


@PUT
async def test_a_link_that_waits_for_the_first_bytes_leads_nowhere(
    server: FarEnd, keeper: aiohttp.ClientSession, put: Callable[[Path], None]
) -> None:
    upload = await begin(keeper, "t", 3)
    put(unfinished(server, upload))
    assert (await send(keeper, upload, 0, b"XY")).status == 204
    assert_untouched(server)
    assert (await send(keeper, upload, 2, b"Z")).status == 204
    assert_untouched(server)
    assert (server.docroot / "t").read_bytes() == b"XYZ"
    assert not (server.docroot / "t").is_symlink()


@PUT
async def test_a_link_put_between_two_pieces_leads_nowhere(
    server: FarEnd, keeper: aiohttp.ClientSession, put: Callable[[Path], None]
) -> None:
    upload = await begin(keeper, "t", 3)
    assert (await send(keeper, upload, 0, b"XY")).status == 204
    put(unfinished(server, upload))
    answer = await send(keeper, upload, 2, b"Z")
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "0")
    assert_untouched(server)
    assert (await send(keeper, upload, 0, b"XYZ")).status == 204
    assert_untouched(server)
    assert (server.docroot / "t").read_bytes() == b"XYZ"


@PUT
async def test_an_upload_without_bytes_makes_its_own_file(
    server: FarEnd, keeper: aiohttp.ClientSession, put: Callable[[Path], None]
) -> None:
    headers = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata(path="t", mtime="5")}
    async with keeper.post(UPLOADS, headers=headers) as answer:
        upload = answer.headers["Location"]
    put(unfinished(server, upload))
    assert (await send(keeper, upload, 0, b"", {"Upload-Length": "0"})).status == 204
    assert_untouched(server)
    assert (server.docroot / "t").read_bytes() == b""
    assert (server.docroot / "t").stat().st_mtime == 5


@PUT
@pytest.mark.parametrize("which", [0, 1])
async def test_a_link_in_the_place_of_a_part_is_not_joined(
    server: FarEnd, keeper: aiohttp.ClientSession, put: Callable[[Path], None], which: int
) -> None:
    parts = [await begin(keeper, "t", 80, {"Upload-Concat": "partial"}) for _ in range(2)]
    for part in parts:
        assert (await send(keeper, part, 0, b"x" * 80)).status == 204
    put(unfinished(server, parts[which]))
    headers = {
        **TUS,
        "Upload-Concat": "final;" + " ".join(parts),
        "Upload-Metadata": metadata(path="whole", mtime="5"),
    }
    async with keeper.post(UPLOADS, headers=headers) as answer:
        assert answer.status == 404
    assert_untouched(server)
    assert not (server.docroot / "whole").exists()


async def test_an_empty_part_may_come_first(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = [await begin(sender, "t", len(cut), {"Upload-Concat": "partial"}) for cut in (b"", b"ab")]
    assert (await send(sender, parts[1], 0, b"ab")).status == 204
    concat = {"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": metadata(path="whole")}
    async with sender.post(UPLOADS, headers={**TUS, **concat}) as answer:
        assert answer.status == 201
    assert (server.docroot / "in/whole").read_bytes() == b"ab"


async def test_what_took_the_place_of_an_upload_stays_when_that_is_given_up(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    upload = await begin(sender, "t", 3)
    assert (await send(sender, upload, 0, b"XY")).status == 204
    file = unfinished(server, upload, "in/t")
    file.rename(server.docroot / "kept")
    file.write_bytes(b"another")
    async with sender.delete(upload, headers=TUS) as answer:
        assert answer.status == 204
    assert file.read_bytes() == b"another"


def copied(file: Path) -> None:
    """As on a disk that gives a file another inode now and then, or one that the docroot was moved to."""
    copy = file.with_name("copy")
    shutil.copy2(file, copy)  # with its attributes, where the disk keeps any
    copy.replace(file)


def no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **_more: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    for name in ("setxattr", "getxattr", "listxattr"):
        monkeypatch.setattr(os, name, refuse, raising=False)


def no_births(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(handle: int) -> tuple[int, int, int]:
        return (*identity_of(handle)[:2], 0)

    monkeypatch.setattr(upload_files, "identity_of", identity)


@pytest.mark.parametrize("attributes", [True, False])
async def test_an_upload_goes_on_in_a_file_with_another_inode(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, attributes: bool
) -> None:
    if not attributes:
        no_attributes(monkeypatch)
        no_births(monkeypatch)
    upload = await begin(sender, "t", 3)
    for at, byte in enumerate((b"X", b"Y", b"Z")):
        assert (await send(sender, upload, at, byte)).status == 204
        if at < 2:
            copied(unfinished(server, upload, "in/t"))
    assert (server.docroot / "in/t").read_bytes() == b"XYZ"
    parts = [await begin(sender, "p", 1, {"Upload-Concat": "partial"}) for _ in range(3)]
    for part in parts:
        assert (await send(sender, part, 0, b"p")).status == 204
        copied(unfinished(server, part, "in/p"))
    concat = {"Upload-Concat": "final;" + " ".join(parts[:2]), "Upload-Metadata": metadata(path="whole")}
    async with sender.post(UPLOADS, headers={**TUS, **concat}) as answer:
        assert answer.status == 201
    assert (server.docroot / "in/whole").read_bytes() == b"pp"
    async with sender.delete(parts[2], headers=TUS) as answer:
        assert answer.status == 204
    assert server.names() == ["in/", "in/t", "in/whole"]


@pytest.mark.parametrize("lacks", [no_births, no_attributes])
async def test_a_file_renamed_to_the_place_of_an_upload_is_not_written_to(
    server: FarEnd,
    keeper: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    lacks: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Where either is missing by which the upload's own file is known."""
    lacks(monkeypatch)
    upload = await begin(keeper, "t", 3)
    assert (await send(keeper, upload, 0, b"XY")).status == 204
    with (server.docroot / "victim").open("rb") as victim:
        (server.docroot / "victim").replace(unfinished(server, upload))
        answer = await send(keeper, upload, 2, b"Z")
        assert (answer.status, answer.headers["Upload-Offset"]) == (409, "0")
        assert (await send(keeper, upload, 0, b"XYZ")).status == 204
        assert victim.read() == PRECIOUS
    assert (server.docroot / "t").read_bytes() == b"XYZ"
