"""The overwrite and resume policies as tables."""

from __future__ import annotations

import itertools

import pytest

from connect_helper.spec.overwrite import (
    Decision,
    FileFacts,
    Overwrite,
    PartialDecision,
    Resume,
    after_compare,
    decide,
    decide_partial,
)

SECOND = 1_000_000_000
SOURCE = FileFacts(1_000, 100 * SECOND)
SAME_SIZE = {
    "older": FileFacts(1_000, 98 * SECOND),
    "close": FileFacts(1_000, 99 * SECOND),
    "newer": FileFacts(1_000, 100 * SECOND + 1),
}
OTHER_SIZE = {
    "older": FileFacts(999, 98 * SECOND),
    "close": FileFacts(999, 99 * SECOND),
    "newer": FileFacts(999, 101 * SECOND),
}
SKIP, WRITE, SPARSE, FULL = Decision.SKIP, Decision.WRITE, Decision.COMPARE_SPARSE, Decision.COMPARE_FULL
LEVELS: tuple[Resume, ...] = ("none", "attributes", "sparse_checksum", "full_checksum")

# For a target of the same size, by resume level; "close" is older by one second, which FAT does not keep.
DIFFERENT, IN_DOUBT = (WRITE, SKIP, SPARSE, FULL), (SKIP, SKIP, SPARSE, FULL)
SAME_SIZE_TABLE: dict[Overwrite, dict[str, tuple[Decision, ...]]] = {
    "always": {"older": (WRITE,) * 4, "close": (WRITE,) * 4, "newer": (WRITE,) * 4},
    "none": {"older": (SKIP,) * 4, "close": (SKIP,) * 4, "newer": (SKIP,) * 4},
    "diff": {"older": DIFFERENT, "close": DIFFERENT, "newer": DIFFERENT},
    "older": {"older": (WRITE,) * 4, "close": IN_DOUBT, "newer": (SKIP,) * 4},
    "diff+older": {"older": DIFFERENT, "close": IN_DOUBT, "newer": (SKIP,) * 4},
}
OTHER_SIZE_TABLE: dict[Overwrite, dict[str, Decision]] = {
    "always": {"older": WRITE, "close": WRITE, "newer": WRITE},
    "none": {"older": SKIP, "close": SKIP, "newer": SKIP},
    "diff": {"older": WRITE, "close": WRITE, "newer": WRITE},
    "older": {"older": WRITE, "close": WRITE, "newer": SKIP},
    "diff+older": {"older": WRITE, "close": WRITE, "newer": SKIP},
}
CASES = list(itertools.product(SAME_SIZE_TABLE, LEVELS, ("older", "close", "newer")))


@pytest.mark.parametrize(("overwrite", "resume", "age"), CASES)
def test_a_target_of_the_same_size(overwrite: Overwrite, resume: Resume, age: str) -> None:
    expected = SAME_SIZE_TABLE[overwrite][age][LEVELS.index(resume)]
    assert decide(overwrite, resume, SOURCE, SAME_SIZE[age]) is expected


@pytest.mark.parametrize(("overwrite", "resume", "age"), CASES)
def test_a_target_of_another_size(overwrite: Overwrite, resume: Resume, age: str) -> None:
    assert decide(overwrite, resume, SOURCE, OTHER_SIZE[age]) is OTHER_SIZE_TABLE[overwrite][age]


@pytest.mark.parametrize("overwrite", ["older", "diff+older"])
def test_a_copy_on_fat_is_not_sent_again(overwrite: Overwrite) -> None:
    """It keeps every second second, rounded down; a file of 101.9 s has 100 s there."""
    source, copy = FileFacts(1_000, 101_900_000_000), FileFacts(1_000, 100 * SECOND)
    assert decide(overwrite, "none", source, copy) is SKIP


@pytest.mark.parametrize(("overwrite", "resume"), list(itertools.product(SAME_SIZE_TABLE, LEVELS)))
def test_without_a_target_the_file_is_written(overwrite: Overwrite, resume: Resume) -> None:
    assert decide(overwrite, resume, SOURCE, None) is WRITE


def test_a_comparison_ends_in_keeping_or_replacing() -> None:
    assert after_compare(same=True) is SKIP
    assert after_compare(same=False) is WRITE


@pytest.mark.parametrize(
    ("overwrite", "resume", "begun_from", "size", "expected"),
    [
        ("diff", "none", SOURCE, 500, PartialDecision.START_OVER),
        ("diff", "attributes", SOURCE, 500, PartialDecision.CONTINUE),
        ("diff", "sparse_checksum", SOURCE, 500, PartialDecision.COMPARE_SPARSE),
        ("none", "full_checksum", SOURCE, 500, PartialDecision.COMPARE_FULL),
        ("diff", "attributes", SOURCE, 1_000, PartialDecision.CONTINUE),
        ("diff", "attributes", SOURCE, 1_001, PartialDecision.START_OVER),
        ("diff", "attributes", SOURCE, 0, PartialDecision.START_OVER),
        ("diff", "attributes", None, 500, PartialDecision.START_OVER),
        ("diff", "attributes", FileFacts(1_000, 7), 500, PartialDecision.START_OVER),
        ("always", "attributes", SOURCE, 500, PartialDecision.START_OVER),
    ],
)
def test_a_partial_file_is_continued_only_when_it_is_of_this_source(
    overwrite: Overwrite, resume: Resume, begun_from: FileFacts | None, size: int, expected: PartialDecision
) -> None:
    assert decide_partial(overwrite, resume, SOURCE, begun_from, size) is expected
