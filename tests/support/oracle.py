"""What must hold after every fault, whatever it was: one place that says it.

1. A file under its final name is whole: byte for byte the source.
2. What stood under that name before is untouched, or replaced whole.
3. The source is unchanged.
4. Every file is accounted for once: done, failed or skipped with a cause, or still under way.
5. `completed` is never said of what is not whole on disk.
6. After a restart the list is the same, and what can go on goes on.
7. Nothing is left over: no secret on disk, no partial file or record of what ended, no open file, task,
   process or lock.
8. Other transfers went on meanwhile.

Points 1 to 3 and 5 hold at every moment and are checked by `at_any_moment`; the rest by the methods named
for them. 6 and 8 are for the test to bring about: `same_list`, and one more transfer in `completed`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from connect_helper.transfers.journal import FILE_NAME
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer

LIMIT = 10_000  # files asked for at once
MOMENT_S = 3.0


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Oracle:
    """Knows how everything was before the fault. `wanted` maps each final path to its source."""

    wanted: Mapping[Path, Path]
    state: Path  # the helper's state folder
    secrets: tuple[str, ...] = ()
    sources: dict[Path, str] = field(init=False)
    older: dict[Path, str] = field(init=False)  # what stood under a final name before

    def __post_init__(self) -> None:
        first, self.wanted, self.sources, self.older = self.wanted, {}, {}, {}
        self.expect(first)

    def expect(self, more: Mapping[Path, Path]) -> None:
        """Know of further files, as they are now."""
        self.wanted = {**self.wanted, **more}
        self.sources |= {path: digest(path) for path in more.values()}
        self.older |= {path: digest(path) for path in more if path.exists()}

    def at_any_moment(self) -> None:
        """Points 1, 2, 3, 5 and the secrets of 7."""
        for target, source in self.wanted.items():
            found = digest(target) if target.exists() else None
            assert found in (self.sources[source], self.older.get(target)), f"{target} is not whole"
        for source, before in self.sources.items():
            assert digest(source) == before, f"the source {source} changed"
        for target in self._said_completed():
            assert digest(target) == self.sources[self.wanted[target]], f"{target} was called completed"
        self._no_secret()

    def whole(self, targets: Iterable[Path] | None = None) -> None:
        """Everything arrived, or the `targets` given; nothing else lies beside it (1, 7)."""
        for target in self.wanted if targets is None else targets:
            assert digest(target) == self.sources[self.wanted[target]], f"{target} is not whole"
        if targets is None:
            for folder in {target.parent for target in self.wanted}:
                known = {target.name for target in self.wanted if target.parent == folder}
                left = {path.name for path in folder.iterdir() if path.is_file()} - known
                assert not left, f"left over in {folder}: {left}"

    def nothing_kept(self, resume: Path) -> None:
        """No record, mark or lock of what is over (7)."""
        left = sorted(path.name for path in resume.iterdir()) if resume.exists() else []
        assert not left, f"left over in {resume}: {left}"

    async def accounted(self, transfers: TransferManager, transfer: Transfer, files: int) -> None:
        """Point 4, of a transfer that is over."""
        listed = await transfers.look(transfer.id)
        page = await transfers.files(listed, limit=LIMIT)
        reports = [*page.under_way, *page.reports]
        accounted_for(reports, files)
        if transfer.status is Status.COMPLETED:
            assert {report.state for report in reports} <= {"done", "skipped"}
        if transfer.status is Status.FAILED:
            assert transfer.error
            assert transfer.error_desc.endswith(".")

    def same_list(self, admitted: Iterable[str], transfers: TransferManager) -> None:
        """Point 6, of the list: whatever was admitted is there."""
        known = {transfer.id for transfer in transfers.all()}
        assert known >= set(admitted)

    def _said_completed(self) -> Iterator[Path]:
        for plan in completed_plans(self.state):
            for item in plan["items"]:
                if item["kind"] == "upload":
                    place = Path(item["target"])
                else:
                    place = Path(item["root"]["path"], *item["target"])
                yield from (target for target in self.wanted if target.is_relative_to(place))

    def _no_secret(self) -> None:
        if not self.secrets:
            return
        for path in self.state.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                for secret in self.secrets:
                    assert secret.encode() not in content, f"a secret is in {path}"


def accounted_for(reports: Iterable[FileReport], files: int) -> None:
    """Every file in exactly one state, with its cause (4)."""
    found = list(reports)
    twice = [path for path, number in Counter(report.remote_path for report in found).items() if number > 1]
    assert not twice, f"told about more than once: {twice}"
    assert len(found) == files
    for report in found:
        assert report.state in ("done", "skipped", "failed"), report
        if report.state == "failed":
            assert report.code, report
            assert report.message, report
        if report.state == "done":
            assert report.proof, report
            assert report.bytes_written == report.bytes_expected, report


def completed_plans(state: Path) -> list[dict[str, Any]]:
    """The plans of the transfers that the journal on disk calls completed; read from a copy of it."""
    if not (state / FILE_NAME).exists():
        return []
    with tempfile.TemporaryDirectory() as copy:
        for path in state.glob(FILE_NAME + "*"):
            shutil.copy(path, copy)
        connection = sqlite3.connect(Path(copy) / FILE_NAME)
        try:
            query = "SELECT keeping FROM transfers WHERE status = 'completed'"
            return [json.loads(keeping)["plan"] for (keeping,) in connection.execute(query)]
        except sqlite3.OperationalError:
            return []  # killed before there was a table
        finally:
            connection.close()


@asynccontextmanager
async def nothing_leaks() -> AsyncIterator[None]:
    """No open file, task or process more than before (7), a moment after the end."""
    files, tasks = _open_files(), asyncio.all_tasks()
    children = set(psutil.Process().children(recursive=True))

    def more() -> list[object]:
        begun = set(psutil.Process().children(recursive=True)) - children
        here = [child for child in begun if alive(child) and child.name() != "sshd"]
        return [*(_open_files() - files), *(asyncio.all_tasks() - tasks), *here]

    yield
    try:
        async with asyncio.timeout(MOMENT_S):
            while more():  # noqa: ASYNC110 - what the system closes is no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"left over: {more()}") from None


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _open_files() -> Counter[str]:
    """What the descriptors of this process stand for. Sockets and pipes count by kind."""
    found: Counter[str] = Counter()
    for handle in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        try:
            found[os.readlink(f"/proc/self/fd/{handle}").partition(":[")[0]] += 1  # noqa: PTH115
        except OSError:
            continue  # the one that lists them
    return found
