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
    is_unsure,
)

SECOND = 1_000_000_000
SOURCE = FileFacts(1_000, 101 * SECOND)
SAME_SIZE = {
    "older": FileFacts(1_000, 98 * SECOND),
    "finer": FileFacts(1_000, 100 * SECOND + 1),
    "close": FileFacts(1_000, 100 * SECOND),
    "newer": FileFacts(1_000, 101 * SECOND + 1),
}
OTHER_SIZE = {age: FileFacts(999, facts.mtime_ns) for age, facts in SAME_SIZE.items()}
SKIP, WRITE, SPARSE, FULL = Decision.SKIP, Decision.WRITE, Decision.COMPARE_SPARSE, Decision.COMPARE_FULL
LEVELS: tuple[Resume, ...] = ("none", "attributes", "sparse_checksum", "full_checksum")

# For a target of the same size, by resume level. "close" and "finer" are older by one second: the first may
# be so because FAT keeps even seconds only, the second has a time that FAT does not keep.
DIFFERENT, IN_DOUBT = (WRITE, SKIP, SPARSE, FULL), (SPARSE, SPARSE, SPARSE, FULL)
WRITTEN, SKIPPED = (WRITE,) * 4, (SKIP,) * 4
SAME_SIZE_TABLE: dict[Overwrite, dict[str, tuple[Decision, ...]]] = {
    "always": dict.fromkeys(SAME_SIZE, WRITTEN),
    "none": dict.fromkeys(SAME_SIZE, SKIPPED),
    "diff": dict.fromkeys(SAME_SIZE, DIFFERENT),
    "older": {"older": WRITTEN, "finer": WRITTEN, "close": IN_DOUBT, "newer": SKIPPED},
    "diff+older": {"older": DIFFERENT, "finer": DIFFERENT, "close": IN_DOUBT, "newer": SKIPPED},
}
OTHER_SIZE_TABLE: dict[Overwrite, dict[str, Decision]] = {
    "always": dict.fromkeys(SAME_SIZE, WRITE),
    "none": dict.fromkeys(SAME_SIZE, SKIP),
    "diff": dict.fromkeys(SAME_SIZE, WRITE),
    "older": {**dict.fromkeys(SAME_SIZE, WRITE), "newer": SKIP},
    "diff+older": {**dict.fromkeys(SAME_SIZE, WRITE), "newer": SKIP},
}
CASES = list(itertools.product(SAME_SIZE_TABLE, LEVELS, SAME_SIZE))


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
    assert decide(overwrite, "none", source, copy) is SPARSE  # and what is the same is kept


@pytest.mark.parametrize(
    ("overwrite", "resume", "size", "age_s", "unsure"),
    [
        ("older", "none", 2_000_000, 1, True),
        ("diff+older", "sparse_checksum", 2_000_000, 1, True),
        ("older", "full_checksum", 2_000_000, 1, False),  # compared whole
        ("older", "none", 1_000_000, 1, False),  # small: the samples are the whole file
        ("older", "none", 2_000_000, 0, False),
        ("diff", "sparse_checksum", 2_000_000, 1, False),  # times do not count
    ],
)
def test_samples_alone_leave_a_doubt_where_times_do(
    overwrite: Overwrite, resume: Resume, size: int, age_s: int, unsure: bool
) -> None:
    source, target = FileFacts(size, (100 + age_s) * SECOND), FileFacts(size, 100 * SECOND)
    assert is_unsure(overwrite, resume, source, target) is unsure


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
