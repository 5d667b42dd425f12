"""The whole transfer server in this process, on free ports of loopback, with users for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import argon2
import asyncssh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connect_helper.server.configuration_text import render
from connect_helper.server.private_files import make_private_folder, write_new
from connect_helper.server.program import Running, serve
from connect_helper.server.setting_up import self_signed
from connect_helper.server.source import Source
from tests.support.server_parts import PASSWORD

TOKEN_KEY = "the key of the tests, long enough"
# Quick on purpose: what is tested is never how slow it is.
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@dataclass(slots=True)
class FarServer:
    """A running server. `toml` may be rewritten with `configure`; `reload` has it read."""

    folder: Path
    toml: Path
    running: Running
    stopping: asyncio.Event
    reloading: asyncio.Event
    settings: dict[str, Any]

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def configure(self, settings: Mapping[str, Any]) -> None:
        self.toml.write_text(render(settings))


def user(name: str, docroot: Path, **more: Any) -> dict[str, Any]:
    """One `[[user]]` with the password of the tests; the docroot is made."""
    docroot.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # it may be the server's own folder
    docroot.mkdir(exist_ok=True)
    return {"name": name, "docroot": str(docroot), "password_hash": HASH, **more}


def settings_in(folder: Path, *users: Mapping[str, Any], **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a server on free ports of 127.0.0.1; its keys are written into `folder`."""
    make_private_folder(folder)
    for name, data in _keys().items():
        write_new(folder / name, data)
    base: dict[str, Any] = {
        "server": {"stop_seconds": 5},
        "ssh": {"address": "127.0.0.1", "port": 0, "host_keys": ["ssh_host_ed25519_key"]},
        "https": {"address": "127.0.0.1", "port": 0, "cert": "certificate.pem", "key": "certificate.key"},
        "http": {"enabled": True, "address": "127.0.0.1", "port": 0, "passwords": True},
        "token": {"key": TOKEN_KEY},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section}
    return {**base, "user": [dict(one) for one in users]}


@cache
def _keys() -> dict[str, bytes]:
    """One host key and certificate for all tests of a run."""
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "ssh_host_ed25519_key": asyncssh.generate_private_key("ssh-ed25519").export_private_key(),
        "certificate.key": secret,
        "certificate.pem": self_signed(key, "localhost").public_bytes(serialization.Encoding.PEM),
    }


@asynccontextmanager
async def far_server(
    folder: Path, *users: Mapping[str, Any], **sections: Mapping[str, Any]
) -> AsyncIterator[FarServer]:
    """A server with these users and settings; stopped, gracefully, when the context ends."""
    settings = await asyncio.to_thread(settings_in, folder, *users, **sections)
    toml = folder / "server.toml"
    write_new(toml, render(settings).encode())
    stopping, reloading = asyncio.Event(), asyncio.Event()
    told: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            serve(Source(toml), stopping, reloading, told.set_result), name="transfer server"
        )
        either: set[asyncio.Future[Any]] = {told, task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        try:
            yield FarServer(folder, toml, told.result(), stopping, reloading, settings)
        finally:
            stopping.set()
