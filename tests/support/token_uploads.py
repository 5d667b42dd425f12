"""Uploads by token to a whole transfer server, over SSH or HTTPS, as the helper's sessions make them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncssh
from pydantic import SecretStr

from connect_helper.server.accounts import Account
from connect_helper.server.issuing import Extras, upload_claims
from connect_helper.server.tokens import TokenAuthority
from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import Fallback, HostKeys, Login, Policies, Server, SessionPlan
from connect_helper.transfers.session import Session
from tests.support.far_server import TOKEN_KEY
from tests.support.sessions import Listener, upload


def a_token(folder: Path) -> SecretStr:
    """A new token of `ann` for the folder `in`, of the server in `folder`."""
    account = Account(name="ann", docroot=folder / "files", token_key=SecretStr(TOKEN_KEY))
    claims = upload_claims(account, (b"in",), (), now=int(time.time()), extras=Extras(life_s=3600))
    return SecretStr(TokenAuthority(TOKEN_KEY).issue(claims))


def plan(
    folder: Path, port: int, way: str, source: Path, *, token: SecretStr | None = None, **changes: object
) -> SessionPlan:
    """One upload to `in/film`; `way` is "sftp" or "https", the port is of that. A token of its own."""
    host_key = asyncssh.read_private_key(folder / "ssh_host_ed25519_key").export_public_key().decode()
    fallback = Fallback(port=port, forced=True, ca_file=str(folder / "certificate.pem"))
    made = SessionPlan(
        transfer_id="the transfer",
        direction="send",
        server=Server(host="127.0.0.1", port=port, addresses=("127.0.0.1",)),
        login=Login(user="ann", token=token or a_token(folder)),
        host_keys=HostKeys(trusted=(host_key.strip(),)),
        fallback=None if way == "sftp" else fallback,
        items=(upload(source, "in/film"),),
        destination="in",
        policies=Policies(checksum="sha-256"),
        resume_folder=str(folder.parent / "resume"),
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
