"""An upload that was killed goes on under another token for the same folder, or anew: it never fails.

What the first token left is closed to the second, who may be somebody else; over HTTP uploads belong to the
account, so there the second goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from pydantic import SecretStr

from connect_helper.server.accounts import Account
from connect_helper.server.issuing import Extras, upload_claims
from connect_helper.server.tokens import TokenAuthority
from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import Fallback, HostKeys, Login, Policies, Server, SessionPlan
from connect_helper.transfers.session import Session
from tests.support.far_server import TOKEN_KEY, FarServer, far_server, user
from tests.support.sessions import Listener, noise, upload

SIZE = 24_000_001
ENOUGH = 8_000_000  # bytes after which the first session is ended
YOUNG = 300_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FarServer]:
    folder = tmp_path / "server"
    ann = user("ann", folder / "files", upload="token", download="token", overwrite="deny", browse=False)
    (folder / "files/in").mkdir()
    async with far_server(folder, ann) as running:
        yield running


def a_token(server: FarServer) -> SecretStr:
    account = Account(name="ann", docroot=server.folder / "files", token_key=SecretStr(TOKEN_KEY))
    claims = upload_claims(account, (b"in",), (), now=int(time.time()), extras=Extras(life_s=3600))
    return SecretStr(TokenAuthority(TOKEN_KEY).issue(claims))


def plan(server: FarServer, way: str, source: Path, **changes: object) -> SessionPlan:
    """One upload with a token of its own, to the folder of all of them."""
    host_key = asyncssh.read_private_key(server.folder / "ssh_host_ed25519_key").export_public_key().decode()
    certificate = str(server.folder / "certificate.pem")
    fallback = Fallback(port=server.running.https_port or 0, forced=True, ca_file=certificate)
    made = SessionPlan(
        transfer_id="the transfer",
        direction="send",
        server=Server(host="127.0.0.1", port=server.running.ssh_port or 0, addresses=("127.0.0.1",)),
        login=Login(user="ann", token=a_token(server)),
        host_keys=HostKeys(trusted=(host_key.strip(),)),
        fallback=None if way == "sftp" else fallback,
        items=(upload(source, "in/film"),),
        destination="in",
        policies=Policies(checksum="sha-256"),
        resume_folder=str(server.folder.parent / "resume"),
    )
    return made.model_copy(update=changes)


async def cut_short(plan: SessionPlan, at: int) -> None:
    """Run a session until `at` bytes are sent, and stop it there."""
    listener = Listener()
    session = Session(plan, listener)
    task = asyncio.create_task(session.run())
    await listener.until(lambda: listener.written() > at)
    session.stop()
    await task


async def run(plan: SessionPlan) -> tuple[Ended, str]:
    """A session to its end, and what is told of the file."""
    listener = Listener()
    ended = await Session(plan, listener).run()
    return ended, "; ".join(report.message for report in listener.files().values())


@pytest.mark.parametrize("way", ["sftp", "https"])
@pytest.mark.parametrize("what", ["a record", "too young for a record", "another source"])
async def test_a_killed_upload_goes_on_or_anew_with_a_new_token(
    way: str, what: str, server: FarServer, tmp_path: Path
) -> None:
    source, arrived = tmp_path / "film", server.folder / "files/in/film"
    source.write_bytes(noise(SIZE))
    slow = plan(server, way, source, rate_kbps=16_000 if "young" in what else 100_000)
    await cut_short(slow, YOUNG if "young" in what else ENOUGH)
    if "young" in what:
        for record in Path(slow.resume_folder).glob("*.json"):
            record.unlink()  # a killed process leaves none
    if what == "another source":
        source.write_bytes(noise(SIZE, 7))
    left = {path: path.read_bytes() for path in arrived.parent.iterdir()}
    assert left
    ended, told = await run(plan(server, way, source))
    assert (ended.outcome, told) == ("completed", ""), ended
    assert arrived.read_bytes() == source.read_bytes()
    if way == "sftp":
        assert {path: path.read_bytes() for path in arrived.parent.iterdir() if path != arrived} == left
