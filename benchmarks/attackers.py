"""What a far end is besieged with, for `siege`: each attack bounded in count and time, on loopback only.

    python -m benchmarks.attackers '{"attack": "half-open-ssh", "ssh": 33001, "https": 8443, "user": "ann",
                                     "seconds": 20, "count": 100, "addresses": 8}'

keeps `count` attackers at work. They come from 127.0.0.2 and on, so the server can tell them from each other
and from those it serves. Prints {"tries": number} at the end.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache

import asyncssh

HOST = "127.0.0.1"
PIPELINED = 50  # junk requests sent together
MOST_SECONDS = 60
MOST_CONNECTIONS = 5000
DRIP_S = 0.5
_ERRORS = (OSError, asyncssh.Error, asyncio.IncompleteReadError, TimeoutError)
JUNK_TOKEN = "CHT1_" + "A" * 120
_REFUSED = b"HTTP/1.1 401"
_JUNK = PIPELINED * (
    f"GET /fallback/v1/files/film HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {JUNK_TOKEN}\r\n\r\n".encode()
)


@dataclass(slots=True)
class Siege:
    """One attack under way."""

    ssh: int
    https: int
    user: str
    until: float  # on the monotonic clock
    addresses: int
    tries: int = 0

    def source(self, number: int) -> tuple[str, int]:
        """Where attacker `number` comes from."""
        return f"127.0.0.{2 + number % self.addresses}", 0

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until


@cache
def _tls() -> ssl.SSLContext:
    """Trusts anybody: an attacker cares for nobody's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def _connected(
    siege: Siege, number: int, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port, local_addr=siege.source(number), ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(*_ERRORS):
            await writer.wait_closed()


async def _silent(siege: Siege, number: int, port: int, first: bytes) -> None:
    """Say `first` and nothing more, until the server hangs up."""
    async with _connected(siege, number, port) as (reader, writer):
        writer.write(first)
        while await reader.read(4096):
            pass


async def half_open_ssh(siege: Siege, number: int) -> None:
    """Connections that greet and never log in."""
    await _silent(siege, number, siege.ssh, b"SSH-2.0-siege\r\n")


async def half_open_tls(siege: Siege, number: int) -> None:
    """Connections that never agree on TLS."""
    await _silent(siege, number, siege.https, b"\x16\x03\x01")


async def dripping_ssh(siege: Siege, number: int) -> None:
    """Greetings of one byte at a time."""
    async with _connected(siege, number, siege.ssh) as (reader, writer):
        await _drip(reader, writer, b"SSH-2.0-" + b"s" * 200)


async def dripping_http(siege: Siege, number: int) -> None:
    """Requests whose headers come one byte at a time."""
    async with _connected(siege, number, siege.https, _tls()) as (reader, writer):
        await _drip(reader, writer, b"GET /fallback/v1/files/a HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4000)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
    for byte in text:
        writer.write(bytes((byte,)))
        with suppress(TimeoutError):
            async with asyncio.timeout(DRIP_S):
                if not await reader.read(4096):
                    return


class _Careless(asyncssh.SSHClient):
    """Who guesses passwords does not mind which server takes them."""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return True


async def login_storm(siege: Siege, number: int) -> None:
    """Wrong passwords, as quickly as they are refused."""
    async with asyncssh.connect(
        HOST, siege.ssh, local_addr=siege.source(number), username=siege.user, password=f"wrong {number}",
        client_factory=_Careless, known_hosts=([], [], []), config=None, client_keys=None, agent_path=None,
        login_timeout=30,
    ):  # fmt: skip
        raise RuntimeError("a wrong password was taken")


async def junk_tokens(siege: Siege, number: int) -> None:
    """Tokens that are none, many on their way over each connection; that they are refused is just counted."""
    async with _connected(siege, number, siege.https, _tls()) as (reader, writer):
        while siege.goes_on:
            writer.write(_JUNK)
            refused, seen = 0, b""
            while refused < PIPELINED:
                data = await reader.read(256 * 1024)
                if not data:
                    return
                seen = seen[1 - len(_REFUSED) :] + data  # one may have come in two pieces
                if b"HTTP/1.1 2" in seen:
                    raise RuntimeError("a junk token was taken")
                refused += seen.count(_REFUSED)
                siege.tries += seen.count(_REFUSED)


Attack = Callable[[Siege, int], Awaitable[None]]
ATTACKS: dict[str, Attack] = {
    "half-open-ssh": half_open_ssh,
    "half-open-tls": half_open_tls,
    "dripping-ssh": dripping_ssh,
    "dripping-http": dripping_http,
    "login-storm": login_storm,
    "junk-tokens": junk_tokens,
}


async def run(siege: Siege, attack: Attack, count: int) -> None:
    """Keep `count` attackers at work until the time is over."""

    async def again(number: int) -> None:
        while siege.goes_on:
            siege.tries += 1
            with suppress(*_ERRORS):
                await attack(siege, number)
            await asyncio.sleep(0.05)

    with suppress(TimeoutError):
        async with asyncio.timeout(siege.until - time.monotonic()), asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(again(number), name=f"attacker {number}")


def main() -> None:
    plan = json.loads(sys.argv[1])
    until = time.monotonic() + min(plan["seconds"], MOST_SECONDS)
    siege = Siege(plan["ssh"], plan["https"], plan["user"], until, plan["addresses"])
    asyncio.run(run(siege, ATTACKS[plan["attack"]], min(plan["count"], MOST_CONNECTIONS)))
    print(json.dumps({"tries": siege.tries}))


if __name__ == "__main__":
    main()
