"""Saving a target before it is replaced: when, and under which name (transfer spec reference, 2.3)."""

from __future__ import annotations

from typing import Final

from connect_helper.spec.names import NAME_LIMIT, cut_name
from connect_helper.spec.overwrite import Decision, FileFacts, Resume

Stamp = tuple[int, int, int, int, int, int]  # year, month, day, hour, minute, second; local time
_LONGEST_EXTENSION: Final = 32  # bytes; what is longer is a name with a dot in it


def saves_first(*, wanted: bool, resume: Resume, decision: Decision, target: FileFacts | None) -> bool:
    """Tell whether the file under the final name is renamed before the new one takes its place.

    `wanted` is `save_before_overwrite`. It counts with resume none only, and only for a file that the
    overwrite policy replaces (`overwrite.decide`).
    """
    return wanted and resume == "none" and decision is Decision.WRITE and target is not None


def saved_name(name: bytes, stamp: Stamp, index: int) -> bytes:
    """Return `<filename>.yyyy.mm.dd.hh.mm.ss.<index>.<ext>`, at most 255 bytes long.

    `stamp` is the second of the renaming, `index` begins at 1 in each second and counts on while the name is
    taken. Only what follows the last dot is the extension; a dot at the beginning or the end makes none. Too
    long, the filename is cut without splitting a UTF-8 character; then two names may lead to one, which is
    "taken" like any other. Raises ValueError for an index below 1.
    """
    if index < 1:
        raise ValueError("the index of a saved file begins at 1")
    stem, dot, extension = name.rpartition(b".")
    if not stem.strip(b".") or not 0 < len(extension) <= _LONGEST_EXTENSION:
        stem, dot, extension = name, b"", b""
    ending = b".%04d.%02d.%02d.%02d.%02d.%02d" % stamp + b".%d" % index + dot + extension
    return cut_name(stem, NAME_LIMIT - len(ending)) + ending
