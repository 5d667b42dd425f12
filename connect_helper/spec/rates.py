"""Rates of a transfer: what the spec asks for, and what `modify` changes. All in kbit/s of 1000 bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connect_helper.spec.lenient import as_bool
from connect_helper.spec.transfer_spec import TransferSpec
from connect_helper.spec.words import RATE_POLICIES, RatePolicy, pick, rate, word


@dataclass(frozen=True, slots=True)
class RateChange:
    """The fields of a `modify` request that were set (Connect reference, section 5); None: unchanged."""

    rate_policy: RatePolicy | None = None
    target_rate_kbps: int | None = None
    min_rate_kbps: int | None = None
    target_rate_cap_kbps: int | None = None
    lock_rate_policy: bool | None = None
    lock_target_rate: bool | None = None
    lock_min_rate: bool | None = None

    def as_connect_fields(self) -> dict[str, Any]:
        """Return the changed fields, flat, as the answer to `modify` (section 5.4)."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None}


def parse_rates(changes: Mapping[str, Any]) -> RateChange:
    """Read the body of a `modify` request; keys that are no rate settings are left alone.

    Raises InvalidRequest naming the field.
    """
    return RateChange(
        rate_policy=word(changes, RATE_POLICIES, "rate_policy"),
        target_rate_kbps=rate(changes, "target_rate_kbps"),
        min_rate_kbps=rate(changes, "min_rate_kbps"),
        target_rate_cap_kbps=rate(changes, "target_rate_cap_kbps"),
        lock_rate_policy=_lock(changes, "lock_rate_policy", "lock_policy"),
        lock_target_rate=_lock(changes, "lock_target_rate_kbps", "lock_target_rate"),
        lock_min_rate=_lock(changes, "lock_min_rate_kbps", "lock_min_rate"),
    )


def effective_rate_kbps(spec: TransferSpec) -> int | None:
    """Return the rate the spec asks for, bounded by its cap; None when it sets no limit."""
    return _lowest(spec.target_rate_kbps, spec.target_rate_cap_kbps)


def requested_rate_kbps(fields: Mapping[str, Any]) -> int | None:
    """Return the same for a spec as it came or was echoed, as when `modify` changed its fields.

    Raises InvalidRequest naming the field. A lock is not looked at: it binds the user, not the page.
    """
    return _lowest(rate(fields, "target_rate_kbps"), rate(fields, "target_rate_cap_kbps"))


def rate_locked(fields: Mapping[str, Any]) -> bool:
    """Tell whether the spec (as it came or echoed) keeps the user from changing the target rate."""
    return _lock(fields, "lock_target_rate_kbps", "lock_target_rate") is True


def _lowest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _lock(changes: Mapping[str, Any], *names: str) -> bool | None:
    name, value = pick(changes, *names)
    return as_bool(value, name)
