"""The figures of one transfer, kept from what its session reports. Reads no clock and starts no task."""

from __future__ import annotations

from typing import Protocol

from connect_helper.transfers.messages import Connected, FileReport, Progress, Totals
from connect_helper.transfers.rates import RateMeter
from connect_helper.transfers.transfer import FILES_KEPT, FileCounts, Transfer


class FileKeeper(Protocol):
    """Where the files of a transfer go beside the few that are held in memory."""

    def begin(self) -> None:
        """A session begins; its files are numbered from 0 again."""
        ...

    def put(self, report: FileReport) -> None:
        """A file has ended, or was under way when its session ended."""
        ...


class Figures:
    """Writes counts, bytes, rate and times into a transfer. `clock` is monotonic, `wall` since the epoch."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self.keeper: FileKeeper | None = None
        self._meter = RateMeter()
        self._flowing_since: float | None = None
        self._elapsed_before = transfer.elapsed_usec
        self.was_connected = transfer.elapsed_usec > 0  # in any session, also of an earlier run of the helper
        self._seen = 0  # files with an index below this were heard of in this session
        self._open: set[int] = set()  # heard of and not ended
        self._over: dict[int, None] = {}  # kept, ended well: may make room for others
        self._best = (0, 0)  # files completed, bytes: the most any session reached

    @property
    def rates(self) -> list[tuple[float, float]]:
        """(epoch seconds, kbit/s), once a second for the last minute."""
        return list(self._meter.history)

    def session_begins(self) -> None:
        """Forget what belongs to the session before; bytes stay until the new session counts its own."""
        self._transfer.files.clear()
        self._transfer.counts = FileCounts()
        self._transfer.current_file = ""
        self._seen = 0
        self._open.clear()
        self._over.clear()
        self._meter.restart()
        if self.keeper is not None:
            self.keeper.begin()

    def connected(self, event: Connected, clock: float) -> None:
        """Data can flow from now on."""
        self._transfer.transport = event.transport
        self._transfer.encrypted = event.encrypted
        self._flowing_since = clock
        self.was_connected = True

    def session_ends(self, clock: float) -> None:
        """Nothing flows any more. What was under way stays listed as such until a session goes on with it."""
        if self.keeper is not None:
            for index in self._open & self._transfer.files.keys():
                self.keeper.put(self._transfer.files[index])
        self._count_time(clock)
        self._elapsed_before = self._transfer.elapsed_usec
        self._flowing_since = None
        self._transfer.rate_kbps = 0.0
        self._transfer.remaining_usec = 0

    def progressed(self) -> bool:
        """Tell whether this session got further than any before it, and remember how far."""
        reached = (self._transfer.counts.completed, self._transfer.bytes_written)
        further = any(now > before for now, before in zip(reached, self._best, strict=True))
        self._best = (max(reached[0], self._best[0]), max(reached[1], self._best[1]))
        return further

    def totals(self, event: Totals) -> None:
        """The scan found more."""
        self._transfer.bytes_expected = max(0, event.bytes_expected)
        self._bound()

    def file(self, report: FileReport) -> None:
        """One file started, went on or ended. Repeats of an end count once."""
        if report.state == "running":
            self._transfer.current_file = report.path
        known = report.index < self._seen
        if known and report.index not in self._open:
            return
        self._count(report, known=known)
        self._keep(report)

    def progress(self, event: Progress, *, clock: float, wall: float) -> None:
        """Bytes went over."""
        self._transfer.bytes_written = max(0, event.bytes_written)
        for report in event.current:
            self.file(report)
        if event.current:
            self._transfer.current_file = event.current[0].path
        self._bound()
        self.tick(clock=clock, wall=wall)

    def tick(self, *, clock: float, wall: float) -> None:
        """Time went by: a rate falls by itself when nothing comes."""
        if self._flowing_since is None:
            return
        one = self._transfer
        self._count_time(clock)
        one.rate_kbps = self._meter.read(clock=clock, wall=wall, count=one.bytes_written)
        missing = one.bytes_expected - one.bytes_written
        one.remaining_usec = int(missing * 8_000 / one.rate_kbps) if one.rate_kbps >= 1 else 0

    def finished(self) -> None:
        """All is at its place, skipped files included."""
        self._transfer.bytes_written = self._transfer.bytes_expected
        self._transfer.current_file = ""

    def _count(self, report: FileReport, *, known: bool) -> None:
        counts = self._transfer.counts
        if not known:
            self._open.update(range(self._seen, report.index))  # reports may overtake each other
            counts.attempted += report.index + 1 - self._seen
            self._seen = report.index + 1
        if report.state == "running":
            self._open.add(report.index)
            return
        self._open.discard(report.index)
        if self.keeper is not None:
            self.keeper.put(report)
        counts.failed += report.state == "failed"
        counts.skipped += report.state == "skipped"
        counts.completed += report.state in ("done", "skipped")

    def _keep(self, report: FileReport) -> None:
        """Hold the report; when there are too many, the oldest that ended well makes room."""
        files = self._transfer.files
        if report.index not in files and len(files) >= FILES_KEPT:
            if not self._over:
                return
            oldest = next(iter(self._over))
            del self._over[oldest], files[oldest]
        files[report.index] = report
        if report.state in ("done", "skipped"):
            self._over[report.index] = None

    def _bound(self) -> None:
        """Keep 0 <= written <= expected: the scan may lag behind the bytes."""
        one = self._transfer
        one.bytes_expected = max(one.bytes_expected, one.bytes_written)

    def _count_time(self, clock: float) -> None:
        if self._flowing_since is not None:
            gone = max(0.0, clock - self._flowing_since)
            self._transfer.elapsed_usec = self._elapsed_before + int(gone * 1_000_000)
