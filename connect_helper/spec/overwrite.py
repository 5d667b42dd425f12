"""What happens to a file that is already there: the overwrite and resume policies as pure decisions.

Sources: transfer spec reference, sections 2.1 and 2.2. A decision may need a look at the contents of both
sides; then the answer is a COMPARE_..., and `after_compare` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from connect_helper.spec.sampling import WHOLE_BELOW

Overwrite = Literal["always", "none", "diff", "older", "diff+older"]
Resume = Literal["none", "attributes", "sparse_checksum", "full_checksum"]

_SECOND: Final = 1_000_000_000  # ns
_FAT_STEP: Final = 2 * _SECOND  # FAT keeps even seconds, rounded down


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of one file without reading it."""

    size: int  # bytes
    mtime_ns: int  # since the epoch


class Decision(Enum):
    """What to do with one file that has a target."""

    SKIP = auto()  # keep the target; the file counts as skipped
    WRITE = auto()  # send the file anew, replacing the target
    COMPARE_SPARSE = auto()  # compare samples of both files, then `after_compare`
    COMPARE_FULL = auto()  # compare both files whole, then `after_compare`


class PartialDecision(Enum):
    """What to do with the partial file of an earlier try."""

    START_OVER = auto()
    CONTINUE = auto()
    COMPARE_SPARSE = auto()  # compare samples of the partial file with the source's beginning
    COMPARE_FULL = auto()


# What "different" means when both files have the same size.
_EQUAL_SIZE: Final[Mapping[Resume, Decision]] = {
    "none": Decision.WRITE,  # without resume, source and target always count as different
    "attributes": Decision.SKIP,
    "sparse_checksum": Decision.COMPARE_SPARSE,
    "full_checksum": Decision.COMPARE_FULL,
}
# Where times are too close to tell, and sizes are the same: content decides.
_IN_DOUBT: Final[Mapping[Resume, Decision]] = {
    **_EQUAL_SIZE,
    "none": Decision.COMPARE_SPARSE,
    "attributes": Decision.COMPARE_SPARSE,
}
_PARTIAL: Final[Mapping[Resume, PartialDecision]] = {
    "none": PartialDecision.START_OVER,
    "attributes": PartialDecision.CONTINUE,
    "sparse_checksum": PartialDecision.COMPARE_SPARSE,
    "full_checksum": PartialDecision.COMPARE_FULL,
}


def decide(overwrite: Overwrite, resume: Resume, source: FileFacts, target: FileFacts | None) -> Decision:
    """Decide about the finished file `target` that stands under the final name (None: there is none).

    The time stamps count for `older` and `diff+older` only, in whole seconds, for that is all SFTP version 3
    reports; equal times are not older. One second between files of the same size is no proof either, where
    the target's time is one that FAT keeps: sent again each time, a copy there would never be done. Contents
    are compared then; see `is_unsure`. Otherwise times do not count: without `preserve_times` a target has
    the time of its transfer.
    """
    if target is None or overwrite == "always":
        return Decision.WRITE
    if overwrite == "none":
        return Decision.SKIP
    if overwrite in ("older", "diff+older"):
        if source.mtime_ns // _SECOND <= target.mtime_ns // _SECOND:
            return Decision.SKIP
        if _is_close(source, target):
            return _IN_DOUBT[resume]
    if overwrite == "older" or target.size != source.size:
        return Decision.WRITE
    return _EQUAL_SIZE[resume]


def is_unsure(overwrite: Overwrite, resume: Resume, source: FileFacts, target: FileFacts) -> bool:
    """Tell whether a skipped source may be another than its target after all: no reason to remove it.

    So it is where times are too close to tell, and no more than samples was compared.
    """
    by_time = overwrite in ("older", "diff+older") and source.mtime_ns // _SECOND > target.mtime_ns // _SECOND
    in_part = resume != "full_checksum" and source.size > WHOLE_BELOW
    return by_time and in_part and _is_close(source, target)


def _is_close(source: FileFacts, target: FileFacts) -> bool:
    """Tell whether a newer `source` may be what `target` is a copy of, on a disk that keeps even seconds."""
    kept = source.mtime_ns // _FAT_STEP * _FAT_STEP
    return target.size == source.size and target.mtime_ns == kept


def after_compare(*, same: bool) -> Decision:
    """End a COMPARE_...: equal content is kept, different content replaced."""
    return Decision.SKIP if same else Decision.WRITE


def decide_partial(
    overwrite: Overwrite, resume: Resume, source: FileFacts, begun_from: FileFacts | None, partial_size: int
) -> PartialDecision:
    """Decide about a partial file of `partial_size` bytes.

    `begun_from` is what the source was when the partial file was begun; None when no record says so. Then,
    or when the source is another one now, its content cannot be trusted and the file starts over, as it
    does for `overwrite: always`.
    """
    if overwrite == "always" or begun_from != source or not 0 < partial_size <= source.size:
        return PartialDecision.START_OVER
    return _PARTIAL[resume]
