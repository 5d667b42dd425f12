"""Digests of a million files, found again."""

from __future__ import annotations

import hashlib
import tracemalloc

from connect_helper.transfers.marks import Marks


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def test_it_is_a_set() -> None:
    marks = Marks()
    assert all(marks.add(digest(number)) for number in range(5_000))
    assert not any(marks.add(digest(number)) for number in range(5_000))
    assert len(marks) == 5_000
    assert all(digest(number) in marks for number in range(5_000))
    assert not any(digest(number) in marks for number in range(5_000, 10_000))
    assert set(marks) == {digest(number) for number in range(5_000)}
    assert Marks(marks).add(digest(0)) is False


def test_what_lies_across_two_marks_is_no_mark() -> None:
    one, other = b"\1\2" + bytes(13) + b"\1", b"\1\2" + bytes(range(14))
    marks = Marks([one, other])
    across = (one + other)[15:31]  # begins in the first
    assert across[:2] != b"\1\2"
    assert across not in marks
    same_bucket = b"\1\2" * 8
    shifted = Marks([b"\1\2" + b"\1\2" * 6 + b"\5\1", b"\1\2" + b"\1\2" * 7])
    assert same_bucket in shifted
    assert Marks([b"\1\2\3" + b"\1\2" * 6 + b"\1", b"\1\2" + b"\1\2" * 6 + b"\7\7"]).add(same_bucket)


def test_marks_are_found_by_how_they_begin() -> None:
    marks = Marks([digest(0), b"\1\2\3" + b"\1\2\4" * 4 + b"\5"])
    assert marks.begins(digest(0)[:8])
    assert not marks.begins(digest(1)[:8])
    assert marks.begins(b"\1\2\3\1\2\4\1\2")
    assert not marks.begins(b"\1\2\4\1\2\4\1\2")  # in the middle of one


def test_each_takes_few_bytes() -> None:
    tracemalloc.start()
    try:
        marks = Marks(digest(number) for number in range(100_000))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(marks) == 100_000
    assert size < 150 * 100_000  # most of it is the buckets', which a million fills no further
