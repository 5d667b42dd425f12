"""Keeps count of a session and tells the helper: files, totals, progress.

The counts are exact; the telling is paced, so that a million small files do not drown the pipe. One
`Tracker` per file under way takes the bytes; everything else asks the `Reporter`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from connect_helper.errors import TransferError
from connect_helper.transfers.messages import Event, FileReport, Progress, Question, Totals
from connect_helper.transports.base import Facts
from connect_helper.transports.local_files import Identity

BEAT_S: Final = 0.25
SILENCE_S: Final = 4.0  # with nothing new to tell, a sign of life this often
SHOWN: Final = 64  # files under way in one Progress


class Channel(Protocol):
    """The way to the helper."""

    async def tell(self, event: Event) -> None:
        """Send an event; waits while the helper is behind."""
        ...

    async def ask(self, question: Question) -> bool:
        """Ask the user about a host key and wait for the answer, for hours if need be."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file ended well. `proof` says what was verified."""

    state: Literal["done", "skipped"]
    proof: Literal["", "size", "digest"] = ""
    digest: str = ""  # "sha-256:<hex>"
    message: str = ""  # something the user should know although all is well
    earlier: bool = False  # an earlier session of this transfer brought it, and told what was proved
    unsure: bool = False  # skipped, though it may be another than what is there: no reason to remove it
    seen: Identity | Facts | None = None  # what the source was when it was read


class Tracker:
    """The count of one file. Sizes in bytes."""

    def __init__(self, reporter: Reporter, index: int, path: str, remote_path: str, size: int) -> None:
        self._reporter = reporter
        self.index = index
        self.path = path
        self.remote_path = remote_path
        self.expected = size
        self.written = 0
        self._began_at = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count bytes that became certain."""
        self.written += amount
        self._reporter.written += amount

    def begin_at(self, offset: int) -> None:
        """The file starts, or starts again, with `offset` bytes already there."""
        self.advance(offset - self.written)

    def resize(self, size: int) -> None:
        """The file turned out to have another size than the scan saw."""
        self._reporter.expected += size - self.expected
        self.expected = size

    def report(
        self,
        state: Literal["running", "done", "skipped", "failed"],
        outcome: Outcome | None = None,
        error: TransferError | None = None,
    ) -> FileReport:
        return FileReport(
            index=self.index,
            path=self.path,
            remote_path=self.remote_path,
            bytes_expected=self.expected,
            bytes_written=self.written,
            state=state,
            code=error.code if error else "",
            error_code=error.error_code if error else 0,
            message=error.user_message if error else outcome.message if outcome else "",
            proof=outcome.proof if outcome else "",
            digest=outcome.digest if outcome else "",
            earlier=outcome.earlier if outcome else False,
            elapsed_usec=round((time.monotonic() - self._began_at) * 1e6),
        )


class Reporter:
    """Counts and tells. `run` paces the telling and has to run beside the session."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._trackers: dict[int, Tracker] = {}
        self._next_index = 0
        self._told_totals: Totals | None = None
        self._told_progress: tuple[int, int] | None = None
        self._told_at = 0.0
        self.expected = 0  # bytes
        self.written = 0  # bytes
        self.files = 0
        self.failed = 0
        self.first_error: TransferError | None = None
        self.scanned = False
        self._counted = (0, 0)  # files and bytes of a count ahead of the scan
        self._found = (0, 0)  # of the scan itself

    def counted(self, files: int, size: int) -> None:
        """Everything was counted ahead: totals are final before the first file begins."""
        self._counted = files, size
        self.files, self.expected, self.scanned = files, size, True

    def found(self, size: int) -> None:
        """Count a file the scan found."""
        files, bytes_found = self._found
        self._found = files + 1, bytes_found + size
        if not self._counted[0]:
            self.files += 1
            self.expected += size

    def scan_ended(self) -> None:
        """Nothing more will be found; what came or went since the count is settled."""
        if self._counted[0]:
            self.files += self._found[0] - self._counted[0]
            self.expected += self._found[1] - self._counted[1]
            self._counted = 0, 0  # a folder that cannot be made is found later still
        self.scanned = True

    async def start(self, path: str, remote_path: str, size: int) -> Tracker:
        """A counted file begins."""
        tracker = Tracker(self, self._next_index, path, remote_path, size)
        self._next_index += 1
        self._trackers[tracker.index] = tracker
        if len(self._trackers) <= SHOWN:  # one among more is told of once it is shown, or at its end
            await self._channel.tell(tracker.report("running"))
        return tracker

    def wait(self, tracker: Tracker) -> None:
        """A file's bytes are there, but its end waits for other files: it is not shown until then."""
        self._trackers.pop(tracker.index, None)

    async def end(self, tracker: Tracker, outcome: Outcome) -> None:
        """A file is done or skipped; either way all of its bytes count."""
        tracker.begin_at(tracker.expected)
        self._trackers.pop(tracker.index, None)
        await self._channel.tell(tracker.report(outcome.state, outcome))

    async def skip(self, tracker: Tracker, error: TransferError) -> None:
        """A file is left out, for a reason worth telling."""
        tracker.resize(tracker.written)
        del self._trackers[tracker.index]
        await self._channel.tell(tracker.report("skipped", error=error))

    async def fail(self, tracker: Tracker, error: TransferError) -> None:
        self.failed += 1
        self.first_error = self.first_error or error
        del self._trackers[tracker.index]
        await self._channel.tell(tracker.report("failed", error=error))

    async def run(self) -> None:
        """Tell totals and progress until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat(self, *, final: bool = False) -> None:
        """Tell what is new since the last time; `final` tells the progress in any case."""
        totals = Totals(bytes_expected=self.expected, files_expected=self.files, final=self.scanned)
        if totals != self._told_totals and (self.files or self.scanned):
            self._told_totals = totals
            await self._channel.tell(totals)
        now = time.monotonic()
        state = (self.written, len(self._trackers))
        if final or state != self._told_progress or now - self._told_at >= SILENCE_S:
            self._told_progress, self._told_at = state, now
            current = [self._trackers[index].report("running") for index in list(self._trackers)[:SHOWN]]
            await self._channel.tell(Progress(bytes_written=self.written, current=tuple(current)))
