"""A folder with very many empty files, up and down, through the manager with its real workers.

    python -m benchmarks.million [--files 10000,100000,1000000] [--directions up,down] [--json FILE]

For each number of files: how long until the first one is at its place, how long for all, and the highest
memory of each process: the helper (with its journal and its list of files), the worker and the server's
session. A million files take some 15 minutes each way and two million inodes; `--folder` chooses the disk.
Exit code 1: a promise was broken, that the first file is there within 5 s, that no process takes 300 MiB,
that ten times the files take at most eleven times as long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.watched import Direction, Figures, transfer
from tests.support.sshd import SshServer

PER_FOLDER = 1_000
FIRST_S = 5.0
MEMORY_MIB = 300.0
GROWTH = 11 / 10  # times the files


def make_tree(folder: Path, files: int) -> None:
    """Empty files, a thousand in each folder."""
    for first in range(0, files, PER_FOLDER):
        below = folder / f"folder-{first // PER_FOLDER:04}"
        below.mkdir(parents=True)
        for number in range(first, min(files, first + PER_FOLDER)):
            os.close(os.open(below / f"take-{number:07}.wav", os.O_CREAT | os.O_WRONLY, 0o644))


async def measure(folder: Path, files: int, directions: list[Direction]) -> list[Figures]:
    """Send a tree and fetch it back."""
    found = []
    with SshServer() as server:
        here, there = folder / "here" / "tree", server.root / "tree"
        make_tree(here, files)
        try:
            for direction in directions:
                source, target = (here, there) if direction == "up" else (here, folder / "back" / "tree")
                target.parent.mkdir(exist_ok=True)
                home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
                found.append(
                    await transfer(server, direction, source, target, home=home, files=files, size=0)
                )
                print(json.dumps(found[-1].as_json()), file=sys.stderr, flush=True)
                await asyncio.to_thread(shutil.rmtree, home)
        finally:
            for path in (here.parent, there, folder / "back"):
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
    return found


def broken(rows: list[Figures]) -> list[str]:
    """The promises that were not kept."""
    found = [f"{row.files} {row.direction}: {row.error}" for row in rows if row.error]
    for row in rows:
        if row.first_s > FIRST_S:
            found.append(f"{row.files} {row.direction}: the first file after {row.first_s:.1f} s")
        largest = max(row.helper_mib, row.worker_mib, row.server_mib)
        if largest > MEMORY_MIB:
            found.append(f"{row.files} {row.direction}: {largest:.0f} MiB")
        for other in rows:
            more, longer = row.files / other.files, row.total_s / other.total_s
            if row.direction == other.direction and more > 1 and longer > GROWTH * more:
                found.append(f"{row.direction}: {longer:.1f} times as long for {more:g} times the files")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="10000,100000,1000000", help="numbers of files, with commas")
    parser.add_argument("--directions", default="up,down")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    directions: list[Direction] = ["up" if one == "up" else "down" for one in chosen.directions.split(",")]
    rows: list[Figures] = []
    print("files    way   first s  total s  files/s  CPU s  helper  worker  server  state MiB")
    for files in map(int, chosen.files.split(",")):
        with tempfile.TemporaryDirectory(prefix="connect-helper-million-", dir=chosen.folder) as folder:
            for row in asyncio.run(measure(Path(folder), files, directions)):
                rows.append(row)
                print(
                    f"{row.files:<8} {row.direction:4} {row.first_s:8.2f} {row.total_s:8.1f}"
                    f" {row.files / row.total_s:8.0f} {row.cpu_s:6.1f} {row.helper_mib:7.0f}"
                    f" {row.worker_mib:7.0f} {row.server_mib:7.0f} {row.state_mib:10.0f}",
                    flush=True,
                )
    if chosen.json:
        chosen.json.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    problems = broken(rows)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
