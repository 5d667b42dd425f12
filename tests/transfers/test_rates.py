"""Measuring a rate, and the figures of a transfer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connect_helper.transfers.figures import Figures
from connect_helper.transfers.messages import Connected, FileReport, Progress, Totals
from connect_helper.transfers.rates import RateMeter
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import FILES_KEPT, Owner, Transfer


def test_the_rate_is_the_mean_of_the_last_three_seconds() -> None:
    meter = RateMeter()
    for second in range(10):
        rate = meter.read(clock=float(second), wall=1000.0 + second, count=second * 125_000)
    assert rate == 1000.0
    for second in range(10, 16):
        rate = meter.read(clock=float(second), wall=1000.0 + second, count=9 * 125_000)
    assert rate == 0.0
    assert [wall for wall, _ in meter.history] == [1000.0 + second for second in range(16)]


def test_the_history_holds_one_reading_a_second_for_a_minute() -> None:
    meter = RateMeter()
    for quarter in range(400):
        meter.read(clock=quarter / 4, wall=quarter / 4, count=quarter)
    assert len(meter.history) == 60
    assert meter.history[-1][0] - meter.history[0][0] == 59.0


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 2**53)), max_size=30))
def test_a_rate_is_never_negative_whatever_is_counted(readings: list[tuple[float, int]]) -> None:
    meter, clock = RateMeter(), 0.0
    for step, count in readings:
        clock += step
        assert meter.read(clock=clock, wall=clock, count=count) >= 0.0


def transfer() -> Transfer:
    facts: dict[str, Any] = {"id": "t", "xfer_id": "t", "owner": Owner("https://a.example", "x")}
    facts |= {"request_id": "", "settings": {}, "spec": {}, "direction": "send", "host": "b.example"}
    return Transfer(**facts, port=22, user="ann", title="film", status=Status.RUNNING)


def report(index: int, state: Any = "running") -> FileReport:
    return FileReport(
        index=index, path=f"/f{index}", remote_path="", bytes_expected=1, bytes_written=1, state=state
    )


def test_bytes_never_pass_what_is_expected() -> None:
    one = transfer()
    figures = Figures(one)
    figures.connected(Connected(address="192.0.2.1"), 0.0)
    figures.totals(Totals(bytes_expected=1000, files_expected=1, final=False))
    figures.progress(Progress(bytes_written=250, current=()), clock=1.0, wall=1.0)
    assert (one.bytes_written, one.bytes_expected) == (250, 1000)
    figures.progress(Progress(bytes_written=5000, current=()), clock=2.0, wall=2.0)
    assert (one.bytes_written, one.bytes_expected) == (5000, 5000)


def test_time_left_follows_the_rate_and_time_gone_the_data() -> None:
    one = transfer()
    figures = Figures(one)
    figures.session_begins()
    figures.tick(clock=5.0, wall=5.0)
    assert one.elapsed_usec == 0
    figures.connected(Connected(address="192.0.2.1"), 10.0)
    figures.totals(Totals(bytes_expected=1_000_000, files_expected=1, final=True))
    for second in range(5):
        figures.progress(Progress(bytes_written=second * 125_000, current=()), clock=10.0 + second, wall=0.0)
    assert (one.rate_kbps, one.elapsed_usec, one.remaining_usec) == (1000.0, 4_000_000, 4_000_000)
    figures.session_ends(20.0)
    assert (one.rate_kbps, one.elapsed_usec, one.remaining_usec) == (0.0, 10_000_000, 0)
    figures.connected(Connected(address="192.0.2.1"), 100.0)
    figures.session_ends(101.0)
    assert one.elapsed_usec == 11_000_000


def test_what_was_there_before_a_session_is_no_burst() -> None:
    one = transfer()
    figures = Figures(one)
    figures.session_begins()
    figures.connected(Connected(address="192.0.2.1"), 0.0)
    figures.progress(Progress(bytes_written=10**9, current=()), clock=1.0, wall=1.0)
    figures.progress(Progress(bytes_written=10**9, current=()), clock=2.0, wall=2.0)
    assert one.rate_kbps == 0.0


def test_each_file_counts_once_and_skipped_ones_count_as_completed() -> None:
    one = transfer()
    figures = Figures(one)
    for event in (report(0), report(1), report(0), report(0, "done"), report(0, "done"), report(1, "failed")):
        figures.file(event)
    figures.file(report(3, "skipped"))
    figures.file(report(2, "done"))  # overtaken by its neighbour
    figures.file(report(1, "done"))  # after its end nothing changes
    counts = one.counts
    assert (counts.attempted, counts.completed, counts.failed, counts.skipped) == (4, 3, 1, 1)
    assert one.files[1].state == "failed"
    assert one.current_file == "/f0"


def test_of_many_files_the_failures_are_kept() -> None:
    one = transfer()
    figures = Figures(one)
    for index in range(5 * FILES_KEPT):
        figures.file(report(index, "failed" if index % 100 == 7 else "done"))
    assert len(one.files) == FILES_KEPT
    assert sum(kept.state == "failed" for kept in one.files.values()) == one.counts.failed == 50
    assert one.counts.completed == 5 * FILES_KEPT - 50


def test_progress_is_what_no_session_reached_before() -> None:
    one = transfer()
    figures = Figures(one)
    assert figures.progressed() is False
    for written, further in ((100, True), (100, False), (50, False), (101, True)):
        figures.session_begins()
        figures.progress(Progress(bytes_written=written, current=()), clock=0.0, wall=0.0)
        assert figures.progressed() is further
