"""How quickly bytes move, beside other programs in the same run: one row for each kind of work and line.

    python -m benchmarks.speed [--rows NAME...] [--runs 3] [--link-command PROGRAM] [--json FILE]

Every mover runs as a process of its own against the same stock sshd over the same line, in turn, `--runs`
times; the figures are medians. Time goes from the start of the process to its end, so starting, logging in
and opening connections are part of it. After each run the copy is compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.links import Conditions, Link, Loopback, NetemLink, ProgramLink
from benchmarks.movers import Command, Direction, Job, connect_helper, installed, version_of
from tests.support.sshd import SshServer

MIB = 1024 * 1024
OURS = "connect-helper"
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work. `size` in bytes, of each file; `line` None is loopback."""

    name: str
    files: int
    size: int
    line: Conditions | None
    to_reach: str

    @property
    def total(self) -> int:
        return self.files * self.size

    @property
    def many(self) -> bool:
        return self.files > 1


ROWS = (
    Row("loopback", 1, 2048 * MIB, None, "1.0 x the best peer"),
    Row("gigabit", 1, 256 * MIB, Conditions(100, 1000, 0), "600 Mbit/s, 3 x the best peer"),
    Row("long", 1, 128 * MIB, Conditions(100, 200, 0), "170 Mbit/s"),
    Row("lossy", 1, 64 * MIB, Conditions(100, 200, 0.1), "100 Mbit/s"),
    Row("bad", 1, 32 * MIB, Conditions(100, 200, 1), "50 Mbit/s"),
    Row("small", 2000, 4096, Conditions(50, 200, 0), "1,000 files/s"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One mover once."""

    seconds: float
    cpu_s: float  # of the client's processes


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one mover in one direction of one row; `error` says why there are none."""

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
        time.sleep(1)
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


def run_once(command: Command, link: Link) -> Run:
    """Run a mover to its end. Raises RuntimeError with what it said when it fails."""
    with tempfile.TemporaryFile() as said:
        began, before = time.perf_counter(), os.times()
        done = subprocess.run(
            link.client(command.words), input=command.text.encode(), stdout=said, stderr=said,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        seconds, after = time.perf_counter() - began, os.times()
        said.seek(0)
        text = said.read().decode(errors="replace")
    ours = "benchmarks.mover" in command.words
    failed = done.returncode or (ours and '"completed"' not in text)
    if failed:
        raise RuntimeError(text.strip()[-300:])
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Run(seconds, cpu)


def measure(row: Row, directions: list[Direction], runs: int, link: Link, folder: Path) -> list[Figure]:
    """All movers on one row, in turn."""
    found: list[Figure] = []
    movers = {OURS: connect_helper, **installed()}
    with link, Server(link) as server:
        source = make_source(row, folder)
        for direction in directions:
            seen: dict[str, list[Run]] = {name: [] for name in movers}
            errors: dict[str, str] = {}
            for number in range(runs):
                for name, make in movers.items():
                    if name in errors:
                        continue
                    target, scratch = folder / "target", folder / f"scratch-{name}-{direction}-{number}"
                    remove(target)
                    scratch.mkdir()
                    job = Job(
                        direction, source, target, row.many, server.address, server.port, server.user,
                        server.key, server.host_key, scratch,
                    )  # fmt: skip
                    try:
                        run = run_once(make(job), link)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        errors[name] = str(error)
                        continue
                    if not same(source, target):
                        errors[name] = "the copy differs"
                        continue
                    seen[name].append(run)
                    print(f"{row.name} {direction} {name}: {run.seconds:.2f} s", file=sys.stderr, flush=True)
            found += [figure(row, direction, name, seen[name], errors.get(name, "")) for name in movers]
    return found


def figure(row: Row, direction: Direction, name: str, runs: list[Run], error: str) -> Figure:
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
    )


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpus[0].partition(":")[2].strip() if cpus else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tcp": control.read_text().strip() if control.exists() else "unknown",
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
    parser.add_argument("--scale", type=float, default=1.0, help="part of each row's size or number of files")
    parser.add_argument("--link-command", default="", help="a program that makes the line (see README.md)")
    parser.add_argument("--link-address", default="10.77.0.2", help="the server's address on that line")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are")
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    figures: list[Figure] = []
    for row in ROWS:
        if chosen.rows is not None and row.name not in chosen.rows:
            continue
        files = max(2, int(row.files * chosen.scale)) if row.many else 1
        size = row.size if row.many else max(1, int(row.size * chosen.scale / MIB)) * MIB
        row = Row(row.name, files, size, row.line, row.to_reach)
        with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="bench-") as folder:
            link = link_for(row, chosen.link_command, chosen.link_address)
            figures += measure(row, chosen.directions, chosen.runs, link, Path(folder))
    result = {"machine": machine(), "scale": chosen.scale, "figures": [asdict(one) for one in figures]}
    text = json.dumps(result, indent=1)
    if chosen.json is not None:
        chosen.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
