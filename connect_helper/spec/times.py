"""Times of files: which files take part by their time, and which stamps a target gets.

Source: transfer spec reference, sections 2.5 and 2.8. No clock is read here: "now" comes as an argument.
Times are seconds since the epoch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import is_unset
from connect_helper.spec.words import flag

NEWER: Final = "exclude_newer_than"
OLDER: Final = "exclude_older_than"
_FURTHEST: Final = 253_402_300_799.0  # s, the end of the year 9999
_SECOND: Final = 1_000_000_000  # ns
_YEAR: Final = 366 * 86_400.0  # s
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|sec|m|min|h|d)?", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,13}(?:\.[0-9]{1,9})?", re.ASCII)
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
    r"|[0-9]{8}T[0-9]{4}(?:[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII | re.IGNORECASE,
)


def same_moment(one_ns: int, other_ns: int) -> bool:
    """Tell whether two times of a file are the same as far as both are known.

    Who tells whole seconds only, as SFTP does, may mean any moment of that second.
    """
    if one_ns % _SECOND and other_ns % _SECOND:
        return one_ns == other_ns
    return one_ns // _SECOND == other_ns // _SECOND


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as a spec gives it: since the epoch, or (`relative`) from "now", then never positive."""

    seconds: float
    relative: bool = False

    def at(self, now_s: float) -> float:
        """Return the time in seconds since the epoch."""
        return now_s + self.seconds if self.relative else self.seconds


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Files outside of these bounds are left out; a file exactly at a bound is kept. None: no bound."""

    newer_than_s: float | None = None
    older_than_s: float | None = None

    def keeps(self, mtime_s: float) -> bool:
        """Tell whether a file of that modification time takes part. Folders are not asked about."""
        if self.newer_than_s is not None and mtime_s > self.newer_than_s:
            return False
        return self.older_than_s is None or mtime_s >= self.older_than_s


def parse_moment(raw: Mapping[str, Any], field: str) -> Moment | None:
    """Read `exclude_newer_than` or `exclude_older_than`; None when it is not set.

    Numbers, also as text, are seconds since the epoch, negative ones seconds before now (-86400: a day ago).
    Other text must be a date of ISO 8601, with or without a time (the short form, 20260301T120000Z, with
    one); without a zone it is UTC. Raises InvalidRequest naming the field.
    """
    value = raw.get(field)
    if is_unset(value):
        return None
    seconds = _number(value)
    if seconds is not None and abs(seconds) <= _FURTHEST:
        return Moment(seconds, relative=seconds < 0)
    if isinstance(value, str) and _DATE.fullmatch(value.strip()):
        try:
            date = datetime.fromisoformat(value.strip().upper())
            # The zone may lead out of the years there are.
            return Moment((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            pass
    raise InvalidRequest(
        f'"{field}" must be a date such as "2026-03-01T12:00:00Z", seconds since 1970, or a negative number '
        "of seconds before now.",
        field=field,
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, int):
        return float(value) if abs(value) <= _FURTHEST else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def parse_duration(raw: Mapping[str, Any], field: str) -> float | None:
    """Read a length of time: seconds, also as text, or with a unit ("90s", "5min", "1h"); None when not set.

    Raises InvalidRequest naming the field: negative, above a year, or in no known form.
    """
    value = raw.get(field)
    if is_unset(value):
        return None
    match = _DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else None
    if isinstance(value, int | float):
        seconds = _number(value)
    if seconds is None or not 0 <= seconds <= _YEAR:
        raise InvalidRequest(
            f'"{field}" must be a number of seconds or a length of time such as "5min".', field=field
        )
    return seconds


def check_moments(newer: Moment | None, older: Moment | None) -> None:
    """Raise InvalidRequest when two times of one kind leave no file between them."""
    if newer is None or older is None or newer.relative != older.relative:
        return
    _check_window(newer.seconds, older.seconds)


def time_limits(newer: Moment | None, older: Moment | None, now_s: float) -> TimeLimits:
    """Settle both times at `now_s`, the moment the transfer was started, so that no retry moves them.

    Raises InvalidRequest when no file could lie between them.
    """
    newest = None if newer is None else newer.at(now_s)
    oldest = None if older is None else older.at(now_s)
    if newest is not None and oldest is not None:
        _check_window(newest, oldest)
    return TimeLimits(newest, oldest)


def _check_window(newest: float, oldest: float) -> None:
    if newest < oldest:
        raise InvalidRequest(
            f'"{NEWER}" lies before "{OLDER}": together they leave out every file.', field=OLDER
        )


@dataclass(frozen=True, slots=True)
class Stamps:
    """Which time stamps of the source a target gets (section 2.5). Creation time does not pass SFTP."""

    modification: bool = False
    access: bool = False

    def of(self, *, atime_ns: int, mtime_ns: int, now_ns: int) -> tuple[int, int] | None:
        """Return the access and modification time to set, or None to leave the target as written.

        SFTP sets both or none, so a stamp that is not kept becomes `now_ns`, the time of the transfer.
        `atime_ns` must be read before the transfer reads the file.
        """
        if not (self.modification or self.access):
            return None
        return (atime_ns if self.access else now_ns, mtime_ns if self.modification else now_ns)


def parse_stamps(raw: Mapping[str, Any]) -> Stamps:
    """Read `preserve_times`, which means both, and the single switches. Raises InvalidRequest."""
    both = flag(raw, "preserve_times")
    modification = flag(raw, "preserve_modification_time")
    access = flag(raw, "preserve_access_time")
    return Stamps(both or modification, both or access)
