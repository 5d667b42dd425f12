"""A rate that an operator sets holds for the transfer: over reconnects, on all its connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connect_helper.server.set_rates import LIMIT, SetRates, transfer_of
from connect_helper.server.token_contents import TokenClaims
from connect_helper.server.tokens import TokenAuthority
from tests.support.far_server import TOKEN_KEY, FarServer, far_server, user
from tests.support.known_server import KnownServer
from tests.support.server_parts import PASSWORD, Clock, access, claims

FILE = bytes(400_000)
RATE = 3200  # kbit/s: FILE takes a second


class Operator:
    """A server, and the Node API of an account that sees all its transfers."""

    def __init__(self, server: FarServer, client: aiohttp.ClientSession) -> None:
        self._server = server
        self._client = client
        self._http = f"http://127.0.0.1:{server.running.http_port}"

    def ssh(self, secret: str = PASSWORD) -> KnownServer:
        return KnownServer(self._server.running.ssh_port or 0, "ben", secret)

    async def running(self) -> list[dict[str, Any]]:
        """The transfers that go on."""
        async with self._client.get(f"{self._http}/ops/transfers?active_only=true") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def rates(self) -> list[int]:
        """What the transfers that go on may move in a second, kbit; 0: as much as they can."""
        return [one["sessions"][0]["target_rate_kbps"] for one in await self.running()]

    async def slow_down(self, kbps: int) -> None:
        """Set the rate of the first transfer that goes on."""
        route = f"{self._http}/ops/transfers/{(await self.running())[0]['id']}"
        async with self._client.put(route, json={"target_rate_kbps": kbps}) as answer:
            assert answer.status == 200, await answer.text()

    async def alone(self) -> None:
        """Wait until no transfer goes on."""
        async with asyncio.timeout(10):
            while await self.running():  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)

    async def fetch_over_http(self, token: str) -> bytes:
        """The file, by a token."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client,
            client.get(f"{self._http}/fallback/v1/files/inbox/film") as answer,
        ):
            return await answer.read()


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    (tmp_path / "b/inbox").mkdir()
    (tmp_path / "b/inbox/film").write_bytes(FILE)
    headers = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with (
        far_server(tmp_path / "server", *users) as server,
        aiohttp.ClientSession(headers=headers) as client,
    ):
        yield Operator(server, client)


def a_token(number: int = 1) -> str:
    found: TokenClaims = claims("ben", now=time.time(), id=str(number) * 32)
    return TokenAuthority(TOKEN_KEY).issue(found)


async def fetch(connection: Any) -> None:
    """Fetch the file over SFTP."""
    async with (
        connection.start_sftp_client() as sftp,
        sftp.open("inbox/film", "rb", block_size=32_768) as file,
    ):
        assert len(await file.read()) == len(FILE)


@pytest.mark.parametrize("by", ["token", "account"])
async def test_a_rate_holds_when_the_client_comes_back(by: str, operator: Operator) -> None:
    secret = a_token() if by == "token" else PASSWORD
    async with operator.ssh(secret):
        await operator.slow_down(RATE)
        assert await operator.rates() == [RATE]
    await operator.alone()
    async with operator.ssh(secret) as again:
        assert await operator.rates() == [RATE]
        began = time.monotonic()
        await fetch(again)
        assert time.monotonic() - began > 0.6


async def test_a_rate_holds_for_all_connections_of_a_transfer_together(operator: Operator) -> None:
    async with operator.ssh(a_token()) as one, operator.ssh(a_token()) as two:
        await operator.slow_down(RATE)
        assert await operator.rates() == [RATE, RATE]
        began = time.monotonic()
        await asyncio.gather(fetch(one), fetch(two))
        assert time.monotonic() - began > 1.4, "twice the file, at one rate"


async def test_a_rate_holds_where_the_client_goes_on_over_http(operator: Operator) -> None:
    async with operator.ssh(a_token()):
        await operator.slow_down(RATE)
    await operator.alone()
    assert len(await operator.fetch_over_http(a_token())) == len(FILE)
    assert await operator.rates() == [RATE]


async def test_a_client_has_one_address_over_ssh_and_http(tmp_path: Path) -> None:
    """Where HTTP listens at all addresses, as it does by default, and the client comes by IPv4."""
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    (tmp_path / "b/film").write_bytes(FILE)
    ben = {"Authorization": aiohttp.encode_basic_auth("ben", PASSWORD)}
    ann = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with (
        far_server(tmp_path / "server", *users, http={"address": ""}) as server,
        aiohttp.ClientSession(headers=ann) as client,
    ):
        operator = Operator(server, client)
        async with operator.ssh():
            await operator.slow_down(RATE)
        await operator.alone()
        url = f"http://127.0.0.1:{server.running.http_port}/fallback/v1/files/film"
        async with client.get(url, headers=ben) as answer:
            assert answer.status == 200
            (over_http,) = await operator.running()
        told = over_http["sessions"][0]
        assert (told["client_ip_address"], told["target_rate_kbps"]) == ("127.0.0.1", RATE)


async def test_other_transfers_are_as_fast_as_before(operator: Operator) -> None:
    async with operator.ssh(a_token()), operator.ssh(a_token(2)), operator.ssh():
        await operator.slow_down(RATE)
        assert await operator.rates() == [RATE, 0, 0]


async def test_a_rate_that_is_lifted_is_lifted_for_good(operator: Operator) -> None:
    async with operator.ssh(a_token()):
        await operator.slow_down(RATE)
    await operator.alone()
    async with operator.ssh(a_token()):
        await operator.slow_down(0)
        assert await operator.rates() == [0]
    await operator.alone()
    async with operator.ssh(a_token()):
        assert await operator.rates() == [0]


DAY_S = 24 * 3600


@pytest.mark.parametrize(
    ("token_life_s", "kept_s"), [(None, 3600), (60, DAY_S), (5 * DAY_S, 5 * DAY_S)], ids=str
)
async def test_a_rate_is_forgotten_when_its_transfer_does_not_come_back(
    token_life_s: int | None, kept_s: int
) -> None:
    clock = Clock()
    life = None if token_life_s is None else int(clock.now) + token_life_s
    who = access(token=None if life is None else claims(now=clock.now, expires_at=life))
    rates, transfer = SetRates(clock, clock), transfer_of(who, "192.0.2.1", None)
    rates.change(transfer, who, "in", 500)
    clock.now += kept_s - 1
    assert rates.limit(transfer_of(who, "192.0.2.1", None), "in") is not None
    clock.now += max(kept_s, DAY_S) + 2
    assert rates.limit(transfer, "in") is None


@pytest.mark.parametrize("jump_s", [10 * 365 * DAY_S, -10 * 365 * DAY_S])
async def test_a_clock_that_jumps_lifts_no_limit_of_what_runs(jump_s: float) -> None:
    clock, who = Clock(), access()
    rates, transfer = SetRates(clock), transfer_of(who, "192.0.2.1", None)
    rates.change(transfer, who, "in", 500)
    clock.now += jump_s
    assert rates.limit(transfer, "in") is not None


async def test_only_so_many_rates_are_kept() -> None:
    rates, who = SetRates(), access()
    transfers = [transfer_of(who, f"address {number}", None) for number in range(LIMIT + 1)]
    for transfer in transfers:
        rates.change(transfer, who, "in", 500)
    assert rates.limit(transfers[0], "in") is None
    assert rates.limit(transfers[1], "in") is not None
