"""How well rates are kept: one transfer, a change while it runs, four policies under a common limit.

    python -m benchmarks.rates [--seconds 10] [--directions up,down]

Real workers and a stock sshd on loopback; what counts is how fast the files grow at their destination. Each
rate is measured over `--seconds`, and after a change over the second that begins one second later. Exit
code 1: a rate was off by more than 5 % (over one second, which a few blocks make up: 15 %).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.watched import Direction, Nobody, request
from connect_helper.settings import HOME_VARIABLE, Folders, PreferencesStore
from connect_helper.spec.rates import rate_wish, share_limit
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer
from tests.support.sshd import SshServer

SIZE = 2 * 2**30  # bytes of each sparse source; more than any row moves
SETTLED_S = 2.0  # after everything runs, before it is measured
AGREED, AGREED_BRIEFLY = 0.05, 0.15
COMMON_KBPS = 40_000
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "fixed": {"rate_policy": "fixed", "target_rate_kbps": 8_000},
    "high": {"rate_policy": "high"},
    "fair": {"rate_policy": "fair"},
    "low": {"rate_policy": "low"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One rate. kbit/s."""

    what: str
    wanted: float
    seen: float
    agreed: float

    @property
    def off(self) -> float:
        return self.seen / self.wanted - 1

    def line(self) -> str:
        verdict = "" if abs(self.off) <= self.agreed else "  NOT KEPT"
        return f"{self.what:34} {self.wanted:8.0f} {self.seen:8.0f} {self.off:+8.1%}{verdict}"


class Bench:
    """Transfers of one direction, each into a folder of its own."""

    def __init__(
        self, folder: Path, server: SshServer, direction: Direction, manager: TransferManager
    ) -> None:
        self._folder = folder
        self._server = server
        self._direction = direction
        self.manager = manager
        self._number = 0

    async def start(self, **spec: Any) -> tuple[Transfer, Path]:
        """Begin a transfer; return it and the folder that its copy grows in."""
        self._number += 1
        source = self._folder / f"{self._direction}-{self._number}" / "take.mov"
        target = self._folder / f"{self._direction}-{self._number}-copy" / "take.mov"
        for path in (source, target):
            path.parent.mkdir()
        with source.open("wb") as file:
            file.truncate(SIZE)
        one = await self.manager.submit(
            request(self._server, self._direction, source, target, self._folder, **spec)
        )
        return one, target.parent

    async def run(self, some: Sequence[Transfer]) -> None:
        """Return when all of them move bytes and have settled."""
        async with asyncio.timeout(60):
            while any(one.status is not Status.RUNNING or not one.bytes_written for one in some):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLED_S)

    async def end(self, *some: Transfer) -> None:
        for one in some:
            await self.manager.stop(one.id)


async def growth(folders: Sequence[Path], seconds: float) -> list[float]:
    """How fast what is in the folders grows, in kbit/s."""
    before, began = [_size(folder) for folder in folders], time.monotonic()
    await asyncio.sleep(seconds)
    after, took = [_size(folder) for folder in folders], time.monotonic() - began
    return [(end - start) * 8 / 1_000 / took for start, end in zip(before, after, strict=True)]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def one_and_a_change(bench: Bench, way: str, seconds: float) -> list[Row]:
    """A rate of its own, then half and twice as much while it runs."""
    rows = []
    one, folder = await bench.start(target_rate_kbps=16_000)
    await bench.run([one])
    (seen,) = await growth([folder], seconds)
    rows.append(Row(f"{way}: one", 16_000, seen, AGREED))
    for kbps in (8_000, 32_000):
        await bench.manager.set_rate(one.id, kbps, {"target_rate_kbps": kbps})
        await asyncio.sleep(1)
        (seen,) = await growth([folder], 1)
        rows.append(Row(f"{way}: a second after the change", kbps, seen, AGREED_BRIEFLY))
        (seen,) = await growth([folder], seconds)
        rows.append(Row(f"{way}: and then", kbps, seen, AGREED))
    await bench.end(one)
    return rows


async def four_policies(bench: Bench, way: str, seconds: float) -> list[Row]:
    """All four share the limit of the preferences."""
    begun = [await bench.start(**spec) for spec in POLICIES.values()]
    some, folders = [one for one, _ in begun], [folder for _, folder in begun]
    await bench.run(some)
    wanted = share_limit(COMMON_KBPS, {name: rate_wish(spec) for name, spec in POLICIES.items()})
    seen = await growth(folders, seconds)
    rows = [
        Row(f"{way}: {name} of four", wanted[name] or 0, kbps, AGREED)
        for name, kbps in zip(POLICIES, seen, strict=True)
    ]
    rows.append(Row(f"{way}: the four together", COMMON_KBPS, sum(seen), AGREED))
    await bench.end(*some)
    return rows


async def measure(folder: Path, directions: Sequence[Direction], seconds: float) -> list[Row]:
    folders = Folders.from_environment({HOME_VARIABLE: str(folder / "home")})
    folders.create()
    preferences = PreferencesStore(folders)
    preferences.change({"concurrent_transfers": 8})
    rows: list[Row] = []
    with SshServer() as server:
        async with TransferManager(folders=folders, preferences=preferences, questions=Nobody()) as manager:
            for direction in directions:
                bench = Bench(folder, server, direction, manager)
                preferences.change({"upload_limit_kbps": None, "download_limit_kbps": None})
                rows += await one_and_a_change(bench, direction, seconds)
                preferences.change({"upload_limit_kbps": COMMON_KBPS, "download_limit_kbps": COMMON_KBPS})
                rows += await four_policies(bench, direction, seconds)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--directions", default="up,down")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the temporary folder)")
    chosen = parser.parse_args()
    directions: list[Direction] = ["up" if one == "up" else "down" for one in chosen.directions.split(",")]
    with tempfile.TemporaryDirectory(prefix="connect-helper-rates-", dir=chosen.folder) as folder:
        rows = asyncio.run(measure(Path(folder), directions, chosen.seconds))
    print(f"{'kbit/s':34} {'wanted':>8} {'seen':>8} {'off':>8}")
    for row in rows:
        print(row.line())
    return 0 if all(abs(row.off) <= row.agreed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
