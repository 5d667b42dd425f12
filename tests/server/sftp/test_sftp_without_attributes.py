"""On a disk without extended attributes: who began an unfinished file goes on with it, and nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import asyncssh
import pytest
from asyncssh.sftp import FXF_WRITE

from connect_helper.server.ssh import SshSettings, ssh_server
from tests.support.command import finish, ran, start
from tests.support.sftp_server import USER, FarEnd

PARTIAL = "in/film.partial"


@pytest.fixture(autouse=True)
def no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says on such a disk."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse, raising=False)
    monkeypatch.setattr(os, "getxattr", refuse, raising=False)


@pytest.fixture
def root(end: FarEnd) -> Path:
    end.change(overwrite="deny", may_delete=False)
    (end.root / "in").mkdir()
    return end.root


async def begin(end: FarEnd, token: str, content: bytes = b"ha") -> None:
    async with end.client(token) as client, client.open(PARTIAL, "wb") as file:
        await file.write(content)


async def go_on(end: FarEnd, token: str, content: bytes = b"lf") -> None:
    async with end.client(token) as client, client.open(PARTIAL, "ab") as file:
        await file.write(content)


async def test_a_token_goes_on_with_what_it_began(end: FarEnd, root: Path) -> None:
    token = end.token("send", "in")
    await begin(end, token)
    await go_on(end, token)
    await go_on(end, token, b"!")
    async with end.client(token) as client:
        await client.posix_rename(PARTIAL, "in/film")
    assert (root / "in/film").read_bytes() == b"half!"


async def test_an_account_goes_on_with_what_it_began(end: FarEnd, root: Path) -> None:
    await begin(end, "")
    await go_on(end, "")
    assert (root / PARTIAL).read_bytes() == b"half"


async def test_its_time_and_name_may_change_in_between(end: FarEnd, root: Path) -> None:
    token = end.token("send", "in")
    async with end.client(token) as client:
        async with client.open("in/.other.partial", "wb") as file:
            await file.write(b"haha")
        await client.truncate("in/.other.partial", 2)
        await client.utime("in/.other.partial", (5, 6))
        await client.posix_rename("in/.other.partial", PARTIAL)
    await go_on(end, token)
    assert (root / PARTIAL).read_bytes() == b"half"


async def test_another_token_does_not(end: FarEnd, root: Path) -> None:
    await begin(end, end.token("send", "in"))
    for other in (end.token("send", "in"), ""):
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await go_on(end, other)
        async with end.client(other) as client:
            with pytest.raises(asyncssh.SFTPError):
                await client.posix_rename(PARTIAL, "in/film")
            with pytest.raises(asyncssh.SFTPError):
                await client.remove(PARTIAL)
    assert (root / PARTIAL).read_bytes() == b"ha"


async def test_several_connections_write_to_one_file(end: FarEnd, root: Path) -> None:
    token, other = end.token("send", "in"), end.token("send", "in")
    await begin(end, token)
    async with (
        end.client(token) as one,
        end.client(token) as two,
        end.client(other) as foreign,
        one.open(PARTIAL, FXF_WRITE, encoding=None) as first,
    ):
        await first.write(b"li", 2)
        async with two.open(PARTIAL, FXF_WRITE, encoding=None) as second:
            await second.write(b"ke", 4)
        await first.write(b"ly", 6)
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await foreign.open(PARTIAL, FXF_WRITE)
    await go_on(end, token, b"!")
    assert (root / PARTIAL).read_bytes() == b"halikely!"


async def test_what_somebody_put_in_its_place_is_closed(end: FarEnd, root: Path) -> None:
    """A file system gives the number of a file that is gone to the next one."""
    token = end.token("send", "in")
    await begin(end, token)
    before = (root / PARTIAL).stat().st_ino
    (root / PARTIAL).write_bytes(
        b"no"
    )  # the same number, the same size, another file as far as anybody knows
    assert (root / PARTIAL).stat().st_ino == before
    with pytest.raises(asyncssh.SFTPPermissionDenied):
        await go_on(end, token)
    assert (root / PARTIAL).read_bytes() == b"no"


async def test_it_is_known_after_a_restart(tmp_path: Path) -> None:
    end = FarEnd(tmp_path)
    end.change(overwrite="deny")
    (end.root / "in").mkdir()
    token = end.token("send", "in")
    settings = SshSettings(
        address="127.0.0.1", port=0, host_keys=(end.host_key_file,), makers=tmp_path / "makers"
    )
    for act in (begin, go_on):
        async with ssh_server(settings, end.admission, end.sessions) as end.server:
            await act(end, token)
    assert (end.root / PARTIAL).read_bytes() == b"half"
    assert (tmp_path / "makers").stat().st_mode & 0o777 == 0o600
    await asyncio.to_thread(end.admission.close)


async def test_a_killed_upload_goes_on_where_it_was(end: FarEnd, root: Path) -> None:
    film, content, token = end.folder / "film", os.urandom(24_000_000), end.token("send", "in")
    film.write_bytes(content)
    words = ("--host-key", end.host_key.get_fingerprint(), "--password-stdin", film)
    where = f"ssh://{USER}@127.0.0.1:{end.port}/in"
    given = f"{token}\n".encode()
    process = await start(end.folder / "home", "send", "--rate", "100M", *words, where)
    first = asyncio.create_task(finish(process, given))
    async with asyncio.timeout(60):
        while not (root / PARTIAL).exists() or (root / PARTIAL).stat().st_size < 10_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    process.kill()
    await first
    before = sum(report.bytes_in for report in (*end.sessions.history(), *end.sessions.listing()))
    up = await ran(end.folder / "home", "send", *words, where, given=given)
    assert up.code == 0, up.err
    after = sum(report.bytes_in for report in (*end.sessions.history(), *end.sessions.listing()))
    assert (root / "in/film").read_bytes() == content
    assert after - before < len(content) - 4_000_000, "it went on, and did not begin again"
    assert not (root / PARTIAL).exists()
