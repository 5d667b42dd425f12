"""Lines between the helper and its workers mean what was said, names that are no UTF-8 included."""

from __future__ import annotations

import json

import pytest

from connect_helper.transfers import wire
from connect_helper.transfers.messages import Connected, Ended, Event, FileReport, Progress, Question, Totals

PLAIN = "/home/ann/näme 😀.mov"
ODD = "/home/ann/a\udcff.mov"  # a byte that is no UTF-8


def progress(path: str) -> Progress:
    report = FileReport(
        index=0, path=path, remote_path="in/x", bytes_expected=2**70, bytes_written=7, state="running"
    )
    return Progress(bytes_written=7, current=(report, report))


EVENTS: list[Event] = [
    progress(PLAIN),
    progress(ODD),
    Connected(address="192.0.2.1", transport="http", encrypted=False),
    Totals(bytes_expected=3, files_expected=1, final=True),
    Ended(outcome="failed", message=f"{ODD} is gone.", retry_after_s=0.5),
    Question(question_id=1, host="h", port=22, key="ssh-ed25519 AAAA", fingerprint="SHA256:x"),
]


@pytest.mark.parametrize("event", EVENTS)
def test_what_was_said_is_heard(event: Event) -> None:
    assert wire.parse_event(wire.encode(event)) == event


def test_a_usual_line_is_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    line = wire.encode(progress(PLAIN))
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was read into plain values first"))
    assert wire.parse_event(line) == progress(PLAIN)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no JSON\n", "JSONDecodeError"),
        (b"\xff\xfe\n", "UnicodeDecodeError"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"type": "secret"}', "union_tag_invalid"),
        (b'{"type": "totals", "bytes_expected": "secret", "files_expected": 1}', "int_parsing"),
        (b'{"type": "connected", "address": "secret", "more": 1}', "extra_forbidden"),
    ],
)
def test_a_line_that_is_no_message_is_told_without_quoting_it(line: bytes, reason: str) -> None:
    with pytest.raises(wire.BadLine, match=reason) as told:
        wire.parse_event(line)
    assert "secret" not in str(told.value)
