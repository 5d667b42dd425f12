"""How many connections a transfer uses and what they share (transfer spec reference, 2.16 and 2.17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.spec.lenient import as_bool, as_int

MOST_SESSIONS: Final = 128


@dataclass(frozen=True, slots=True)
class Sessions:
    """What a spec says; None: nothing."""

    number: int | None = None  # 1 to 128: exactly so many connections; None: as many as help
    threshold: int | None = None  # bytes from which a file may be divided among them; 0: never


def parse_sessions(raw: Mapping[str, Any]) -> Sessions:
    """Read `multi_session` (0 and not set alike leave the number open) and `multi_session_threshold`.

    Raises InvalidRequest naming the field: 0 to 128 sessions, a size of at least 0 bytes.
    """
    number = as_int(raw.get("multi_session"), "multi_session", maximum=MOST_SESSIONS)
    threshold = as_int(raw.get("multi_session_threshold"), "multi_session_threshold")
    return Sessions(number or None, threshold)


def divides(size: int, threshold: int | None, *, own_threshold: int) -> bool:
    """Tell whether a file, of which `size` bytes are to be moved, may be divided among connections.

    Where the spec names no threshold (None) that is left to the engine: from `own_threshold` bytes on, for
    less is not worth it. The reference divides with resume none only; here a divided file can be gone on
    with like any other, so the resume policy does not matter.
    """
    if threshold is None:
        return size >= own_threshold
    return threshold > 0 and size >= max(threshold, own_threshold)


def parse_count_first(raw: Mapping[str, Any]) -> bool | None:
    """Tell whether all sources are scanned before the first byte moves (`precalculate_job_size`).

    None when the spec does not say. Raises InvalidRequest.
    """
    return as_bool(raw.get("precalculate_job_size"), "precalculate_job_size")
