"""One very large file, up and down, through the manager with its real worker: the memory of each process.

    python -m benchmarks.large [--gib 10] [--directions up,down] [--folder FOLDER]

The source is a sparse file, so it takes no room; its bytes are read, sent and written all the same, and the
copy takes that much (with both directions one after the other, once). Exit code 1: the transfer failed, or a
process took 200 MiB or more.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.watched import Direction, Figures, transfer
from tests.support.sshd import SshServer

MEMORY_MIB = 200.0


async def measure(folder: Path, size: int, direction: Direction) -> Figures:
    """Move one file; the copy is removed afterwards."""
    source, target, home = folder / "source" / "large.mov", folder / "copy" / "large.mov", folder / "home"
    for path in (source.parent, target.parent, home):
        path.mkdir(exist_ok=True)
    with source.open("wb") as file:
        file.truncate(size)
    with SshServer() as server:
        figures = await transfer(server, direction, source, target, home=home, files=1, size=size)
    if not figures.error and target.stat().st_size != size:
        figures.error = f"{target.stat().st_size} bytes at the end"
    target.unlink(missing_ok=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=10.0)
    parser.add_argument("--directions", default="up,down")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the temporary folder)")
    chosen = parser.parse_args()
    size, kept = int(chosen.gib * 2**30), True
    print("way   first s  total s    MB/s  CPU s/GB  helper  worker  server")
    for word in chosen.directions.split(","):
        direction: Direction = "up" if word == "up" else "down"
        with tempfile.TemporaryDirectory(prefix="connect-helper-large-", dir=chosen.folder) as folder:
            row = asyncio.run(measure(Path(folder), size, direction))
        print(
            f"{direction:4} {row.first_s:8.2f} {row.total_s:8.1f} {size / 1e6 / row.total_s:7.1f}"
            f" {row.cpu_s / (size / 1e9):9.2f} {row.helper_mib:7.0f} {row.worker_mib:7.0f}"
            f" {row.server_mib:7.0f} {row.error}",
            flush=True,
        )
        kept = kept and not row.error and max(row.helper_mib, row.worker_mib) < MEMORY_MIB
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
