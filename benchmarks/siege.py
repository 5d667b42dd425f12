"""Whether our transfer server goes on serving while it is besieged (security notes, SEC-31 and SEC-32).

    python -m benchmarks.siege [--attacks login-storm junk-tokens ...] [--seconds 20]

A good client logs in over SSH with its key and fetches 1 MiB, and fetches the same over HTTPS by token, again
and again, anew each time: first in peace, then during each attack. Attackers and client are on loopback, each
attacker from one of several addresses. Exit code 1: the good client was refused, or waited longer than
promised. On a machine with neighbours look at the medians beside those of peace.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncssh

from benchmarks.attackers import ATTACKS
from benchmarks.crowd_client import logged_in
from benchmarks.far_servers import OurServer
from connect_helper.transports.sftp_answers import data_of

PROMISED_S = 5.0  # of one turn of the good client, at most
LIMIT_S = 60.0
EVERY_S = 0.2
SIZE = 1024 * 1024
# What each attack keeps up at once, and from how many addresses.
FORCE = {
    "half-open-ssh": (600, 8),
    "half-open-tls": (4400, 8),
    "dripping-ssh": (400, 8),
    "dripping-http": (1200, 8),
    "login-storm": (60, 8),
    "junk-tokens": (1000, 8),
}


@dataclass(slots=True)
class Service:
    """How the good client fared: seconds of each turn, and what went wrong."""

    ssh_s: list[float] = field(default_factory=list)
    https_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def text(self) -> str:
        said = []
        for name, seconds in (("SSH", self.ssh_s), ("HTTPS", self.https_s)):
            if seconds:
                said.append(
                    f"{name} median {statistics.median(seconds):.2f} s,"
                    f" slowest {max(seconds):.2f} s of {len(seconds)}"
                )
        return "; ".join(said) + (f"; {len(self.errors)} errors: {self.errors[0]}" if self.errors else "")


class Client:
    """The good client, with the file it fetches."""

    def __init__(self, server: OurServer, film: Path) -> None:
        login = server.login
        self._film, self._content = film, film.read_bytes()
        self._plan = {
            "host": login.address,
            "port": login.port,
            "user": login.user,
            "host_key": login.host_key,
        }
        self._plan["key"] = login.key.read_text()
        self._url = f"https://{login.address}:{server.https_port}/fallback/v1/files{film}"
        self._token = server.token("receive", film)
        self._tls = ssl.create_default_context(cafile=str(server.certificate))
        self._tls.check_hostname = False  # made for "localhost"; the certificate itself is pinned

    async def use(self, until: Callable[[], bool]) -> Service:
        """Ask for the file both ways again and again."""
        service = Service()
        await asyncio.gather(
            self._again(self.by_ssh, service.ssh_s, service, until),
            self._again(self.by_https, service.https_s, service, until),
        )
        return service

    async def _again(
        self,
        turn: Callable[[], Awaitable[None]],
        seconds: list[float],
        service: Service,
        until: Callable[[], bool],
    ) -> None:
        while not until():
            began = time.monotonic()
            try:
                async with asyncio.timeout(LIMIT_S):
                    await turn()
                seconds.append(time.monotonic() - began)
            except (OSError, TimeoutError, RuntimeError, asyncssh.Error, aiohttp.ClientError) as error:
                service.errors.append(f"{turn.__name__}: {error!r}")
            await asyncio.sleep(EVERY_S)

    async def by_ssh(self) -> None:
        async with logged_in(self._plan) as wire:
            handle = await wire.open_file(str(self._film).encode(), asyncssh.FXF_READ)
            if bytes(data_of(await wire.start_read(handle, 0, SIZE))) != self._content:
                raise RuntimeError("the file differs")

    async def by_https(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls)) as session,
            session.get(self._url, headers=headers) as answer,
        ):
            if answer.status != 200 or await answer.read() != self._content:
                raise RuntimeError(f"HTTP {answer.status}")


async def besiege(server: OurServer, client: Client, attack: str, seconds: float) -> tuple[Service, int]:
    """How the good client fares during an attack, and how often the attackers tried."""
    count, addresses = FORCE[attack]
    plan = {
        "attack": attack, "ssh": server.login.port, "https": server.https_port, "user": server.login.user,
        "seconds": seconds, "count": count, "addresses": addresses,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.attackers", json.dumps(plan), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        telling = asyncio.create_task(process.stdout.read(), name="attackers")
        service = await client.use(telling.done)
        return service, int(json.loads(await telling)["tries"])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def measure(server: OurServer, chosen: argparse.Namespace, film: Path) -> list[str]:
    """Peace first, then each attack; what falls short of a promise is returned."""
    client = Client(server, film)
    until = time.monotonic() + chosen.seconds / 2
    print(f"{'peace':14}", (await client.use(lambda: time.monotonic() > until)).text(), flush=True)
    broken = []
    for attack in chosen.attacks:
        before = server.cpu_s()
        service, tries = await besiege(server, client, attack, chosen.seconds)
        used = (server.cpu_s() - before) / chosen.seconds
        print(f"{attack:14} {service.text()}; {tries} tries, server {used:.2f} CPU s/s,"
              f" {server.peak_mib()} MiB", flush=True)  # fmt: skip
        slowest = max((*service.ssh_s, *service.https_s), default=LIMIT_S)
        if service.errors or not service.ssh_s or not service.https_s or slowest > PROMISED_S:
            broken.append(f"{attack}: {len(service.errors)} errors, slowest turn {slowest:.2f} s")
    return broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--attacks", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=20, help="of each attack")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, OurServer() as server:
        film = Path(folder) / "film"
        film.write_bytes(bytes(range(256)) * (SIZE // 256))
        broken = asyncio.run(measure(server, chosen, film))
    for sentence in broken:
        print("not kept:", sentence)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
