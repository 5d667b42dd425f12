"""A server that is besieged goes on serving: the attacks of `benchmarks.siege`, small and short."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from pathlib import Path

import aiohttp
import asyncssh
import pytest

from benchmarks.attackers import ATTACKS, Siege, run
from connect_helper.server.http import callers, tls_door
from tests.support.far_server import FarServer, far_server, user
from tests.support.server_parts import PASSWORD

SECONDS = 2.0
TURN_LIMIT_S = 60.0
SILENCE_S = 600  # what a connection may be silent is longer: none of them gives up in time
LOGIN = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
COUNT = 30
LIMITS = {"logins_under_way": 6, "logins_under_way_per_address": 5}


async def by_ssh(server: FarServer) -> None:
    key = asyncssh.read_private_key(server.folder / "ssh_host_ed25519_key").convert_to_public()
    async with (
        asyncssh.connect(
            "127.0.0.1", server.running.ssh_port or 0, username="ann", password=PASSWORD,
            known_hosts=([key], [], []), config=None, client_keys=None, agent_path=None,
        ) as connection,
        connection.start_sftp_client() as client,
        client.open("film", "rb") as file,
    ):  # fmt: skip
        assert await file.read() == b"a film"


async def by_https(server: FarServer) -> None:
    context = ssl.create_default_context(cafile=str(server.folder / "certificate.pem"))
    url = f"https://localhost:{server.running.https_port}/fallback/v1/files/film"
    async with (
        aiohttp.ClientSession(headers={"Authorization": LOGIN}) as session,
        session.get(url, ssl=context) as answer,
    ):
        assert await answer.read() == b"a film"


@pytest.mark.parametrize("attack", sorted(ATTACKS))
async def test_a_good_client_is_served_during(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-31, SEC-32."""
    monkeypatch.setattr(tls_door, "LIMIT_S", SILENCE_S)
    monkeypatch.setattr(tls_door, "AT_ONCE", 6)
    # A server that ends while refusals are under way does not hear any more that their clients have gone.
    monkeypatch.setattr(callers, "REFUSED_S", 0)
    docroot = tmp_path / "ann"
    sections = {"limits": LIMITS, "ssh": {"login_seconds": SILENCE_S}}
    async with far_server(tmp_path / "server", user("ann", docroot), **sections) as server:
        (docroot / "film").write_bytes(b"a film")
        running = server.running
        assert running.ssh_port is not None
        assert running.https_port is not None
        until = time.monotonic() + SECONDS
        siege = Siege(running.ssh_port, running.https_port, "ann", until, addresses=3)
        attackers = asyncio.create_task(run(siege, ATTACKS[attack], COUNT))
        turns = 0
        while turns < 2 or not attackers.done():
            async with asyncio.timeout(TURN_LIMIT_S):
                await by_ssh(server)
                await by_https(server)
            turns += 1
        await attackers
        assert siege.tries >= COUNT
