"""What is known of the parts of a file that were sent, at a price that no client can raise."""

from __future__ import annotations

import time

from connect_helper.server.sent_files import PIECES, SentFile

SIZE = 10_000_000


def sent_file() -> SentFile:
    return SentFile(SIZE, lambda _more: None)


def test_who_asks_for_what_lies_behind_has_all_that_broke_off_before() -> None:
    sent = sent_file()
    for start in (3000, 1000, 2000):
        sent.broke_off(start, 5000)
    sent.broke_off(4500, 9000)
    sent.asked(4000)
    sent.arrived(0, 1000)
    assert not sent.whole
    sent.arrived(4000, SIZE)
    assert sent.whole


def test_a_client_that_breaks_off_and_leaves_gaps_as_often_as_it_can_holds_up_nobody() -> None:
    sent = sent_file()
    for number in range(PIECES):
        sent.arrived(SIZE - 2 * number - 1, SIZE - 2 * number)
        sent.broke_off(2 * number + 1, SIZE // 2)
    began = time.thread_time()
    sent.asked(SIZE // 4)
    assert time.thread_time() - began < 0.05
