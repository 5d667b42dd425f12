"""Names that hide the real ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.spec.obfuscation import KEY_BYTES, hidden_name

KEY = bytes(range(KEY_BYTES))
PATHS = st.tuples(
    st.integers(0, 99), st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), min_size=1)
)


def test_a_hidden_name_shows_nothing_of_the_real_one() -> None:
    name = hidden_name(KEY, 0, ("proj", "Budget 2026.xlsx"))
    assert re.fullmatch(r"[a-z2-7]{32}", name)


def test_a_retry_finds_the_same_name_and_another_transfer_does_not() -> None:
    assert hidden_name(KEY, 0, ("a.txt",)) == hidden_name(bytes(KEY), 0, ("a.txt",))
    assert hidden_name(KEY, 0, ("a.txt",)) != hidden_name(KEY[::-1], 0, ("a.txt",))


@given(PATHS, PATHS)
def test_two_files_never_share_a_name(one: tuple[int, list[str]], other: tuple[int, list[str]]) -> None:
    try:
        names = [hidden_name(KEY, source, tuple(path)) for source, path in (one, other)]
    except UnicodeEncodeError:
        return  # no such name comes from a disk
    assert (names[0] == names[1]) is (one == other)


def test_names_of_no_encoding_are_hidden_too() -> None:
    assert hidden_name(KEY, 0, ("caf\udce9",)) != hidden_name(KEY, 0, ("caf\udce8",))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        hidden_name(KEY[:-1], 0, ("a",))
