"""Our SFTP server in the test's own event loop, with accounts and tokens, for real clients and asyncssh's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
from pydantic import SecretStr

from connect_helper.server.accounts import Account, Accounts
from connect_helper.server.admission import Admission
from connect_helper.server.login_limiter import LoginLimiter
from connect_helper.server.metrics import Metrics
from connect_helper.server.revocations import Revocations
from connect_helper.server.sessions import Sessions
from connect_helper.server.ssh import SshServer, SshSettings, ssh_server
from connect_helper.server.token_contents import Direction, TokenClaims
from connect_helper.storage.docpath import parse
from tests.support.command import Ran, finish

TOKEN_KEY = "a key only these tests know, long enough"
USER = "ann"


class FarEnd:
    """A running server with one account, which logs in by `key` or, with a token as password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.key_file = folder / "id"
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.key.write_private_key(self.key_file)
        self.key_file.chmod(0o600)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key_file = folder / "host_key"
        self.host_key.write_private_key(self.host_key_file)
        self.account = Account(
            name=USER,
            docroot=self.root,
            authorized_keys=(self.key.public_data,),
            token_key=SecretStr(TOKEN_KEY),
        )
        self.metrics = Metrics()
        self.sessions = Sessions(self.metrics)
        self.accounts = Accounts([self.account])
        self.admission = Admission(
            self.accounts, Revocations(folder / "revoked"), LoginLimiter(folder / "failed"), self.metrics
        )
        self.server: SshServer

    @property
    def port(self) -> int:
        return self.server.port

    def change(self, **fields: object) -> None:
        """Give the account other rights from the next login on."""
        self.account = replace(self.account, **fields)  # type: ignore[arg-type]
        self.accounts.replace([self.account])
        self.admission.accounts_changed()

    def token(self, direction: Direction, *paths: str, destinations: tuple[str, ...] = ()) -> str:
        """A token for `paths`: the sources, or the one destination root."""
        now = int(time.time())
        places = tuple(parse(path) for path in paths)
        claims = TokenClaims(
            id=f"test-{time.monotonic_ns()}",
            user=USER,
            direction=direction,
            sources=places if direction == "receive" else (),
            destination_root=places[0] if direction == "send" else None,
            destinations=tuple(parse(path) for path in destinations),
            issued_at=now,
            expires_at=now + 600,
        )
        return self.admission.keyring.issue(claims)

    @contextlib.asynccontextmanager
    async def client(self, token: str = "", **more: Any) -> AsyncIterator[asyncssh.SFTPClient]:
        """A client of the SSH library, by key or by token; `more` are options of asyncssh.connect."""
        secret: dict[str, Any] = (
            {"password": token, "client_keys": None} if token else {"client_keys": [self.key]}
        )
        known = asyncssh.import_known_hosts(
            f"[127.0.0.1]:{self.port} {self.host_key.export_public_key().decode()}"
        )
        async with (
            asyncssh.connect(
                "127.0.0.1",
                self.port,
                username=USER,
                known_hosts=known,
                config=None,
                agent_path=None,
                **secret,
                **more,
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            yield client

    @property
    def ssh_options(self) -> list[str]:
        """Options of OpenSSH's clients that keep this machine's settings out."""
        fixed = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={self.folder / 'known'}", "LogLevel=ERROR")
        options = [word for option in fixed for word in ("-o", option)]
        return ["-F", "none", "-i", str(self.key_file), *options]

    async def run(self, *words: str, given: str = "", **more: str) -> Ran:
        """Run a program to its end, at home in the test's folder and without the user's agent."""
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **more},
        )
        return await finish(process, given.encode())

    async def sftp(self, *commands: str, options: tuple[str, ...] = ()) -> Ran:
        """OpenSSH's sftp, which stops at the first command that fails."""
        words = ("sftp", *self.ssh_options, *options, "-P", str(self.port), "-b", "-", f"{USER}@127.0.0.1")
        return await self.run(*words, given="\n".join(commands) + "\n")


@contextlib.asynccontextmanager
async def far_end(folder: Path, **settings: float) -> AsyncIterator[FarEnd]:
    """Start the server on a free port; `settings` are those of SshSettings."""
    end = FarEnd(folder)
    wanted = SshSettings(address="127.0.0.1", port=0, host_keys=(end.host_key_file,), **settings)  # type: ignore[arg-type]
    try:
        async with ssh_server(wanted, end.admission, end.sessions) as end.server:
            yield end
    finally:
        await asyncio.to_thread(end.admission.close)
