"""Which parts of a file a sparse checksum looks at."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.spec.sampling import EDGE, WHOLE_BELOW, sparse_ranges

TIB = 1 << 40


@given(st.one_of(st.integers(0, 4 * WHOLE_BELOW), st.integers(0, 8 * TIB)))
def test_ranges_are_ascending_apart_and_inside_the_file(size: int) -> None:
    end = 0
    for offset, length in sparse_ranges(size):
        assert offset >= end
        assert length > 0
        end = offset + length
    assert end == size


@given(st.integers(WHOLE_BELOW + 1, 8 * TIB))
def test_a_large_file_costs_little_and_no_gap_is_much_larger_than_the_others(size: int) -> None:
    ranges = sparse_ranges(size)
    assert ranges[0] == (0, EDGE)
    assert ranges[-1] == (size - EDGE, EDGE)
    assert sum(length for _, length in ranges) <= 2 * WHOLE_BELOW
    gaps = [after[0] - before[0] - before[1] for before, after in itertools.pairwise(ranges)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("size", "ranges"), [(0, ()), (1, ((0, 1),)), (WHOLE_BELOW, ((0, WHOLE_BELOW),))])
def test_a_small_file_is_looked_at_whole(size: int, ranges: tuple[tuple[int, int], ...]) -> None:
    assert sparse_ranges(size) == ranges
