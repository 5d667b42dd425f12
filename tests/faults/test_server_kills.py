"""Our transfer server, killed while a file comes in: at points from `SEED`, and once more until it is done.

By token, over SFTP and over HTTPS, there also in parts side by side. Now and then it has forgotten the last
bytes when it comes back, as after a power cut (REL-8). KILLS in the environment: how often it is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest
from pydantic import SecretStr

from connect_helper.server.accounts import Account
from connect_helper.server.configuration_text import render
from connect_helper.server.issuing import Extras, upload_claims
from connect_helper.server.private_files import write_new
from connect_helper.server.tokens import TokenAuthority
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.plan import (
    Fallback,
    HostKeys,
    Login,
    Policies,
    Server,
    SessionPlan,
    Upload,
)
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transports.http_sending import LANES
from tests.support.far_server import TOKEN_KEY, settings_in, user
from tests.support.faults import SEED, real_manager, told_on_failure
from tests.support.managing import reaches, request, until
from tests.support.oracle import Oracle
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise, ref

COMMAND = Path(sys.executable).with_name("connect-helper")
KILLS = int(os.environ.get("KILLS", "3"))
SIZES = {"sftp": 24_000_001, "https": 24_000_001, "https in parts": 70_000_001}
FORGOTTEN = 1024 * 1024  # bytes a server may lose
START_S = 60
DIES_AFTER_PUBLISHING = """
import os, signal, sys
from connect_helper.cli import main
from connect_helper.server.http import upload_endings

published = upload_endings.publish_upload

def publish_and_die(*arguments):
    published(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

upload_endings.publish_upload = publish_and_die
sys.exit(main())
"""


@dataclass(slots=True)
class Mortal:
    """A server process on fixed ports that can be killed and started again."""

    folder: Path
    ssh_port: int
    https_port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def docroot(self) -> Path:
        return self.folder / "files"

    async def start(self, *, dies_after_publishing: bool = False) -> None:
        command = (sys.executable, "-c", DIES_AFTER_PUBLISHING) if dies_after_publishing else (COMMAND,)
        self.process = await asyncio.create_subprocess_exec(
            *command,
            *("server", "run", "--config", self.folder / "server.toml"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            await self.process.stdout.readuntil(b"host key")

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def forget(self, amount: int) -> None:
        """Lose the last bytes of what is unfinished, as a disk does that was never told to keep them."""
        for path in self.docroot.rglob("*.partial"):
            os.truncate(path, max(0, path.stat().st_size - amount))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Mortal]:
    folder = tmp_path / "server"
    mortal = Mortal(folder, free_port(), free_port())
    web = user("web", mortal.docroot, upload="token", download="token")
    ports = {"ssh": {"port": mortal.ssh_port}, "https": {"port": mortal.https_port}}
    write_new(folder / "server.toml", render(settings_in(folder, web, **ports)).encode())
    (mortal.docroot / "in").mkdir()
    try:
        await mortal.start()
        yield mortal
    finally:
        if mortal.process is not None and mortal.process.returncode is None:
            await mortal.kill()


def plan(server: Mortal, way: str, source: Path, resume: Path, https_port: int) -> SessionPlan:
    account = Account(name="web", docroot=server.docroot, token_key=SecretStr(TOKEN_KEY))
    claims = upload_claims(account, (b"in",), (), now=int(time.time()), extras=Extras(life_s=3600))
    host_key = asyncssh.read_private_key(server.folder / "ssh_host_ed25519_key").export_public_key().decode()
    token = TokenAuthority(TOKEN_KEY).issue(claims)
    return SessionPlan(
        transfer_id="",
        direction="send",
        server=Server(host="127.0.0.1", port=server.ssh_port, addresses=("127.0.0.1",)),
        login=Login(user="web", token=SecretStr(token)),
        host_keys=HostKeys(trusted=(host_key.strip(),)),
        fallback=None if way == "sftp" else Fallback(port=https_port, forced=True),
        items=(Upload(source=ref(source), target="in/film"),),
        destination="in",
        policies=Policies(checksum="sha-256"),
        rate_kbps=400_000,  # about as long as it takes to be killed
        resume_folder=str(resume),
    )


@asynccontextmanager
async def port_of(server: Mortal, way: str) -> AsyncIterator[int]:
    """Where HTTPS is reached: for parts, along a line that is long."""
    if way != "https in parts":
        yield server.https_port
        return
    async with FaultProxy("127.0.0.1", server.https_port, delay_s=0.01) as proxy:
        yield proxy.port


def noted_parts(folders: Folders) -> int:
    """How many parts of the file the helper knows of."""
    notes = list((folders.state / "resume" / "http").glob("[0-9a-f]*"))
    return len(json.loads(notes[0].read_text())["parts"]) if notes else 0


@pytest.mark.timeout(120 + 60 * KILLS)  # on a busy machine each start of the server takes its time
@pytest.mark.parametrize("way", list(SIZES))
async def test_a_server_killed_in_mid_upload_loses_nothing(
    way: str, server: Mortal, folders: Folders, tmp_path: Path
) -> None:
    dice = random.Random(f"{SEED} {way}")
    points = sorted(dice.randrange(1, SIZES[way]) for _ in range(KILLS))
    lost = [dice.choice([0, dice.randrange(FORGOTTEN)]) for _ in points]
    source, target = tmp_path / "film", server.docroot / "in" / "film"
    source.write_bytes(noise(SIZES[way]))
    target.write_bytes(b"an older file")
    preferences = PreferencesStore(folders)
    # On a busy machine a server takes longer to start than ten tries with the shortest waits.
    patient = {"retry_attempts": 100, "certificates_file": str(server.folder / "certificate.pem")}
    preferences.change(patient)
    with told_on_failure(list(zip(points, lost, strict=True))):
        async with (
            port_of(server, way) as port,
            real_manager(folders, preferences=preferences) as transfers,
        ):
            work = plan(server, way, source, folders.state / "resume", port)
            oracle = Oracle({target: source}, folders.state, (str(work.login.token),))
            transfer = await transfers.submit(replace(request(), plan=work))
            if way == "https in parts":
                await until(lambda: noted_parts(folders) > 1, "several parts")
            for point, amount in zip(points, lost, strict=True):
                await until(
                    lambda point=point: transfer.bytes_written >= point or transfer.status in FINAL,  # type: ignore[misc]
                    f"{point} bytes",
                )
                await server.kill()
                oracle.at_any_moment()
                server.forget(amount)
                await server.start()
                await until(
                    lambda: transfer.status in (Status.WILL_RETRY, Status.RUNNING, *FINAL), "a new try"
                )
                if transfer.status is Status.WILL_RETRY:
                    await transfers.resume(transfer.id)
            await until(lambda: transfer.status in FINAL, "an end")
            assert (transfer.status, transfer.error_desc) == (Status.COMPLETED, "")
            assert transfer.transport == ("fasp" if way == "sftp" else "http")
            await reaches(transfer, Status.COMPLETED)
            oracle.at_any_moment()
            await oracle.accounted(transfers, transfer, 1)
    oracle.whole([target])
    left = [path.name for path in target.parent.iterdir() if path != target]
    # An upload that the server made and could not tell us of any more is nobody's: it lets that expire.
    assert len(left) <= (0 if way == "sftp" else KILLS * (1 if way == "https" else LANES))
    assert all(name.startswith("part.") and name.endswith(".partial") for name in left), left
    oracle.nothing_kept(folders.state / "resume" / "http")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["https", "https in parts"])
async def test_a_server_killed_before_it_noted_a_delivered_file_says_so_afterwards(
    way: str, server: Mortal, folders: Folders, tmp_path: Path
) -> None:
    await server.kill()
    await server.start(dies_after_publishing=True)
    source, target = tmp_path / "film", server.docroot / "in" / "film"
    source.write_bytes(noise(SIZES[way]))
    preferences = PreferencesStore(folders)
    preferences.change({"retry_attempts": 100, "certificates_file": str(server.folder / "certificate.pem")})
    async with (
        port_of(server, way) as port,
        real_manager(folders, preferences=preferences) as transfers,
    ):
        work = plan(server, way, source, folders.state / "resume", port)
        transfer = await transfers.submit(replace(request(), plan=work))
        await until(target.exists, "the name")
        assert server.process is not None
        await server.process.wait()
        await server.start()
        await until(lambda: transfer.status in (Status.WILL_RETRY, *FINAL), "a new try")
        if transfer.status is Status.WILL_RETRY:
            await transfers.resume(transfer.id)
        await until(lambda: transfer.status in FINAL, "an end")
        assert (transfer.status, transfer.error_desc) == (Status.COMPLETED, "")
        assert transfer.bytes_written == SIZES[way]
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["film"]
