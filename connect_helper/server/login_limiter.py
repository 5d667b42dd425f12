"""How often logins may fail: for one account from one address, and for one address whatever the account.

Nothing is locked for good, so that a stranger cannot shut users out: failures beyond the free ones make the
*address* wait, twice as long each time, and an hour of peace forgets them. A stranger who comes from many
addresses finds each account slowed as a whole; addresses that have logged in to it before are spared that.
Kept over restarts in one JSON file. Source: security notes, SEC-32.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import TooManyRequests

FORGET_S: Final = 3600.0
LONGEST_WAIT_S: Final = 300.0
_MAX_TRACKED: Final = 20_000  # keys; beyond that the oldest go
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Patience:
    """How many failures are free, and the longest wait in seconds after that."""

    free: int
    longest_s: float


_PAIR: Final = Patience(5, LONGEST_WAIT_S)
_ADDRESS: Final = Patience(20, LONGEST_WAIT_S)
_ACCOUNT: Final = Patience(50, 5.0)


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last_s: float = 0.0
    until_s: float = 0.0


class LoginLimiter:
    """Counts failures. Times are wall-clock seconds, since they are kept over restarts."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._known: dict[str, float] = {}  # account and address that logged in, and when
        self._changed = False
        if path is not None:
            self._load(path)

    def check(self, account: str, address: str) -> None:
        """Raise TooManyRequests while that address, or the account as a whole, has to wait."""
        now = self._clock()
        pair, place, whole = _keys(account, address)
        waits = [self._wait(pair, now), self._wait(place, now)]
        if pair not in self._known:
            waits.append(self._wait(whole, now))
        if (wait_s := max(waits)) > 0:
            raise TooManyRequests(
                "Too many failed logins. Wait a while and try again.", retry_after=max(1, round(wait_s + 0.5))
            )

    def failed(self, account: str, address: str) -> None:
        """Count a failed login."""
        now = self._clock()
        for key, patience in zip(_keys(account, address), (_PAIR, _ADDRESS, _ACCOUNT), strict=True):
            self._count(key, patience, now)
        self._changed = True

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of that address with that account, and spare it the account's own wait."""
        pair, _, _ = _keys(account, address)
        self._records.pop(pair, None)
        self._known.pop(pair, None)  # to the end: the oldest are dropped first
        self._known[pair] = self._clock()
        _drop_oldest(self._known)
        self._changed = True

    def save(self) -> None:
        """Write what changed since the last call. Blocking; raises OSError."""
        if self._path is None or not self._changed:
            return
        self._changed = False
        now = self._clock()
        records = {
            key: [one.failures, one.last_s, one.until_s]
            for key, one in list(self._records.items())
            if now - one.last_s < FORGET_S
        }
        _replace(
            self._path, json.dumps({"version": _VERSION, "failures": records, "known": dict(self._known)})
        )

    def _wait(self, key: str, now: float) -> float:
        record = self._records.get(key)
        if record is None:
            return 0.0
        if now < record.last_s:  # the clock was set back: that must not lock anybody out for years
            record.last_s, record.until_s = now, now + max(record.until_s - record.last_s, 0.0)
        return record.until_s - now

    def _count(self, key: str, patience: Patience, now: float) -> None:
        record = self._records.pop(key, None)
        if record is None or now - record.last_s >= FORGET_S:
            record = _Record()
        self._records[key] = record
        record.failures += 1
        record.last_s = now
        over = record.failures - patience.free
        if over > 0:
            record.until_s = now + min(2.0 ** min(over - 1, 20), patience.longest_s)
        _drop_oldest(self._records)

    def _load(self, path: Path) -> None:
        """A file that cannot be read is as good as none: the counts begin anew."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if raw["version"] != _VERSION:
                return
            records = {
                str(key): _Record(int(one[0]), float(one[1]), float(one[2]))
                for key, one in raw["failures"].items()
            }
            known = {str(key): float(at_s) for key, at_s in raw["known"].items()}
            self._records, self._known = records, known


def _keys(account: str, address: str) -> tuple[str, str, str]:
    place = network_of(address)
    name = account[:128]
    return f"{place} {name}", f"{place}", f"* {name}"


def network_of(address: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: whoever has one address there has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)


def _drop_oldest(table: dict[str, Any]) -> None:
    while len(table) > _MAX_TRACKED:
        del table[next(iter(table))]


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
