"""The Node API alone, on loopback: accounts with passwords, and a client of one of them."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import argon2
from aiohttp import web
from pydantic import SecretStr

from connect_helper.server.access import Access
from connect_helper.server.accounts import Account, Accounts
from connect_helper.server.admission import Admission
from connect_helper.server.http.app import HttpParts, build_app
from connect_helper.server.http.node.api import NodeApi
from connect_helper.server.http.node.description import NODE_OPERATIONS
from connect_helper.server.http.node.settings import NodeSettings
from connect_helper.server.http.serving import HttpListener
from connect_helper.server.login_limiter import LoginLimiter
from connect_helper.server.metrics import Metrics
from connect_helper.server.revocations import Revocations
from connect_helper.server.sessions import Sessions
from connect_helper.server.tokens import TokenClaims

KEY = "a token key of the tests, long enough"
PASSWORD = "correct horse"
CHEAP_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
SETTINGS = NodeSettings(
    node_id="6b0d5e44-6a3e-4b43-9a0b-0f6f7f2a9d10",
    ssh_port=33001,
    https_port=8443,
    http_port=8080,
    sshfp="ab12",
)


def basic(user: str, password: str) -> str:
    """The header of a login."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the body as JSON, as far as it is."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Node:
    """A running Node API; `files` is the folder of the account `ann`."""

    def __init__(
        self, base: str, folder: Path, api: NodeApi, accounts: Accounts, admission: Admission
    ) -> None:
        self.base, self.api, self.accounts, self.admission = base, api, accounts, admission
        self.files = folder / "ann"
        self.app = web.Application()
        self.sessions: Sessions = api.sessions
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Node:
        self._client = aiohttp.ClientSession(skip_auto_headers=["Content-Type"])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        await self._client.close()

    async def ask(
        self, method: str, route: str, body: Any = None, *, user: str = "ann", **more: Any
    ) -> Answer:
        """One request; `body` is JSON unless it is bytes already."""
        assert self._client is not None
        data = body if isinstance(body, bytes | BytesIO) or body is None else json.dumps(body).encode()
        more.setdefault("headers", {"Authorization": basic(user, PASSWORD)})
        url = self.base + "/" + route
        async with self._client.request(method, url, data=data, allow_redirects=False, **more) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, answer.headers, json.loads(raw) if is_json else raw)

    async def good(self, route: str, body: Any = None, *, method: str = "", **more: Any) -> Any:
        """The body of an answer that must be 200 and hold nothing that clients take for an error."""
        answer = await self.ask(method or ("GET" if body is None else "POST"), route, body, **more)
        assert answer.status == 200, answer
        if isinstance(answer.body, dict):
            assert not {"error", "failure", "errors"} & answer.body.keys()
        return answer.body

    async def bad(self, status: int, route: str, body: Any = None, *, method: str = "", **more: Any) -> str:
        """The sentence of an answer that must be that error."""
        answer = await self.ask(method or ("GET" if body is None else "POST"), route, body, **more)
        assert answer.status == status, answer
        error = answer.body["error"]
        assert error["code"] == status
        assert error["reason"]
        sentence = error["user_message"]
        assert isinstance(sentence, str)
        return sentence

    def change(self, name: str = "ann", **changes: Any) -> None:
        """Change an account."""
        account = self.accounts.get(name)
        assert account is not None
        self.accounts.replace(
            replace(one, **changes) if one is account else one for one in tuple(self.accounts)
        )
        self.admission.accounts_changed()

    def settings(self, **changes: Any) -> None:
        """Change what the server offers."""
        self.api.settings = replace(self.api.settings, **changes)

    def login(self, user: str = "ann") -> str:
        """The Authorization header of an account."""
        return basic(user, PASSWORD)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to speak on byte by byte."""
        host, _, port = self.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.timeout(10):
                yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()

    def claims(self, token: str) -> TokenClaims:
        """What a token says."""
        return self.admission.keyring.open(token)

    def account(self, name: str = "ann") -> Account:
        """An account as it is now."""
        account = self.accounts.get(name)
        assert account is not None
        return account

    def session(self, name: str = "ann", token: TokenClaims | None = None) -> Any:
        """A transfer session, as the SSH side would open it; a context manager."""
        return self.sessions.open(Access(self.account(name), token), "sftp", "192.0.2.7", "a cookie")


@asynccontextmanager
async def node(folder: Path, *, plain_passwords: bool = True) -> AsyncIterator[Node]:
    """Run it. Accounts: ann, bob (another folder), root (admin)."""
    for name in ("ann", "bob", "root"):
        (folder / name).mkdir()
    accounts = Accounts(
        Account(
            name=name,
            docroot=folder / name,
            password_hash=SecretStr(CHEAP_HASH),
            token_key=SecretStr(KEY),
            admin=name == "root",
        )
        for name in ("ann", "bob", "root")
    )
    metrics = Metrics()
    admission = Admission(accounts, Revocations(folder / "revoked"), LoginLimiter(), metrics)
    sessions = Sessions(metrics)
    api = NodeApi(admission, sessions, SETTINGS)
    parts = HttpParts(
        admission=admission,
        sessions=sessions,
        open_docroot=lambda _: None,
        state=folder,
        fallback=False,
        plain_passwords=plain_passwords,
    )
    app = build_app(parts, more_routes=api.routes(), descriptions=[NODE_OPERATIONS])
    listener = HttpListener(app)
    await listener.start()
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    await listener.listen(sock)
    try:
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with Node(base, folder, api, accounts, admission) as running:
            running.app = app
            yield running
    finally:
        await listener.close()
        api.close()
        admission.close()


async def spoken(node: Node, text: bytes) -> bytes:
    """Send bytes as they are; return the answer up to the end of the connection."""
    async with node.raw() as (reader, writer):
        writer.write(text)
        return await reader.read()
