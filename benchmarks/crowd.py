"""Many sessions at once on our transfer server: errors, memory, fairness, and how long a new login takes.

    python -m benchmarks.crowd [--sessions 300] [--files 20] [--file-kib 1024] [--https 0]

All sessions log in, wait for each other and then move their files, one up, the next down, in requests of
64 KiB. `--https N` has N of them come over the HTTPS fallback. What arrived is compared at both
ends. Beside them a process that does nothing else logs in anew, once a second. The clients need processors
too, so a small machine shows what clients and server can do together. Exit code 1: a promise is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.crowd_client import content
from benchmarks.far_servers import OurServer

PROMISED_MIB = 1500
PROMISED_LOGIN_S = 2.0
PROMISED_SHARE = 1 / 3  # of the median rate, for the slowest session
LINE_LIMIT = 16 * 1024 * 1024  # bytes of one answer of a client process
LIMIT_S = 900.0

Answer = dict[str, Any]


class Client:
    """One process with some of the sessions, or the one that logs in."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, plan: Answer) -> Client:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.crowd_client",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT,
        )  # fmt: skip
        client = cls(process)
        client.tell(json.dumps(plan))
        return client

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def hear(self) -> Answer:
        """Its next line."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a client process ended early")
        answer: Answer = json.loads(line)
        return answer

    async def end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()


def plan_for(server: OurServer, chosen: argparse.Namespace, numbers: list[int], folder: Path) -> Answer:
    """What one client process does: the sessions with these numbers."""
    login = server.login
    return {
        "task": "move",
        "server_pid": server.pid,
        "host": login.address,
        "port": login.port,
        "user": login.user,
        "key": login.key.read_text(),
        "host_key": login.host_key,
        "https_port": server.https_port,
        "certificate": str(server.certificate),
        "receive": server.token("receive", folder),
        "send": server.token("send", folder),
        "sessions": numbers,
        "https": chosen.https,
        "files": chosen.files,
        "size": chosen.file_kib * 1024,
        "folder": str(folder),
    }


def shares(sessions: int, processes: int) -> list[list[int]]:
    return [list(range(first, sessions, processes)) for first in range(processes)]


async def measure(server: OurServer, chosen: argparse.Namespace, folder: Path) -> Answer:
    """Run the crowd once."""
    clients: list[Client] = []
    try:
        for numbers in shares(chosen.sessions, chosen.processes):
            client = await Client.start(plan_for(server, chosen, numbers, folder))
            clients.append(client)  # each at once: those that run are ended whatever happens
        await asyncio.gather(*(client.hear() for client in clients))
        prober = await Client.start({**plan_for(server, chosen, [], folder), "task": "log in"})
        clients.append(prober)
        await prober.hear()
        cpu, began = server.cpu_s(), time.monotonic()
        for client in clients:
            client.tell("go")
        told = await asyncio.gather(*(client.hear() for client in clients[:-1]))
        seconds = time.monotonic() - began
        prober.tell("stop")
        logins = await prober.hear()
    finally:
        for client in clients:
            await client.end()
    sessions = [one for answer in told for one in answer["sessions"]]
    return {
        "sessions": sessions,
        "seconds": seconds,
        "cpu_s": server.cpu_s() - cpu,
        "logins_s": logins["seconds"],
        "logins_cpu_s": logins["cpu_s"],
        "login_errors": logins["errors"],
        "peak_mib": server.peak_mib(),
    }


def arrived_wrong(chosen: argparse.Namespace, folder: Path) -> list[str]:
    """Uploads that are missing or differ."""
    size = chosen.file_kib * 1024
    wrong = []
    for session in range(chosen.sessions):
        for number in range(0, chosen.files, 2):
            path = folder / f"up-{session}-{number}"
            if not path.exists() or path.read_bytes() != content(session, number, size):
                wrong.append(path.name)
    return wrong


def judge(result: Answer, chosen: argparse.Namespace, wrong: list[str]) -> list[str]:
    """Print the figures; what falls short of a promise is returned."""
    done = [one["seconds"] for one in result["sessions"] if not one["error"]]
    errors = [one["error"] for one in result["sessions"] if one["error"]] + result["login_errors"]
    moved_mib = chosen.sessions * chosen.files * chosen.file_kib / 1024
    rates = sorted(chosen.files * chosen.file_kib / 1024 / seconds for seconds in done)
    print(f"{chosen.sessions} sessions moved {moved_mib:.0f} MiB in {result['seconds']:.1f} s"
          f" ({moved_mib / result['seconds']:.0f} MiB/s),"
          f" server {result['cpu_s'] / moved_mib * 954:.2f} CPU s/GB")  # fmt: skip
    said = []
    if errors or wrong:
        said.append(f"{len(errors)} errors ({errors[:3]}), {len(wrong)} files that differ ({wrong[:3]})")
    if rates:
        share = rates[0] / statistics.median(rates)
        middle = statistics.median(rates)
        print(f"rates: slowest {rates[0]:.2f}, median {middle:.2f}, fastest {rates[-1]:.2f} MiB/s,"
              f" slowest / median {share:.2f}, promised {PROMISED_SHARE:.2f}")  # fmt: skip
        if share < PROMISED_SHARE:
            said.append(f"the slowest session had {share:.2f} of the median rate")
    slowest = max(result["logins_s"], default=0.0)
    print(f"new logins meanwhile: {len(result['logins_s'])}, median"
          f" {statistics.median(result['logins_s'] or [0]):.2f} s, slowest {slowest:.2f} s,"
          f" promised {PROMISED_LOGIN_S} s; the server worked"
          f" {statistics.median(result['logins_cpu_s'] or [0]):.2f} s meanwhile")  # fmt: skip
    if slowest >= PROMISED_LOGIN_S or not result["logins_s"]:
        said.append(f"a login took {slowest:.2f} s")
    print(f"largest memory of the server: {result['peak_mib']} MiB, promised {PROMISED_MIB}")
    if result["peak_mib"] > PROMISED_MIB:
        said.append(f"the server took {result['peak_mib']} MiB")
    return said


def make_sources(chosen: argparse.Namespace, folder: Path) -> None:
    size = chosen.file_kib * 1024
    for session in range(chosen.sessions):
        for number in range(1, chosen.files, 2):
            (folder / f"down-{session}-{number}").write_bytes(content(session, number, size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--files", type=int, default=20, help="of each session")
    parser.add_argument("--file-kib", type=int, default=1024)
    parser.add_argument("--https", type=int, default=0, help="sessions that come over the HTTPS fallback")
    parser.add_argument("--processes", type=int, default=max(2, (os.cpu_count() or 2)), help="of the clients")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are")
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="bench-") as scratch:
        folder = Path(scratch)
        make_sources(chosen, folder)
        with OurServer() as server:
            result = asyncio.run(asyncio.wait_for(measure(server, chosen, folder), LIMIT_S))
        broken = judge(result, chosen, arrived_wrong(chosen, folder))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    for sentence in broken:
        print("not kept:", sentence)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
