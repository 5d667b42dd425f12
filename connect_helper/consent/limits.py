"""How often a caller may ask. Times are seconds of a monotonic clock, given by the caller.

All of these forget: at most `keys` callers are kept in mind, the one unheard of longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
State = TypeVar("State")

REFUSALS: Final = 3
MUTED_S: Final = 3_600.0
KEYS: Final = 1_024


class _Recent(Generic[Key, State]):
    """A mapping that keeps the entries written last."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._entries: OrderedDict[Key, State] = OrderedDict()

    def get(self, key: Key) -> State | None:
        return self._entries.get(key)

    def put(self, key: Key, state: State) -> None:
        self._entries[key] = state
        self._entries.move_to_end(key)
        if len(self._entries) > self._keys:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def items(self) -> list[tuple[Key, State]]:
        return list(self._entries.items())


@dataclass(frozen=True, slots=True)
class _Refusals:
    count: int
    last: float


class PromptLimits:
    """Three refusals in a row, none an hour after the one before, mute an origin for an hour."""

    def __init__(self, *, keys: int = KEYS) -> None:
        self._refusals: _Recent[str, _Refusals] = _Recent(keys)

    def refused(self, origin: str, now: float) -> bool:
        """Note that the user said no; tell whether the origin is muted now."""
        old = self._fresh(origin, now)
        self._refusals.put(origin, _Refusals((old.count if old else 0) + 1, now))
        return self.muted(origin, now)

    def accepted(self, origin: str) -> None:
        """Note that the user said yes: earlier refusals no longer count."""
        self._refusals.drop(origin)

    def muted(self, origin: str, now: float) -> bool:
        """Tell whether questions of this origin are answered with no, unseen by the user."""
        return self.muted_s(origin, now) > 0.0

    def muted_s(self, origin: str, now: float) -> float:
        """Return the seconds until its questions are shown again; 0.0 if they are shown now."""
        old = self._fresh(origin, now)
        return old.last + MUTED_S - now if old is not None and old.count >= REFUSALS else 0.0

    def muted_origins(self, now: float) -> list[str]:
        return [origin for origin, _ in self._refusals.items() if self.muted(origin, now)]

    def _fresh(self, origin: str, now: float) -> _Refusals | None:
        old = self._refusals.get(origin)
        return old if old is not None and now - old.last < MUTED_S else None


@dataclass(frozen=True, slots=True)
class _Bucket:
    tokens: float
    filled: float  # when `tokens` was true


class CallRate(Generic[Key]):
    """A token bucket for each key: `per_second` calls in the long run, `burst` at once."""

    def __init__(self, *, per_second: float = 20.0, burst: float = 60.0, keys: int = KEYS) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: _Recent[Key, _Bucket] = _Recent(keys)

    def allow(self, key: Key, now: float) -> bool:
        """Take one call, if there is one left."""
        tokens = self._tokens(key, now)
        allowed = tokens >= 1.0
        self._buckets.put(key, _Bucket(tokens - 1.0 if allowed else tokens, now))
        return allowed

    def wait_s(self, key: Key, now: float) -> float:
        """Return the seconds until the next call would be allowed; 0.0 if it would be now."""
        return max(0.0, (1.0 - self._tokens(key, now)) / self._per_second)

    def _tokens(self, key: Key, now: float) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            return self._burst
        return min(self._burst, bucket.tokens + (now - bucket.filled) * self._per_second)


class FailureLimit(Generic[Key]):
    """Counts failures of each key; `limit` of them within `within_s` seconds block it until one is older."""

    def __init__(self, *, limit: int = 5, within_s: float = 3_600.0, keys: int = KEYS) -> None:
        self._limit = limit
        self._within_s = within_s
        self._times: _Recent[Key, tuple[float, ...]] = _Recent(keys)

    def failed(self, key: Key, now: float) -> None:
        """Note a failure. Of more than `limit` the last ones are kept."""
        self._times.put(key, (*self._fresh(key, now), now)[-self._limit :])

    def left(self, key: Key, now: float) -> int:
        """How many more failures there may be now."""
        return self._limit - len(self._fresh(key, now))

    def blocked_s(self, key: Key, now: float) -> float:
        """Return the seconds until there may be another; 0.0 if there may be now."""
        times = self._fresh(key, now)
        return times[0] + self._within_s - now if len(times) >= self._limit else 0.0

    def _fresh(self, key: Key, now: float) -> tuple[float, ...]:
        return tuple(time for time in self._times.get(key) or () if now - time < self._within_s)


class Spacing(Generic[Key]):
    """One call of each key in `every_s` seconds."""

    def __init__(self, every_s: float, *, keys: int = KEYS) -> None:
        self._every_s = every_s
        self._last: _Recent[Key, float] = _Recent(keys)

    def allow(self, key: Key, now: float) -> bool:
        """Take the call, unless the last one taken was too short a time ago."""
        if self.wait_s(key, now) > 0.0:
            return False
        self._last.put(key, now)
        return True

    def give_back(self, key: Key) -> None:
        """Undo the last call taken: the next one may follow at once."""
        self._last.drop(key)

    def wait_s(self, key: Key, now: float) -> float:
        """Return the seconds until the next call would be allowed; 0.0 if it would be now."""
        last = self._last.get(key)
        return 0.0 if last is None else max(0.0, last + self._every_s - now)
