"""How quickly our transfer server moves one large file, beside a stock sshd in the same run.

    python -m benchmarks.far_end [--rows sftp helper https https-warm https-long https-running]
                                 [--runs 3] [--size-mib 2048]

Each run moves the file with one client to and from one server, in turn; figures are medians, time goes from
the start of the client's process to its end, or in a helper that runs already (`warm`, `running`) from being
told to its answer. The copy is compared each time. Processor seconds per GB are those of server and client:
on a machine with neighbours they say more than the time. Exit code 1: a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import movers
from benchmarks.bytecode import compile_all
from benchmarks.far_servers import FarServer, OurServer, Sshd
from benchmarks.links import Conditions
from benchmarks.movers import Command, Direction, Job
from benchmarks.running import RunningHelper
from benchmarks.speed import LIMIT_S, MIB, Row, Run, link_for, machine, make_source, remove, run_once, same

Client = Callable[[Job, FarServer], Command]
LONG = Conditions(100, 200, 0)
LONG_MB_S = (170 / 8, 170 / 8)


@dataclass(frozen=True, slots=True)
class Work:
    """One row: a client, the servers it meets, and what is promised.

    `ratio`: speed with our server over speed with sshd, at least; `mb_s`: MB/s with ours, at least.
    `running`: in a worker of a helper that was at the server before.
    """

    row: Row
    client: Client
    peer: bool
    running: bool = False
    ratio: float = 0.0
    mb_s: tuple[float, float] = (0.0, 0.0)  # up, down


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one client with one server in one direction."""

    row: str
    direction: Direction
    server: str
    seconds: float
    mb_s: float
    server_cpu_s_per_gb: float
    client_cpu_s_per_gb: float
    runs: int


def by_sftp(job: Job, _server: FarServer) -> Command:
    """OpenSSH's `sftp`."""
    return movers.sftp(job)


def by_helper(job: Job, _server: FarServer) -> Command:
    """A session of the helper, over SSH."""
    return movers.connect_helper(job)


def by_https(job: Job, server: FarServer) -> Command:
    """A session of the helper that goes over the HTTPS fallback at once, with a token."""
    assert isinstance(server, OurServer)
    command = movers.connect_helper(job)
    path = Path(command.words[-1])
    plan: dict[str, Any] = json.loads(path.read_text())
    up = job.direction == "up"
    token = server.token("send", job.target.parent) if up else server.token("receive", job.source)
    plan["login"] = {"user": job.user, "token": token}
    plan["server"]["host"] = "localhost"  # what its certificate is for
    plan["fallback"] = {"port": server.https_port, "forced": True, "ca_file": str(server.certificate)}
    plan["destination"] = str(job.target.parent) if up else ""
    path.write_text(json.dumps(plan))
    return command


def works(size: int) -> tuple[Work, ...]:
    """All rows, for files of `size` bytes on loopback."""
    return (
        Work(Row("sftp", 1, size, None, ""), by_sftp, peer=True, ratio=0.7),
        Work(Row("helper", 1, size, None, ""), by_helper, peer=True, ratio=1.2),
        Work(Row("https", 1, size, None, ""), by_https, peer=False, mb_s=(250, 400)),
        Work(Row("https-warm", 1, size, None, ""), by_https, peer=False, running=True, mb_s=(250, 400)),
        Work(Row("https-long", 1, size // 8, LONG, ""), by_https, peer=False, mb_s=LONG_MB_S),
        Work(
            Row("https-running", 1, size // 8, LONG, ""), by_https, peer=False, running=True, mb_s=LONG_MB_S
        ),
    )


class Bench:
    """One row with its servers running."""

    def __init__(self, work: Work, servers: dict[str, FarServer], link: Any, folder: Path) -> None:
        self._work, self._servers, self._link, self._folder = work, servers, link, folder
        self._source = make_source(work.row, folder)
        self._count = 0

    def measure(self, direction: Direction, runs: int) -> list[Figure]:
        seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in self._servers}
        for _ in range(runs):
            for name, server in self._servers.items():
                seconds, ours, theirs = self._once(direction, server)
                seen[name].append((seconds, ours, theirs))
                print(
                    f"{self._work.row.name:10} {direction:4} {name:14} {seconds:6.2f} s"
                    f"  {self._gb * 1000 / seconds:6.0f} MB/s  CPU s/GB: server {ours / self._gb:.2f},"
                    f" client {theirs / self._gb:.2f}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        return [self._figure(direction, name, runs) for name, runs in seen.items()]

    @property
    def _gb(self) -> float:
        return self._work.row.total / 1e9

    def _once(self, direction: Direction, server: FarServer) -> tuple[float, float, float]:
        """Seconds, and the processor seconds of server and client."""
        self._count += 1
        target, scratch = self._folder / "far" / "target", self._folder / f"scratch-{self._count}"
        target.parent.mkdir(exist_ok=True)
        remove(target)
        scratch.mkdir()
        login = server.login
        job = Job(
            direction, self._source, target, False, login.address, login.port, login.user, login.key,
            login.host_key, scratch,
        )  # fmt: skip
        before = server.cpu_s()
        run = self._run(job, server)
        used = server.cpu_s() - before
        if not same(self._source, target):
            raise RuntimeError("the copy differs")
        return run.seconds, used, run.cpu_s

    def _run(self, job: Job, server: FarServer) -> Run:
        if not self._work.running:
            return run_once(self._work.client(job, server), self._link, LIMIT_S)
        helper = RunningHelper(self._link, lambda one: Path(self._work.client(one, server).words[-1]))
        try:
            return Run(*helper.run(job, LIMIT_S))
        finally:
            helper.close()

    def _figure(self, direction: Direction, name: str, runs: list[tuple[float, float, float]]) -> Figure:
        seconds, ours, theirs = (statistics.median(column) for column in zip(*runs, strict=True))
        return Figure(
            self._work.row.name,
            direction,
            name,
            round(seconds, 3),
            round(self._gb * 1000 / seconds, 1),
            round(ours / self._gb, 2),
            round(theirs / self._gb, 2),
            len(runs),
        )


def broken_promises(work: Work, figures: list[Figure]) -> list[str]:
    """What the figures of one direction of a row fall short of."""
    by_name = {one.server: one for one in figures}
    ours = by_name["connect-helper"]
    up, down = work.mb_s
    said = []
    if ours.mb_s < (least := up if ours.direction == "up" else down):
        said.append(f"{work.row.name} {ours.direction}: {ours.mb_s:.0f} MB/s, promised are {least:.0f}")
    if work.peer:
        ratio = by_name["sshd"].seconds / ours.seconds
        print(f"{work.row.name} {ours.direction}: {ratio:.2f} x sshd, promised are {work.ratio}")
        if ratio < work.ratio:
            said.append(f"{work.row.name} {ours.direction}: {ratio:.2f} x sshd, promised are {work.ratio}")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=[work.row.name for work in works(1)], default=None)
    parser.add_argument("--directions", nargs="+", choices=["up", "down"], default=["up", "down"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=2048, help="of the file; an eighth of it on a line")
    parser.add_argument("--link-command", default="", help="a program that makes the line (see README.md)")
    parser.add_argument("--link-address", default="10.77.0.2", help="the server's address on that line")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are")
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    compile_all()
    figures: list[Figure] = []
    broken: list[str] = []
    for work in works(chosen.size_mib * MIB):
        if chosen.rows is not None and work.row.name not in chosen.rows:
            continue
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=chosen.folder, prefix="bench-"))
            link = stack.enter_context(link_for(work.row, chosen.link_command, chosen.link_address))
            servers: dict[str, FarServer] = {"connect-helper": stack.enter_context(OurServer(link))}
            if work.peer:
                sshd = Sshd(link)
                stack.enter_context(sshd)
                servers["sshd"] = sshd
            bench = Bench(work, servers, link, Path(folder))
            for direction in chosen.directions:
                measured = bench.measure(direction, chosen.runs)
                figures += measured
                broken += broken_promises(work, measured)
        if chosen.json is not None:  # after each row: what is measured is not lost
            result = {"machine": machine(set()), "figures": [asdict(one) for one in figures]}
            chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    for sentence in broken:
        print(sentence)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
