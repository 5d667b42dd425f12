"""Keeping a replaced file under a dated name."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.spec.overwrite import Decision, FileFacts, Overwrite, Resume, decide
from connect_helper.spec.saving import saved_name, saves_first

STAMP = (2025, 3, 4, 9, 15, 2)
OLD, NEW = FileFacts(10, 1_000_000_000), FileFacts(10, 3_000_000_000)


@pytest.mark.parametrize(
    ("name", "index", "saved"),
    [
        (b"report.pdf", 1, b"report.2025.03.04.09.15.02.1.pdf"),
        (b"report.pdf", 12, b"report.2025.03.04.09.15.02.12.pdf"),
        (b"README", 1, b"README.2025.03.04.09.15.02.1"),
        (b"a.tar.gz", 1, b"a.tar.2025.03.04.09.15.02.1.gz"),
        (b".bashrc", 1, b".bashrc.2025.03.04.09.15.02.1"),
        (b"..x", 1, b"..x.2025.03.04.09.15.02.1"),
        (b".config.json", 1, b".config.2025.03.04.09.15.02.1.json"),
        (b"a.", 1, b"a..2025.03.04.09.15.02.1"),
        (b"\xff.\xfe", 1, b"\xff.2025.03.04.09.15.02.1.\xfe"),
        (b"a." + b"x" * 33, 1, b"a." + b"x" * 33 + b".2025.03.04.09.15.02.1"),
    ],
)
def test_the_date_goes_before_the_extension(name: bytes, index: int, saved: bytes) -> None:
    assert saved_name(name, STAMP, index) == saved


def test_the_index_begins_at_one() -> None:
    with pytest.raises(ValueError, match="at 1"):
        saved_name(b"a", STAMP, 0)


@given(st.binary(min_size=1, max_size=255), st.integers(1, 10**6))
def test_saved_names_fit_and_tell_the_index(name: bytes, index: int) -> None:
    saved = saved_name(name, STAMP, index)
    assert len(saved) <= 255
    assert b".2025.03.04.09.15.02.%d" % index in saved
    assert saved != saved_name(name, STAMP, index + 1)


def test_cutting_keeps_characters_whole() -> None:
    assert saved_name("é".encode() * 125 + b".txt", STAMP, 1).decode().endswith("é.2025.03.04.09.15.02.1.txt")


@pytest.mark.parametrize(
    ("wanted", "resume", "overwrite", "target", "saves"),
    [
        (True, "none", "diff", OLD, True),
        (True, "none", "always", OLD, True),
        (True, "none", "older", OLD, True),
        (True, "none", "older", NEW, False),  # the target stays
        (True, "none", "none", OLD, False),
        (True, "none", "diff", None, False),  # nothing to save
        (True, "attributes", "always", OLD, False),
        (True, "sparse_checksum", "always", OLD, False),
        (True, "full_checksum", "always", OLD, False),
        (False, "none", "always", OLD, False),
    ],
)
def test_only_what_is_replaced_without_resume_is_saved(
    wanted: bool, resume: Resume, overwrite: Overwrite, target: FileFacts | None, saves: bool
) -> None:
    decision = decide(overwrite, resume, NEW, target)
    assert saves_first(wanted=wanted, resume=resume, decision=decision, target=target) is saves


def test_no_policy_saves_a_target_that_stays() -> None:
    cases = itertools.product(get_args(Overwrite), get_args(Resume), (OLD, NEW, None))
    for overwrite, resume, target in cases:
        decision = decide(overwrite, resume, NEW, target)
        if saves_first(wanted=True, resume=resume, decision=decision, target=target):
            assert (decision, resume) == (Decision.WRITE, "none")
            assert target is not None
