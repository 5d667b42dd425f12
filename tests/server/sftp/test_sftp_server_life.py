"""A server that stops, is killed, is knocked at, or has clients that do nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_OPEN
from asyncssh.packet import String, UInt32

from connect_helper.server.sftp import packets
from connect_helper.server.ssh import MOST_CHANNELS
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot, Entry
from tests.support.command import finish, start
from tests.support.sftp_raw import raw_client, text
from tests.support.sftp_server import USER, FarEnd, far_end
from tests.support.sshd import free_port


async def test_a_stop_lets_a_transfer_end_and_sends_the_idle_away(end: FarEnd) -> None:
    async with end.client() as busy, end.client() as idle:
        await idle.stat("/")
        file = await busy.open("film", "wb")
        await file.write(b"first ")
        stopping = asyncio.create_task(end.server.stop(30))
        with pytest.raises((asyncssh.Error, OSError)):
            await _until_let_go(idle)
        with pytest.raises(OSError, match=r"."):
            async with end.client():
                pass
        assert not stopping.done()
        await file.write(b"second")
        await file.close()
        await asyncio.wait_for(stopping, 30)
    assert (end.root / "film").read_bytes() == b"first second"


async def _until_let_go(client: asyncssh.SFTPClient) -> None:
    while True:
        await client.stat("/")
        await asyncio.sleep(0.02)


async def test_a_stop_waits_no_longer_than_it_may(end: FarEnd) -> None:
    async with end.client() as client:
        file = await client.open("film", "wb")
        await file.write(b"part")
        await asyncio.wait_for(end.server.stop(0.2), 10)
        with pytest.raises((asyncssh.Error, OSError)):
            await file.write(b"more")
    assert (end.root / "film").read_bytes() == b"part"


async def test_a_client_that_asks_nothing_is_let_go(tmp_path: Path) -> None:
    async with far_end(tmp_path, idle_seconds=0.4) as end, end.client() as client:
        for _ in range(4):  # longer than the limit altogether, but never idle
            await asyncio.sleep(0.15)
            await client.stat("/")
        assert end.sessions.listing()
        async with asyncio.timeout(20):
            while end.sessions.listing():  # noqa: ASYNC110 - the server's own clock
                await asyncio.sleep(0.02)


async def test_what_fails_after_its_client_has_gone_is_no_fault(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    unlink = Docroot.unlink

    def slow(docroot: Docroot, path: DocPath) -> None:
        begun.set()
        may_end.wait(30)
        try:
            unlink(docroot, path)
        finally:
            ended.set()

    monkeypatch.setattr(Docroot, "unlink", slow)
    async with raw_client(end) as client:
        client.ask(packets.REMOVE, text(b"/nothing"))
        assert await asyncio.to_thread(begun.wait, 30)
    async with asyncio.timeout(20):
        while end.sessions.listing():  # noqa: ASYNC110 - the server's own clock
            await asyncio.sleep(0.02)
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 30)
    await asyncio.sleep(0.1)  # the loop hears of it
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@dataclass(frozen=True, slots=True)
class _SlowFolders:
    """Folders of a disk that tells the first entry, and the others when it may."""

    begun: threading.Event
    may_end: threading.Event


@pytest.fixture
def slow_folders(end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> Iterator[_SlowFolders]:
    for name in ("a", "b", "c"):
        (end.root / name).touch()
    disk = _SlowFolders(threading.Event(), threading.Event())
    scandir = Docroot.scandir

    def slow(docroot: Docroot, path: DocPath) -> Iterator[Entry]:
        for number, entry in enumerate(scandir(docroot, path)):
            if number:
                disk.begun.set()
                disk.may_end.wait(30)
            yield entry

    monkeypatch.setattr(Docroot, "scandir", slow)
    yield disk
    disk.may_end.set()


async def _until_no_handle_is_open(end: FarEnd) -> None:
    async with asyncio.timeout(20):
        while end.server._house.handles.taken:  # noqa: ASYNC110 - the server's own clock
            await asyncio.sleep(0.02)


async def test_a_client_that_goes_while_a_slow_disk_reads_its_folder_holds_up_nobody(
    end: FarEnd, slow_folders: _SlowFolders
) -> None:
    async with raw_client(end) as other:
        async with raw_client(end) as client:
            handle = await client.handle(client.ask(packets.OPENDIR, text(b"/")))
            client.ask(packets.READDIR, text(handle))
            assert await asyncio.to_thread(slow_folders.begun.wait, 30)
            gone_at = time.monotonic()
        assert (await other.answer(other.ask(packets.STAT, text(b"/"))))[0] == packets.ATTRS
        assert time.monotonic() - gone_at < 8
        slow_folders.may_end.set()
        await _until_no_handle_is_open(end)


async def test_the_session_of_a_client_that_goes_ends_although_a_slow_disk_reads_its_folder(
    end: FarEnd, slow_folders: _SlowFolders
) -> None:
    async with raw_client(end) as client:
        folder = await client.handle(client.ask(packets.OPENDIR, text(b"/")))
        file = await client.handle(client.open(b"/film", packets.FLAG_CREAT | packets.FLAG_WRITE))
        assert await client.status(client.write(file, 0, b"part")) == packets.Status.OK
        client.ask(packets.READDIR, text(folder))
        assert await asyncio.to_thread(slow_folders.begun.wait, 30)
    async with asyncio.timeout(10):
        while end.sessions.listing():  # noqa: ASYNC110 - the server's own clock
            await asyncio.sleep(0.02)
        while end.server._house.handles.taken > 1:  # noqa: ASYNC110 - the folder's alone is left
            await asyncio.sleep(0.02)
    assert end.server._house.handles.taken == 1  # its thread still has it
    slow_folders.may_end.set()
    await _until_no_handle_is_open(end)


async def test_a_client_waits_for_its_turn_behind_half_open_connections(tmp_path: Path) -> None:
    async with far_end(tmp_path, logins_under_way_per_address=3) as end:
        silent = [await asyncio.open_connection("127.0.0.1", end.port) for _ in range(8)]
        for reader, _writer in silent:
            assert (await reader.readline()).startswith(b"SSH-2.0-")
        waiting = asyncio.create_task(_look(end))
        done, _pending = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        for _reader, writer in silent:
            writer.close()
        await asyncio.wait_for(waiting, 20)


async def test_silent_connections_are_closed(tmp_path: Path) -> None:
    async with far_end(tmp_path, login_seconds=0.2) as end:
        reader, writer = await asyncio.open_connection("127.0.0.1", end.port)
        await asyncio.wait_for(reader.read(), 20)
        writer.close()


async def _look(end: FarEnd) -> None:
    async with end.client() as client:
        await client.stat("/")


async def test_nothing_but_sftp_is_served(end: FarEnd) -> None:
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{end.port} {end.host_key.export_public_key().decode()}")
    async with asyncssh.connect(
        "127.0.0.1", end.port, username=USER, known_hosts=known, config=None, client_keys=[end.key]
    ) as connection:
        for refused in (
            connection.create_process("id"),
            connection.create_process(term_type="xterm"),
            connection.create_process(subsystem="other"),
            connection.open_connection("127.0.0.1", end.port),
        ):
            with pytest.raises(asyncssh.ChannelOpenError):
                await refused
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", end.port)


class _Silent:
    """A client's channel that is opened and never used; notes what the server answers."""

    def __init__(self, answers: list[str]) -> None:
        self._answers = answers

    def process_open_confirmation(self, *_: object) -> None:
        self._answers.append("open")

    def process_open_failure(self, *_: object) -> None:
        self._answers.append("refused")

    def process_connection_close(self, _reason: Exception | None) -> None:
        return None

    def close(self) -> None:
        return None


async def test_channels_on_which_nothing_begins_are_counted_too(end: FarEnd) -> None:
    """One login must not open channels without end: each costs memory, used or not."""
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{end.port} {end.host_key.export_public_key().decode()}")
    answers: list[str] = []
    async with asyncssh.connect(
        "127.0.0.1", end.port, username=USER, known_hosts=known, config=None, client_keys=[end.key]
    ) as connection:
        for number in range(1000, 1000 + 3 * MOST_CHANNELS):
            connection._channels[number] = _Silent(answers)  # type: ignore[assignment]
            opening = (String("session"), UInt32(number), UInt32(32768), UInt32(32768))
            connection.send_packet(MSG_CHANNEL_OPEN, *opening)
        async with asyncio.timeout(30):
            while len(answers) < 3 * MOST_CHANNELS:  # noqa: ASYNC110 - the server's own pace
                await asyncio.sleep(0.02)
    assert answers.count("open") == MOST_CHANNELS
    assert answers.count("refused") == 2 * MOST_CHANNELS


@pytest.mark.parametrize(
    "weak",
    [
        {"kex_algs": ["diffie-hellman-group14-sha1"]},
        {"encryption_algs": ["aes128-cbc"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha2-256-etm@openssh.com"]},
    ],
)
async def test_weak_algorithms_are_refused(end: FarEnd, weak: dict[str, list[str]]) -> None:
    """SEC-25."""
    with pytest.raises((asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost)):
        async with end.client(**weak):
            pass


CONFIGURATION = """
[server]
state = "state"
[ssh]
address = "127.0.0.1"
port = {port}
host_keys = ["host_key"]
[https]
enabled = false
[[user]]
name = "{user}"
docroot = "{root}"
authorized_keys = ["{key}"]
"""


async def test_a_killed_server_loses_nothing_and_the_upload_goes_on(tmp_path: Path) -> None:
    """REL-8: kill -9 in the middle, start again; the command that was sending waits and brings the rest."""
    port, root = free_port(), tmp_path / "root"
    root.mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "id")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key.write_private_key(tmp_path / "host_key")
    line = key.export_public_key().decode().strip()
    configuration = tmp_path / "server.toml"
    configuration.write_text(CONFIGURATION.format(port=port, user=USER, root=root, key=line))
    configuration.chmod(0o600)
    film, content = tmp_path / "film", os.urandom(30_000_000)
    film.write_bytes(content)
    send = (
        *("send", "-i", tmp_path / "id", "--host-key", host_key.get_fingerprint(), "--rate", "150M"),
        *(film, f"ssh://{USER}@127.0.0.1:{port}/"),
    )
    partial = root / "film.partial"
    server = await _serving(tmp_path, configuration, port)
    try:
        sending = asyncio.create_task(finish(await start(tmp_path / "home", *send)))
        async with asyncio.timeout(100):
            while not partial.exists() or partial.stat().st_size < 10_000_000:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        server.kill()
        await server.communicate()
        kept = partial.stat().st_size
        assert not (root / "film").exists()
        server = await _serving(tmp_path, configuration, port)
        sent = await sending
    finally:
        server.terminate()
        await server.communicate()
    assert sent.code == 0, sent.err
    assert kept >= 10_000_000
    assert (root / "film").read_bytes() == content
    assert [path.name for path in root.iterdir()] == ["film"]


async def _serving(folder: Path, configuration: Path, port: int) -> asyncio.subprocess.Process:
    server = await start(folder / "home", "server", "run", "--config", configuration)
    async with asyncio.timeout(100):
        while not _answers(port):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    return server


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
