"""How many connections a transfer uses and what they share (transfer spec reference, 2.16 and 2.17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.spec.lenient import as_bool, as_int
from connect_helper.spec.overwrite import Resume

MOST_SESSIONS: Final = 128


@dataclass(frozen=True, slots=True)
class Sessions:
    """What a spec says; None: nothing."""

    number: int | None = None  # 1 to 128: exactly so many connections; None: as many as help
    threshold: int | None = None  # bytes from which a file may be split; 0: never

    def splits(self, size: int, resume: Resume, *, own_threshold: int) -> bool:
        """Tell whether a file of `size` bytes may be divided among connections.

        A spec that names a threshold gets the documented rule: with resume none only, from that size on,
        never for 0. One that does not leaves it to the engine: from `own_threshold` bytes on.
        """
        if self.threshold is None:
            return size >= own_threshold
        return self.threshold > 0 and resume == "none" and size >= self.threshold


@dataclass(frozen=True, slots=True)
class Connections:
    """How many connections to open at once, and up to how many more as measurement says so."""

    first: int
    most: int


def parse_sessions(raw: Mapping[str, Any]) -> Sessions:
    """Read `multi_session` (0 and not set alike leave the number open) and `multi_session_threshold`.

    Raises InvalidRequest naming the field: 0 to 128 sessions, a size of at least 0 bytes.
    """
    number = as_int(raw.get("multi_session"), "multi_session", maximum=MOST_SESSIONS)
    threshold = as_int(raw.get("multi_session_threshold"), "multi_session_threshold")
    return Sessions(number or None, threshold)


def connections_wanted(sessions: Sessions, *, pieces: int | None, own_most: int) -> Connections:
    """Decide how many connections serve a transfer.

    `pieces` is the number of files and segments that can move at the same time, None while the scan has not
    told; `own_most` is where this program stops by itself. A number in the spec holds from the start and is
    bounded by the pieces only; a server that lets in fewer is no fault.
    """
    useful = MOST_SESSIONS if pieces is None else max(1, pieces)
    if sessions.number is not None:
        number = min(sessions.number, useful)
        return Connections(number, number)
    return Connections(1, max(1, min(own_most, useful)))


def parse_count_first(raw: Mapping[str, Any]) -> bool | None:
    """Tell whether all sources are scanned before the first byte moves (`precalculate_job_size`).

    None when the spec does not say. Raises InvalidRequest.
    """
    return as_bool(raw.get("precalculate_job_size"), "precalculate_job_size")
