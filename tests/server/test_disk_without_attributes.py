"""A real disk that keeps no extended attributes, a ramfs: uploads by token go on there.

Over SSH: what comes over HTTPS needs no attributes, and takes a ramfs for a full disk. The test wants a
namespace in which mounting is allowed; where the system gives none, it is skipped.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from connect_helper.server.configuration_text import render
from connect_helper.server.private_files import write_new
from tests.support.far_server import settings_in, user
from tests.support.sessions import noise
from tests.support.token_uploads import a_token, cut_short, plan, run

COMMAND = Path(sys.executable).with_name("connect-helper")
SIZE = 24_000_001
ENOUGH = 8_000_000
MOUNT = 'mount -t ramfs none "$1"'


def may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ("unshare", "-Urm", "sh", "-c", MOUNT, "sh", "/mnt")
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="no namespace to mount a ramfs in")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@dataclass(frozen=True, slots=True)
class OnRamfs:
    """A server whose docroot is a ramfs; `docroot` is the way to it from here."""

    folder: Path
    port: int  # of SSH
    docroot: Path


@asynccontextmanager
async def server_on_ramfs(folder: Path) -> AsyncIterator[OnRamfs]:
    port = free_port()
    ann = user("ann", folder / "files", upload="token", download="token", overwrite="deny")
    write_new(folder / "server.toml", render(settings_in(folder, ann, ssh={"port": port})).encode())
    inside = f'{MOUNT} && mkdir "$1/in" && exec "$2" server run --config "$3"'
    words = ("sh", "-c", inside, "sh", folder / "files", COMMAND, folder / "server.toml")
    process = await asyncio.create_subprocess_exec(
        "unshare", "-Urm", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            await process.stdout.readuntil(b"host key")
        below = str(folder / "files").lstrip("/")
        yield OnRamfs(folder, port, Path(f"/proc/{process.pid}/root") / below)
    finally:
        process.terminate()
        await process.communicate()


async def test_an_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    source = tmp_path / "film"
    source.write_bytes(noise(SIZE))
    async with server_on_ramfs(tmp_path / "server") as server:
        token = a_token(server.folder)
        where = (server.folder, server.port, "sftp", source)
        await cut_short(plan(*where, token=token, rate_kbps=100_000), ENOUGH)
        assert not (server.docroot / "in/film").exists()
        ended, told = await run(plan(*where, token=token))
        assert (ended.outcome, told) == ("completed", ""), ended
        assert [path.name for path in (server.docroot / "in").iterdir()] == ["film"]
        assert (server.docroot / "in/film").read_bytes() == source.read_bytes()
    with closing(sqlite3.connect(server.folder / "state/transfers.sqlite")) as log:
        (came_in,) = log.execute("select sum(bytes_in) from sessions").fetchone()
    assert came_in < SIZE + ENOUGH // 2, "it went on, and did not begin again"
