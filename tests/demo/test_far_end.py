"""The demo's SSH server: files of one folder for one user, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from connect_helper.demo.far_end import USER, FarEnd
from tests.support.known_server import KnownServer


@pytest.fixture
async def far_end(tmp_path: Path) -> AsyncIterator[FarEnd]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    async with FarEnd(root) as running:
        yield running


def login(far_end: FarEnd, *, user: str = USER, password: str = "") -> KnownServer:
    """Log in, the server's key checked by its fingerprint."""
    facts = far_end.facts
    return KnownServer(facts.port, user, password or facts.password, facts.fingerprint)


async def test_the_user_sees_the_folder_as_the_root(far_end: FarEnd) -> None:
    async with login(far_end) as connection, connection.start_sftp_client() as sftp:
        assert sorted(await sftp.listdir("/")) == [".", "..", "a.txt"]
        async with sftp.open("/new.txt", "w") as file:
            await file.write("new")
        assert (far_end.facts.root / "new.txt").read_text() == "new"


@pytest.mark.parametrize("path", ["/../secret.txt", "../secret.txt", "/./../../secret.txt"])
async def test_no_path_leads_out_of_the_folder(far_end: FarEnd, path: str) -> None:
    async with login(far_end) as connection, connection.start_sftp_client() as sftp:
        assert not await sftp.exists(path)


async def test_links_are_refused(far_end: FarEnd) -> None:
    async with login(far_end) as connection, connection.start_sftp_client() as sftp:
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await sftp.symlink("../secret.txt", "/link")
        with pytest.raises(asyncssh.SFTPError):
            await sftp.link("/a.txt", "/second-name")
    assert sorted(entry.name for entry in far_end.facts.root.iterdir()) == ["a.txt"]


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("root", ""), ("", "")])
async def test_only_the_one_user_with_the_password_comes_in(
    far_end: FarEnd, user: str, password: str
) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await login(far_end, user=user, password=password)


async def test_there_is_neither_a_shell_nor_forwarding(far_end: FarEnd) -> None:
    async with login(far_end) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("id")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", far_end.facts.port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 9)


async def test_the_end_cuts_open_connections_and_hides_the_facts(tmp_path: Path) -> None:
    far_end = FarEnd(tmp_path)
    async with far_end:
        assert far_end.facts.password not in repr(far_end.facts)
        connection = await login(far_end)
    await connection.wait_closed()
    with pytest.raises(RuntimeError):
        _ = far_end.facts
