"""The transfer server's HTTP side alone, on loopback, with an account and tokens for tests."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from connect_helper.server.accounts import Account, Accounts
from connect_helper.server.admission import Admission
from connect_helper.server.http.app import HttpParts, build_app
from connect_helper.server.http.serving import ConnectionLimits, HttpListener
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.server.login_limiter import LoginLimiter
from connect_helper.server.metrics import Metrics
from connect_helper.server.revocations import Revocations
from connect_helper.server.sessions import Sessions
from connect_helper.server.tokens import TokenClaims, new_token_id
from connect_helper.storage.docpath import parse
from connect_helper.storage.docroot import Docroot

TUS = {"Tus-Resumable": "1.0.0"}
STREAM = {**TUS, "Content-Type": "application/offset+octet-stream"}
TOKEN_KEY = "0123456789abcdefghij-test"


@dataclass(slots=True)
class FarEnd:
    """A running server; `url` is its base address, `docroot` the folder of the account `ann`."""

    url: str
    docroot: Path
    admission: Admission
    accounts: Accounts
    sessions: Sessions
    app: web.Application
    listener: HttpListener

    def token(self, direction: str, *paths: str, user: str = "ann", **more: Any) -> str:
        """A token: for "send" the destination root and exact destinations, for "receive" the sources."""
        now = int(time.time())
        places = [parse(path) for path in paths or ("",)]
        claims = TokenClaims(
            id=new_token_id(),
            user=user,
            direction=direction,  # type: ignore[arg-type]
            sources=tuple(places) if direction == "receive" else (),
            destination_root=places[0] if direction == "send" else None,
            destinations=tuple(places[1:]) if direction == "send" else (),
            issued_at=more.pop("issued_at", now),
            expires_at=more.pop("expires_at", now + 3600),
            **more,
        )
        return self.admission.keyring.issue(claims)

    def client(self, token: str | None, **more: Any) -> aiohttp.ClientSession:
        """A client that shows `token` with each request and undoes no compression."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return aiohttp.ClientSession(self.url, headers=headers, auto_decompress=False, **more)

    def account(self, **changes: Any) -> None:
        """Change the account `ann`."""
        ann = self.accounts.get("ann")
        assert ann is not None
        self.accounts.replace([replace(ann, **changes), *(a for a in self.accounts if a.name != "ann")])
        self.admission.accounts_changed()

    def names(self) -> list[str]:
        """What lies in the docroot, folders with a slash behind."""
        return sorted(
            f"{path.relative_to(self.docroot)}{'/' * path.is_dir()}" for path in self.docroot.rglob("*")
        )


@asynccontextmanager
async def far_end(
    folder: Path,
    *,
    limits: UploadLimits | None = None,
    connections: ConnectionLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[FarEnd]:
    """Run a server on what `folder` holds; started again on the same folder it goes on where it was."""
    docroot, state = folder / "ann", folder / "state"
    for each in (docroot, folder / "bob", state):
        each.mkdir(parents=True, exist_ok=True)
    accounts = Accounts(
        Account(name=name, docroot=folder / name, token_key=SecretStr(TOKEN_KEY)) for name in ("ann", "bob")
    )
    metrics = Metrics()
    admission = Admission(accounts, Revocations(state / "revoked"), LoginLimiter(), metrics)
    sessions = Sessions(metrics, linger_s=0.05)

    def open_docroot(name: str) -> Docroot | None:
        account = accounts.get(name)
        return None if account is None else Docroot.open(account.docroot)

    # The disk of a test machine may be almost full, and nobody would learn anything from that.
    limits = limits or UploadLimits(keep_free_percent=0.0)
    parts = HttpParts(
        admission=admission,
        sessions=sessions,
        open_docroot=open_docroot,
        state=state,
        limits=limits,
        plain_passwords=True,
    )
    app = build_app(parts)
    listener = HttpListener(app, connections)
    await listener.start()
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    await listener.listen(sock, tls)
    watching = asyncio.create_task(listener.watch(), name="watch connections")
    scheme = "http" if tls is None else "https"
    url = f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"
    try:
        yield FarEnd(url, docroot, admission, accounts, sessions, app, listener)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await listener.close()
        sessions.cancel_all()
        sessions.close_idle()
        admission.close()


def metadata(**values: str | bytes) -> str:
    """An Upload-Metadata header."""
    raw = {key: value.encode() if isinstance(value, str) else value for key, value in values.items()}
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in raw.items())


async def begin(
    client: aiohttp.ClientSession, path: str | bytes, length: int, headers: Mapping[str, str] | None = None
) -> str:
    """Create an upload; returns its path on the server."""
    sent = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata(path=path), **(headers or {})}
    async with client.post("/fallback/v1/uploads", headers=sent) as answer:
        assert answer.status == 201, await answer.text()
        return answer.headers["Location"]


async def send(
    client: aiohttp.ClientSession,
    upload: str,
    offset: int,
    body: Any,
    headers: Mapping[str, str] | None = None,
) -> aiohttp.ClientResponse:
    """Append to an upload; the answer's body is read."""
    sent = {**STREAM, "Upload-Offset": str(offset), **(headers or {})}
    data = BytesIO(body) if isinstance(body, bytes) else body
    async with client.patch(upload, data=data, headers=sent) as answer:
        await answer.read()
        return answer


async def offset_of(client: aiohttp.ClientSession, upload: str) -> int:
    """How far the server says an upload has come."""
    async with client.head(upload, headers=TUS) as answer:
        assert answer.status == 200, answer.status
        return int(answer.headers["Upload-Offset"])


def junk_token() -> str:
    """What looks like a token and is none."""
    return "CHT1_" + secrets.token_urlsafe(120)
