"""Lines out of pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connect_helper.transfers.lines import Lines, TooLong


@given(some.lists(some.binary(max_size=12)), some.integers(1, 7))
def test_lines_are_the_same_however_they_are_broken_up(wanted: list[bytes], piece: int) -> None:
    wanted = [line.replace(b"\n", b"") for line in wanted]
    data = b"".join(line + b"\n" for line in wanted) + b"not ended"
    lines = Lines(100)
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    assert [line for each in pieces for line in lines.feed(each)] == wanted
    assert lines.feed(b" yet\n") == [b"not ended yet"]


def test_a_line_may_be_as_long_as_the_limit() -> None:
    lines = Lines(4)
    assert lines.feed(b"1234\n12") == [b"1234"]
    assert lines.feed(b"34\n") == [b"1234"]


@pytest.mark.parametrize(("before", "last"), [(b"", b"12345"), (b"123", b"45"), (b"", b"1\n12345")])
def test_a_line_that_does_not_end_in_time_is_too_long(before: bytes, last: bytes) -> None:
    lines = Lines(4)
    lines.feed(before)
    with pytest.raises(TooLong):
        lines.feed(last)
