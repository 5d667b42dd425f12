"""Counts what a standalone transfer reports, and makes progress and the result of it. Reads no clock."""

from __future__ import annotations

from collections.abc import Iterator

from connect_helper.client.receipts import Receipts
from connect_helper.client.results import FileProgress, Progress, Receipt, Result
from connect_helper.transfers import messages
from connect_helper.transfers.messages import Connected, Ended, Event, FileReport, Totals
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.rates import RateMeter

SHORT_S = 1.0  # a time left is told after so many seconds of flow


class Tally:
    """The figures of one transfer; receipts go into `receipts`. `clock` is monotonic, in seconds."""

    def __init__(self, plan: SessionPlan, *, began_at: float, receipts: Receipts) -> None:
        self._plan = plan
        self._began_at = began_at
        self._receipts = receipts
        self._sessions = 0
        self._start_anew()

    def _start_anew(self) -> None:
        self._totals = Totals(bytes_expected=0, files_expected=0, final=False)
        self._written = 0
        self._done = self._skipped = self._failed = 0
        self._current: tuple[FileReport, ...] = ()
        self._connected_at: float | None = None
        self._meter = RateMeter()
        self._rate_kbps = 0.0
        self._lost: tuple[str, float] | None = None  # how, and when the next try comes

    def begins(self) -> None:
        """A session begins and counts for itself."""
        self._sessions += 1
        self._start_anew()

    def waits(self, ended: Ended, until: float) -> None:
        """The session was lost; the next begins at `until`."""
        self._rate_kbps = 0.0
        self._lost = (ended.message, until)

    def hear(self, event: Event | None, clock: float) -> Receipt | None:
        """Take an event; return the receipt when it is news of a file that ended. Raises Unavailable."""
        receipt = None
        match event:
            case Connected():
                self._connected_at = clock
            case Totals():
                self._totals = event
            case FileReport(state="done" | "skipped" | "failed"):
                receipt = self._ended(event)
            case messages.Progress():
                self._written = event.bytes_written
                self._current = event.current
            case _:
                pass
        if self._connected_at is not None:
            self._rate_kbps = self._meter.read(clock=clock, wall=0.0, count=self._written)
        return receipt

    def _ended(self, report: FileReport) -> Receipt | None:
        self._done += report.state == "done"
        self._skipped += report.state == "skipped"
        self._failed += report.state == "failed"
        receipt = _receipt(report)
        return receipt if self._receipts.put(receipt, earlier=report.earlier) else None

    def progress(self, clock: float) -> Progress:
        """How far it is at `clock`."""
        expected = max(self._totals.bytes_expected, self._written)
        message, until = self._lost or ("", None)
        connected = self._connected_at is not None
        return Progress(
            phase="waiting" if self._lost else "running" if connected else "connecting",
            bytes_written=self._written,
            bytes_expected=expected,
            files_done=self._done,
            files_skipped=self._skipped,
            files_failed=self._failed,
            files_expected=self._totals.files_expected,
            scanned=self._totals.final,
            rate_kbps=self._rate_kbps,
            remaining_s=self._remaining_s(expected, clock),
            elapsed_s=clock - self._began_at,
            current=tuple(self._running()),
            message=message,
            retry_in_s=None if until is None else max(0.0, until - clock),
        )

    def _running(self) -> Iterator[FileProgress]:
        for report in self._current:
            yield FileProgress(report.path, report.remote_path, report.bytes_written, report.bytes_expected)

    def _remaining_s(self, expected: int, clock: float) -> float | None:
        if self._connected_at is None or clock - self._connected_at < SHORT_S or self._rate_kbps < 1:
            return None
        return (expected - self._written) * 8 / 1000 / self._rate_kbps

    def result(self, ended: Ended, clock: float) -> Result:
        """How it ended, without the receipts."""
        return Result(
            outcome=ended.outcome,
            direction=self._plan.direction,
            host=self._plan.server.host,
            port=self._plan.server.port,
            bytes_written=self._written,
            files_done=self._done,
            files_skipped=self._skipped,
            files_failed=self._failed,
            elapsed_s=clock - self._began_at,
            sessions=self._sessions,
            code=ended.code,
            message=ended.message,
        )


def _receipt(report: FileReport) -> Receipt:
    return Receipt(
        path=report.path,
        remote_path=report.remote_path,
        size=report.bytes_expected,
        state="failed" if report.state == "running" else report.state,
        proof=report.proof,
        digest=report.digest,
        code=report.code,
        message=report.message,
    )
