"""How quickly bytes move, beside other programs in the same run: one row for each kind of work and line.

    python -m benchmarks.speed [--rows NAME...] [--runs 3] [--link-command PROGRAM] [--json FILE]

Every mover runs as a process of its own against the same stock sshd over the same line, in turn, `--runs`
times; the figures are medians. Time goes from the start of the process to its end, so starting, logging in
and opening connections are part of it. After each run the copy is compared byte by byte.

Waiting for slow peers would take hours: one that has not finished after `--peer-limit` seconds is stopped,
its figure is what it cannot have reached, and one clearly slower than another peer runs once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.bytecode import compile_all
from benchmarks.links import Conditions, Link, Loopback, NetemLink, ProgramLink
from benchmarks.movers import Command, Direction, Job, connect_helper, installed, version_of
from benchmarks.running import RunningHelper
from tests.support.sshd import SshServer

Mover = Callable[[Job], Command]

MIB = 1024 * 1024
OURS = "connect-helper"
RUNNING = "connect-helper, running"
LIMIT_S = 300.0  # for us
START_LIMIT_S = 20.0  # for the server
CLEARLY = 0.9  # times the speed of the best peer: below it a peer is not measured again


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work. `size` in bytes, of each file; `line` None is loopback."""

    name: str
    files: int
    size: int
    line: Conditions | None
    to_reach: str
    peers: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.files * self.size

    @property
    def many(self) -> bool:
        return self.files > 1


ROWS = (
    Row("loopback", 1, 2048 * MIB, None, "1.0 x the best peer", ("sftp", "rsync", "rclone", "lftp")),
    Row(
        "gigabit",
        1,
        256 * MIB,
        Conditions(100, 1000, 0),
        "600 Mbit/s, 3 x the best peer",
        ("sftp", "rclone", "lftp"),
    ),
    Row("long", 1, 128 * MIB, Conditions(100, 200, 0), "170 Mbit/s", ("sftp", "rclone")),
    Row("lossy", 1, 64 * MIB, Conditions(100, 200, 0.1), "100 Mbit/s", ("sftp", "lftp")),
    Row("bad", 1, 32 * MIB, Conditions(100, 200, 1), "50 Mbit/s", ("sftp", "lftp")),
    Row("small", 2000, 4096, Conditions(50, 200, 0), "1,000 files/s", ("sftp", "rsync", "rclone", "lftp")),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One mover once."""

    seconds: float
    cpu_s: float  # of the client's processes


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one mover in one direction of one row; `error` says why there are none.

    `stopped`: it had not finished after `seconds`, and the speeds are what it cannot have reached.
    """

    row: str
    direction: Direction
    mover: str
    files: int
    size: int  # bytes of each file, as measured
    seconds: float = 0.0
    mbit_s: float = 0.0
    files_s: float = 0.0
    cpu_s_per_gb: float = 0.0
    runs: int = 0
    error: str = ""
    stopped: bool = False


class Server:
    """A stock sshd at the far end of a line, with the limits it comes with."""

    def __init__(self, link: Link) -> None:
        self._sshd = SshServer()
        self._link = link
        self.address, self.port, self.user = link.address, self._sshd.port, self._sshd.user
        self.host_key = self._sshd.host_key_line
        self.folder = self._sshd.folder
        self.key = self.folder / "client_key"
        self.key.write_text(self._sshd.client_key)
        self.key.chmod(0o600)

    def __enter__(self) -> Server:
        lines = self._sshd._config().replace("ListenAddress 127.0.0.1", f"ListenAddress {self.address}")
        ours = ("MaxStartups", "MaxSessions")
        config = self.folder / "stock_config"
        config.write_text("\n".join(line for line in lines.splitlines() if not line.startswith(ours)))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = shutil.which("sshd") or "/usr/sbin/sshd"
        command = self._link.server([program, "-D", "-e", "-f", str(config)])
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT_S
        while b"Server listening" not in (self.folder / "sshd.log").read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "sshd.log").read_text(errors="replace"))
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_source(row: Row, folder: Path) -> Path:
    """Random bytes: one file, or a folder of many."""
    source = folder / "source"
    if row.many:
        source.mkdir()
        for number in range(row.files):
            (source / f"file-{number:06}").write_bytes(os.urandom(row.size))
        return source
    with source.open("wb") as film:
        for _ in range(row.size // MIB):
            film.write(os.urandom(MIB))
    return source


def same(first: Path, second: Path) -> bool:
    return subprocess.run(["diff", "-rq", first, second], stdout=subprocess.DEVNULL).returncode == 0


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def run_once(command: Command, link: Link, limit_s: float) -> Run:
    """Run a mover to its end. Raises RuntimeError with what it said when it fails, TimeoutExpired."""
    with tempfile.TemporaryFile() as said:
        began, before = time.perf_counter(), os.times()
        done = subprocess.Popen(
            link.client(command.words), stdin=subprocess.PIPE, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            done.communicate(command.text.encode(), timeout=limit_s)
        except BaseException:
            os.killpg(done.pid, signal.SIGKILL)  # with what it started itself
            done.wait()
            raise
        seconds, after = time.perf_counter() - began, os.times()
        said.seek(0)
        text = said.read().decode(errors="replace")
    ours = "benchmarks.mover" in command.words
    failed = done.returncode or (ours and '"completed"' not in text)
    if failed:
        raise RuntimeError(text.strip()[-300:])
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Run(seconds, cpu)


class Bench:
    """All movers of one row over one open line."""

    def __init__(self, row: Row, link: Link, server: Server, folder: Path, peer_limit_s: float) -> None:
        self._row, self._link, self._server, self._folder = row, link, server, folder
        self._peer_limit_s = peer_limit_s
        self._source = make_source(row, folder)
        self._count = 0
        self._running: RunningHelper | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.close()

    def measure(self, direction: Direction, movers: dict[str, Mover], runs: int) -> list[Figure]:
        """Every mover in turn, `runs` times, without those that another run would tell nothing about."""
        seen: dict[str, list[Run]] = {name: [] for name in movers}
        errors: dict[str, str] = {}
        stopped: set[str] = set()
        for _ in range(runs):
            for name in movers:
                if name in errors or name in stopped or clearly_slower(name, seen):
                    continue
                try:
                    run = self._once(direction, name, movers[name])
                except subprocess.TimeoutExpired as late:
                    stopped.add(name)
                    run = Run(late.timeout, 0.0)
                except RuntimeError as error:
                    errors[name] = str(error)
                    continue
                seen[name].append(run)
                end = "stopped after" if name in stopped else ""
                print(
                    self._row.name, direction, name, end, f"{run.seconds:.2f} s", file=sys.stderr, flush=True
                )
        return [
            figure(self._row, direction, name, seen[name], errors.get(name, ""), name in stopped)
            for name in movers
        ]

    def _once(self, direction: Direction, name: str, make: Mover) -> Run:
        self._count += 1
        target, scratch = self._folder / "target", self._folder / f"scratch-{self._count}"
        remove(target)
        scratch.mkdir()
        server = self._server
        job = Job(
            direction, self._source, target, self._row.many, server.address, server.port, server.user,
            server.key, server.host_key, scratch,
        )  # fmt: skip
        if name == RUNNING:
            self._running = self._running or RunningHelper(self._link)
            run = Run(*self._running.run(job, LIMIT_S))
        else:
            run = run_once(make(job), self._link, LIMIT_S if name == OURS else self._peer_limit_s)
        if not same(self._source, target):
            raise RuntimeError("the copy differs")
        return run


def clearly_slower(name: str, seen: dict[str, list[Run]]) -> bool:
    """Tell whether a peer's first run leaves no doubt that another one is quicker."""
    ours = (OURS, RUNNING)
    if name in ours or not seen[name]:
        return False
    best = min(run.seconds for peer, runs in seen.items() if peer not in ours for run in runs)
    return seen[name][0].seconds * CLEARLY > best


def figure(row: Row, direction: Direction, name: str, runs: list[Run], error: str, stopped: bool) -> Figure:
    if error or not runs:
        return Figure(row.name, direction, name, row.files, row.size, error=error or "never ran")
    seconds = statistics.median(run.seconds for run in runs)
    cpu = statistics.median(run.cpu_s for run in runs)
    return Figure(
        row.name,
        direction,
        name,
        row.files,
        row.size,
        seconds=round(seconds, 3),
        mbit_s=round(row.total * 8 / seconds / 1e6, 1),
        files_s=round(row.files / seconds, 1) if row.many else 0.0,
        cpu_s_per_gb=round(cpu / (row.total / 1e9), 2),
        runs=len(runs),
        stopped=stopped,
    )


CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def control_of(link: Link) -> str:
    """How TCP shares the line, at the client's end of it."""
    if not CONTROL.exists():
        return "unknown"
    said = subprocess.run(link.client(["cat", str(CONTROL)]), capture_output=True, text=True, check=False)
    return said.stdout.strip()


def machine(controls: set[str]) -> dict[str, str]:
    """What the figures were measured on."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpus[0].partition(":")[2].strip() if cpus else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tcp": ", ".join(sorted(controls)),
        "load": f"{os.getloadavg()[0]:.1f}",
        "peers": "; ".join(version_of(name) for name in installed()),
    }


def link_for(row: Row, program: str, address: str) -> Link:
    if row.line is None:
        return Loopback()
    return ProgramLink(program, address, row.line) if program else NetemLink(row.line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=None)
    parser.add_argument("--directions", nargs="+", choices=["up", "down"], default=["up", "down"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--movers", nargs="+", default=None, help="only these, not all of a row's")
    parser.add_argument(
        "--peer-limit", type=float, default=30.0, help="seconds a peer may take (default: 30)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="part of each row's size or number of files")
    parser.add_argument("--link-command", default="", help="a program that makes the line (see README.md)")
    parser.add_argument("--link-address", default="10.77.0.2", help="the server's address on that line")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are")
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    compile_all()
    figures: list[Figure] = []
    controls: set[str] = set()
    text = ""
    for row in ROWS:
        if chosen.rows is not None and row.name not in chosen.rows:
            continue
        row = scaled(row, chosen.scale)
        movers = {
            OURS: connect_helper,
            **({RUNNING: connect_helper} if row.line is not None else {}),
            **{name: installed()[name] for name in row.peers if name in installed()},
        }
        if chosen.movers is not None:
            movers = {name: make for name, make in movers.items() if name in chosen.movers}
        link = link_for(row, chosen.link_command, chosen.link_address)
        with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="bench-") as folder, link:
            if row.line is not None:
                controls.add(control_of(link))
            with Server(link) as server, Bench(row, link, server, Path(folder), chosen.peer_limit) as bench:
                for direction in chosen.directions:
                    figures += bench.measure(direction, movers, chosen.runs)
        result = {"machine": machine(controls), "scale": chosen.scale}
        text = json.dumps({**result, "figures": [asdict(one) for one in figures]}, indent=1)
        if chosen.json is not None:  # after each row: what is measured is not lost
            chosen.json.write_text(text + "\n")
    print(text)


def scaled(row: Row, scale: float) -> Row:
    """A part of a row's work."""
    if row.many:
        return replace(row, files=max(2, int(row.files * scale)))
    return replace(row, size=max(1, int(row.size * scale / MIB)) * MIB)


if __name__ == "__main__":
    main()
