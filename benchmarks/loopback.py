"""Moves a large file up and down through the helper and times OpenSSH's `sftp` beside it.

    python -m benchmarks.loopback [--size-mib 1024] [--runs 3] [--json FILE]

Everything is real: `connect-helper run` as its own process, a stock sshd on loopback, the HTTP calls a
local program makes, and the questions answered through the helper's own pages' API. While bytes move, ping
is called 20 times a second and the memory of every process of the helper is sampled.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.support.helper import Helper
from tests.support.sshd import SshServer

MIB = 1024 * 1024
PING_EVERY_S = 0.06  # a caller may ask 20 times a second
PAGE = {"Origin": "http://127.0.0.1:9"}  # pings as a page does, and not on the program's account
SAMPLE_EVERY_S = 0.2
POLL_EVERY_S = 0.1
READ_THE_QUESTION_S = 1.2  # a yes counts after a second
STARTS = 5
TRANSFER_LIMIT_S = 600.0

# What issue and design promise; shown beside what was measured.
MEMORY_LIMIT_MIB = 200
PING_LIMIT_MS = 20
START_LIMIT_S = 1.5


@dataclass(slots=True)
class Watch:
    """What was seen while bytes moved."""

    pings_ms: list[float] = field(default_factory=list)
    peak_mib: dict[str, float] = field(default_factory=dict)  # by role: "helper", "worker"


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the runs, peaks over all of them."""

    size_mib: int
    runs: int
    upload_mib_s: float
    download_mib_s: float
    sftp_upload_mib_s: float
    sftp_download_mib_s: float
    sha256_equal: bool
    peak_mib: dict[str, float]
    ping_p50_ms: float
    ping_p99_ms: float
    ping_max_ms: float
    pings: int
    start_s: float


class User:
    """Answers what the helper asks, as its pages would: yes to questions, `file` to dialogs."""

    def __init__(self, helper: Helper, session: aiohttp.ClientSession) -> None:
        self._helper = helper
        self._session = session
        self.file = Path()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Answer everything until the context is left."""
        working = asyncio.create_task(self._work(), name="the user")
        try:
            yield
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _work(self) -> None:
        while True:
            address = await self._helper.opened(within_s=TRANSFER_LIMIT_S)
            await self._answer(address)

    async def _answer(self, address: str) -> None:
        found = re.fullmatch(r"(.*)/(pick|ask)/([^#]+)#code=(.*)", address)
        assert found is not None, address
        base, kind, pending, code = found.groups()
        async with self._session.post(f"{base}/api/session", json={"code": code}) as answer:
            token = (await answer.json())["token"]
        headers = {"Authorization": f"Bearer {token}"}
        item = f"{base}/api/pending/{pending}"
        reply = {"paths": [str(self.file)]} if kind == "pick" else {"accepted": True, "remember": False}
        async with self._session.get(f"{item}/stream", headers=headers):  # a page that is there
            await asyncio.sleep(READ_THE_QUESTION_S)
            async with self._session.post(f"{item}/answer", headers=headers, json=reply) as answer:
                answer.raise_for_status()


class Program:
    """A local program that uses the helper."""

    def __init__(self, helper: Helper, session: aiohttp.ClientSession) -> None:
        self._base = f"{helper.base_url}/v5/connect"
        self._session = session
        self._settings = {"app_id": str(uuid.uuid4())}

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        body["aspera_connect_settings"] = {**self._settings, **body.get("aspera_connect_settings", {})}
        async with self._session.post(f"{self._base}/{path}", data=json.dumps(body)) as answer:
            content: dict[str, Any] = await answer.json()
        if "error" in content:
            raise RuntimeError(f"{path}: {content['error']}")
        return content

    async def transfer(self, spec: Mapping[str, Any]) -> float:
        """Start a transfer; seconds from its acceptance to `completed`."""
        answer = await self.post("transfers/start", transfer_specs=[{"transfer_spec": dict(spec)}])
        begun = time.perf_counter()
        transfer_id = answer["transfer_specs"][0]["uuid"]
        while time.perf_counter() - begun < TRANSFER_LIMIT_S:
            info = (await self.post(f"transfers/info/{transfer_id}"))["transfer_info"]
            if info["status"] == "completed":
                return time.perf_counter() - begun
            if info["status"] in ("failed", "cancelled"):
                raise RuntimeError(f"The transfer ended {info['status']}: {info['error_desc']}")
            await asyncio.sleep(POLL_EVERY_S)
        raise TimeoutError("The transfer did not end.")


@asynccontextmanager
async def watching(helper: Helper, session: aiohttp.ClientSession, watch: Watch) -> AsyncIterator[None]:
    """Ping and sample memory until the context is left."""
    tasks = [
        asyncio.create_task(_ping(helper, session, watch), name="ping"),
        asyncio.create_task(_sample(psutil.Process(helper.pid), watch), name="memory"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError) and isinstance(ended, BaseException):
                raise ended


async def _ping(helper: Helper, session: aiohttp.ClientSession, watch: Watch) -> None:
    address = f"{helper.base_url}/v5/connect/info/ping"
    while True:
        begun = time.perf_counter()
        async with session.get(address, headers=PAGE) as answer:
            await answer.read()
            answer.raise_for_status()
        watch.pings_ms.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(PING_EVERY_S)


async def _sample(helper: psutil.Process, watch: Watch) -> None:
    while True:
        # Aside: looking through all processes takes milliseconds that would count as a slow ping.
        await asyncio.to_thread(_note_memory, helper, watch.peak_mib)
        await asyncio.sleep(SAMPLE_EVERY_S)


def _note_memory(helper: psutil.Process, peak_mib: dict[str, float]) -> None:
    for role, process in [("helper", helper), *(("worker", child) for child in helper.children(True))]:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.memory_info().rss / MIB
            peak_mib[role] = max(peak_mib.get(role, 0.0), used)


def make_file(path: Path, size_mib: int) -> str:
    """Fill `path` with random bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size_mib):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def openssh(server: SshServer, command: str) -> float:
    """Seconds OpenSSH's sftp takes for one command."""
    key = server.folder / "benchmark_key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(server.client_key)
    options = ["-q", "-b", "-", "-P", str(server.port), "-i", str(key), "-oIdentitiesOnly=yes"]
    options += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-F", "none"]
    begun = time.perf_counter()
    subprocess.run(
        ["sftp", *options, f"{server.user}@{server.host}"],
        input=command, text=True, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begun


def common_spec(server: SshServer) -> dict[str, Any]:
    key = base64.b64decode(server.host_key_line.split()[1])
    return {
        "remote_host": server.host,
        "ssh_port": server.port,
        "remote_user": server.user,
        "ssh_private_key": server.client_key,
        "sshfp": hashlib.sha256(key).hexdigest(),
    }


async def start_times(folder: Path) -> list[float]:
    """Seconds from starting `connect-helper run` to its first answered ping, each time with a fresh home."""
    times = []
    for turn in range(STARTS):
        begun = time.perf_counter()
        async with Helper.running(folder / f"start-{turn}"):
            times.append(time.perf_counter() - begun)
    return times


@dataclass(slots=True)
class Lap:
    """One file, four ways: seconds each way took, and whether what arrived was the same."""

    seconds: dict[str, float] = field(default_factory=dict)
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Course:
    """What a lap needs; all of it stays the same from lap to lap."""

    source: Path
    digest: str
    server: SshServer
    helper: Helper
    program: Program
    session: aiohttp.ClientSession
    watch: Watch

    async def lap(self) -> Lap:
        """Send the file up and down through the helper, then both ways by sftp."""
        lap = Lap()
        arrived = self.server.root / "up" / self.source.name
        returned = self.helper.downloads / self.source.name
        for path in (arrived, returned):
            path.unlink(missing_ok=True)
        spec = common_spec(self.server)
        up = {"direction": "send", "destination_root": str(arrived.parent), "create_dir": True}
        async with watching(self.helper, self.session, self.watch):
            lap.seconds["up"] = await self.program.transfer(
                {**spec, **up, "paths": [{"source": str(self.source)}]}
            )
            lap.seconds["down"] = await self.program.transfer(
                {**spec, "direction": "receive", "paths": [{"source": str(arrived)}]}
            )
        for path in (arrived, returned):
            lap.equal = lap.equal and await asyncio.to_thread(digest_of, path) == self.digest
        there, back = self.server.root / "peer.bin", self.source.with_name("peer.bin")
        for name, command in (
            ("sftp up", f'put "{self.source}" "{there}"\n'),
            ("sftp down", f'get "{there}" "{back}"\n'),
        ):
            lap.seconds[name] = await asyncio.to_thread(openssh, self.server, command)
        return lap


async def measure(folder: Path, size_mib: int, runs: int) -> Measured:
    """Run everything in `folder`, which needs room for five copies of the file."""
    starts = await start_times(folder)
    source = folder / "source" / "film.bin"
    source.parent.mkdir()
    digest = await asyncio.to_thread(make_file, source, size_mib)
    watch = Watch()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(SshServer())
        helper = await stack.enter_async_context(Helper.running(folder / "home"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        user, program = User(helper, session), Program(helper, session)
        user.file = source
        await stack.enter_async_context(user.at_work())
        await program.post("windows/select-open-file-dialog/")
        course = Course(source, digest, server, helper, program, session, watch)
        laps = [await course.lap() for _ in range(runs)]
    return summary(size_mib, laps, watch, starts)


def summary(size_mib: int, laps: list[Lap], watch: Watch, starts: list[float]) -> Measured:
    """Medians of the laps."""
    speed = {
        name: size_mib / statistics.median(lap.seconds[name] for lap in laps) for name in laps[0].seconds
    }
    pings = sorted(watch.pings_ms)
    return Measured(
        size_mib=size_mib,
        runs=len(laps),
        upload_mib_s=speed["up"],
        download_mib_s=speed["down"],
        sftp_upload_mib_s=speed["sftp up"],
        sftp_download_mib_s=speed["sftp down"],
        sha256_equal=all(lap.equal for lap in laps),
        peak_mib=watch.peak_mib,
        ping_p50_ms=statistics.median(pings),
        ping_p99_ms=pings[int(len(pings) * 0.99)],
        ping_max_ms=pings[-1],
        pings=len(pings),
        start_s=statistics.median(starts),
    )


def show(measured: Measured) -> None:
    """Print the table; the last column says what has to hold."""
    peak = max(measured.peak_mib.values())
    each = ", ".join(f"{role} {mib:.0f}" for role, mib in sorted(measured.peak_mib.items()))
    rows = [
        ("upload", f"{measured.upload_mib_s:.0f} MiB/s", f"sftp: {measured.sftp_upload_mib_s:.0f} MiB/s"),
        (
            "download",
            f"{measured.download_mib_s:.0f} MiB/s",
            f"sftp: {measured.sftp_download_mib_s:.0f} MiB/s",
        ),
        ("SHA-256 equal", "yes" if measured.sha256_equal else "NO", "yes"),
        ("peak memory of a process", f"{peak:.0f} MiB", f"below {MEMORY_LIMIT_MIB} MiB ({each})"),
        ("ping, 50th percentile", f"{measured.ping_p50_ms:.1f} ms", ""),
        ("ping, 99th percentile", f"{measured.ping_p99_ms:.1f} ms", f"below {PING_LIMIT_MS} ms"),
        ("ping, slowest", f"{measured.ping_max_ms:.1f} ms", f"of {measured.pings}"),
        ("start to first ping", f"{measured.start_s:.2f} s", f"below {START_LIMIT_S} s"),
    ]
    print(
        f"{measured.size_mib} MiB each way over loopback, medians of {measured.runs} runs, beside sftp's own"
    )
    for name, value, note in rows:
        print(f"  {name:26} {value:>12}   {note}")


def holds(measured: Measured) -> bool:
    """Whether everything promised was kept."""
    return (
        measured.sha256_equal
        and max(measured.peak_mib.values()) < MEMORY_LIMIT_MIB
        and measured.ping_p99_ms < PING_LIMIT_MS
        and measured.start_s < START_LIMIT_S
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loopback", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the file (default: 1024)")
    parser.add_argument("--runs", type=int, default=3, help="how often; medians are shown (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="connect-helper-bench-", dir=chosen.folder) as folder:
        measured = asyncio.run(measure(Path(folder), chosen.size_mib, chosen.runs))
    show(measured)
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(measured), indent=2) + "\n")
    return 0 if holds(measured) else 1


if __name__ == "__main__":
    sys.exit(main())
