"""What is counted of a standalone transfer, event by event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connect_helper.client.receipts import HeldReceipts, NoReceipts, Receipts, SpooledReceipts
from connect_helper.client.tally import Tally
from connect_helper.errors import ConnectError, LoginError, TransferError
from connect_helper.transfers.messages import Connected, Ended, FileReport, Progress, Totals
from tests.support.managing import request

LOST = Ended(outcome="failed", code="connection_lost", message="The line broke.", retryable=True)


def tally(receipts: Receipts | None = None) -> Tally:
    counted = Tally(request([]).plan, began_at=100.0, receipts=receipts or NoReceipts())
    counted.begins()
    return counted


def report(state: Any, index: int = 0, **fields: Any) -> FileReport:
    names = {"path": f"/here/{index}", "remote_path": f"there/{index}", "bytes_expected": 50}
    return FileReport(**{"index": index, "state": state, "bytes_written": 0, **names, **fields})


def test_progress_tells_what_was_heard() -> None:
    counted = tally()
    assert counted.progress(100.5).phase == "connecting"
    counted.hear(Connected(address="127.0.0.1"), 101.0)
    counted.hear(Totals(bytes_expected=1_000_000, files_expected=3, final=False), 101.0)
    counted.hear(Progress(bytes_written=0, current=()), 101.0)
    running = report("running", bytes_written=20)
    for second in (1, 2, 3):
        counted.hear(Progress(bytes_written=125_000 * second, current=(running,)), 101.0 + second)
    told = counted.progress(104.0)
    assert (told.phase, told.bytes_written, told.bytes_expected, told.scanned) == (
        "running", 375_000, 1_000_000, False,
    )  # fmt: skip
    assert told.rate_kbps == pytest.approx(1000)
    assert told.remaining_s == pytest.approx(5.0)
    assert told.elapsed_s == 4.0
    assert (told.current[0].path, told.current[0].bytes_written) == ("/here/0", 20)


def test_only_an_ended_file_makes_a_receipt() -> None:
    kept = HeldReceipts()
    counted = tally(kept)
    assert counted.hear(report("running"), 101.0) is None
    done = counted.hear(report("done", proof="digest", digest="sha-256:00"), 101.0)
    assert done is not None
    assert (done.state, done.proof, done.digest, done.size) == ("done", "digest", "sha-256:00", 50)
    assert list(kept) == [done]


@pytest.mark.parametrize("make", [HeldReceipts, SpooledReceipts])
def test_a_file_found_finished_keeps_the_receipt_of_the_session_that_brought_it(
    make: Callable[[], Receipts],
) -> None:
    kept = make()
    counted = tally(kept)
    done = counted.hear(report("done", proof="digest", digest="sha-256:00"), 101.0)
    counted.begins()
    assert counted.hear(report("done", proof="size", earlier=True), 106.0) is None
    unheard = counted.hear(report("done", 1, proof="size", earlier=True), 106.0)
    assert unheard is not None  # that session was lost before it could tell
    assert list(kept) == [done, unheard]


def test_a_proof_of_an_earlier_session_is_kept() -> None:
    kept = HeldReceipts()
    counted = tally(kept)
    done = counted.hear(report("done", proof="digest"), 101.0)
    failed = counted.hear(report("failed", 1, code="source_changed"), 101.0)
    assert failed is not None
    counted.waits(LOST, 105.0)
    waiting = counted.progress(102.0)
    assert (waiting.phase, waiting.message, waiting.retry_in_s) == ("waiting", "The line broke.", 3.0)
    counted.begins()
    assert counted.hear(report("skipped"), 106.0) is None
    again = counted.hear(report("done", 1, proof="size"), 106.0)
    result = counted.result(Ended(outcome="completed"), 107.0)
    assert list(kept) == [done, again]
    assert (result.files_done, result.files_skipped, result.files_failed, result.sessions) == (1, 1, 0, 2)


def test_without_receipts_none_is_kept_but_each_is_told() -> None:
    counted = tally(NoReceipts())
    assert counted.hear(report("done"), 101.0) is not None
    assert counted.hear(report("skipped"), 101.0) is not None


def _codes(kind: type[TransferError]) -> set[str]:
    return {kind.code}.union(*(_codes(deeper) for deeper in kind.__subclasses__()))


def test_only_errors_of_connection_and_login_count_as_refused() -> None:
    def refused(code: str) -> bool:
        return tally().result(Ended(outcome="failed", code=code), 101.0).refused

    named = _codes(ConnectError) | _codes(LoginError) - {"internal"}
    assert {code for code in _codes(TransferError) if refused(code)} == named
    assert {"auth_failed", "host_key_changed", "connection_lost"} <= named
