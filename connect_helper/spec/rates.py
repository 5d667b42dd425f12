"""Rates of a transfer: what the spec asks for, and what `modify` changes. All in kbit/s of 1000 bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.errors import InvalidRequest, WrongState
from connect_helper.spec.lenient import as_bool
from connect_helper.spec.transfer_spec import TransferSpec
from connect_helper.spec.words import RATE_POLICIES, RatePolicy, pick, rate, rate_number, word


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
        target_rate_kbps=_changed_rate(changes, "target_rate_kbps"),
        min_rate_kbps=_changed_rate(changes, "min_rate_kbps"),
        target_rate_cap_kbps=_changed_rate(changes, "target_rate_cap_kbps"),
        lock_rate_policy=_lock(changes, "lock_rate_policy", "lock_policy"),
        lock_target_rate=_lock(changes, "lock_target_rate_kbps", "lock_target_rate"),
        lock_min_rate=_lock(changes, "lock_min_rate_kbps", "lock_min_rate"),
    )


def _changed_rate(changes: Mapping[str, Any], name: str) -> int | None:
    """0 is a change too: it lifts the limit."""
    return rate_number(changes.get(name), name)


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


def rate_cap_kbps(fields: Mapping[str, Any]) -> int | None:
    """Return the highest target rate the user may choose; None: any."""
    return rate(fields, "target_rate_cap_kbps")


def _lowest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _lock(changes: Mapping[str, Any], *names: str) -> bool | None:
    name, value = pick(changes, *names)
    return as_bool(value, name)


# How much of a shared limit a transfer gets beside a fair one. SSH runs over TCP, which decides about the
# network's own bottleneck by itself; what a policy can mean is the division of the limit that all transfers
# of one direction have together in the preferences:
#   fixed  its target rate first, before the others get anything; it backs off only as far as TCP makes it,
#          or when the fixed ones alone are above the limit. Without a target it is treated as high.
#   high   twice the part of a fair transfer
#   fair   an equal part
#   low    a quarter of a fair one's part while others want more; all of what they leave
WEIGHTS: Final[Mapping[RatePolicy, float]] = {"fixed": 2.0, "high": 2.0, "fair": 1.0, "low": 0.25}
_MILD_TO_AGGRESSIVE: Final[tuple[RatePolicy, ...]] = ("low", "fair", "high", "fixed")


@dataclass(frozen=True, slots=True)
class RateWish:
    """What one transfer wants of a shared limit; None: no limit of its own, no least rate."""

    policy: RatePolicy = "fair"
    target_kbps: int | None = None
    min_kbps: int | None = None


def rate_wish(fields: Mapping[str, Any]) -> RateWish:
    """Read the wish of a spec as it came or was echoed, as when `modify` changed its fields.

    The order of limits (section 2.10): the requested target, then the spec's caps; local preferences and the
    server come later. A least rate above `min_rate_cap_kbps` is ignored, one above the target bounded by it,
    and with `fixed` there is none. Raises InvalidRequest naming the field.
    """
    policy = word(fields, RATE_POLICIES, "rate_policy") or "fair"
    target = requested_rate_kbps(fields)
    least, cap = rate(fields, "min_rate_kbps"), rate(fields, "min_rate_cap_kbps")
    if least is None or policy == "fixed" or (cap is not None and least > cap):
        return RateWish(policy, target)
    return RateWish(policy, target, _lowest(least, target))


def policies_allowed(fields: Mapping[str, Any]) -> tuple[RatePolicy, ...]:
    """Return the policies the user may choose, mild ones first: up to `rate_policy_allowed`, none if locked.

    Neither binds the page. Raises InvalidRequest naming the field.
    """
    if _lock(fields, "lock_rate_policy", "lock_policy"):
        return ()
    most = word(fields, RATE_POLICIES, "rate_policy_allowed") or "fixed"
    return _MILD_TO_AGGRESSIVE[: _MILD_TO_AGGRESSIVE.index(most) + 1]


def check_user_rate(fields: Mapping[str, Any], rate_kbps: int | None) -> None:
    """Raise WrongState or InvalidRequest when the spec keeps the user from choosing this target rate."""
    if rate_locked(fields):
        raise WrongState("The site that started this transfer has fixed its rate.")
    cap = rate_cap_kbps(fields)
    if cap is not None and (rate_kbps is None or rate_kbps > cap):
        raise InvalidRequest(f"The site allows at most {cap / 1000:g} Mbit/s.", field="rate_kbps")


def check_user_policy(fields: Mapping[str, Any], policy: object) -> RatePolicy:
    """Return the policy, or raise WrongState or InvalidRequest when the user may not choose it."""
    allowed = policies_allowed(fields)
    if not allowed:
        raise WrongState("The site that started this transfer has fixed its policy.")
    for one in allowed:
        if one == policy:
            return one
    raise InvalidRequest(f"Choose one of: {', '.join(allowed)}.", field="rate_policy")


def share_limit(total_kbps: int | None, wishes: Mapping[str, RateWish]) -> dict[str, int | None]:
    """Divide a limit among transfers, by id; None: no limit.

    First the targets of fixed transfers, then the least rates of the others, each reduced in proportion when
    they are too much together; what is left goes to the others by weight, and what one may not use by its
    own target to the rest of them. Each gets at least 1 kbit/s, so that none hangs for ever; but for that
    the sum stays within the limit.
    """
    if total_kbps is None:
        return {one: wish.target_kbps for one, wish in wishes.items()}
    fixed = {one: wish.target_kbps for one, wish in wishes.items() if _holds(wish) and wish.target_kbps}
    shares = _reduced({one: float(target) for one, target in fixed.items()}, float(total_kbps))
    others = {one: wish for one, wish in wishes.items() if one not in fixed}
    left = total_kbps - sum(shares.values())
    least = _reduced({one: float(wish.min_kbps or 0) for one, wish in others.items()}, left)
    above = _by_weight(left - sum(least.values()), others, least)
    shares |= {one: least[one] + above[one] for one in others}
    # Sums of floats may fall a hair short of a whole number.
    return {one: max(1, int(shares[one] + 1e-6)) for one in wishes}


def _holds(wish: RateWish) -> bool:
    return wish.policy == "fixed" and wish.target_kbps is not None


def _reduced(wanted: Mapping[str, float], room: float) -> dict[str, float]:
    asked = sum(wanted.values())
    factor = min(1.0, max(0.0, room) / asked) if asked else 1.0
    return {one: rate_kbps * factor for one, rate_kbps in wanted.items()}


def _by_weight(room: float, wishes: Mapping[str, RateWish], have: Mapping[str, float]) -> dict[str, float]:
    """Divide `room` by weight on top of what each has; who needs least for its weight is served first."""
    needs = {
        one: math.inf if wish.target_kbps is None else max(0.0, wish.target_kbps - have[one])
        for one, wish in wishes.items()
    }
    open_weight = sum(WEIGHTS[wish.policy] for wish in wishes.values())
    given: dict[str, float] = {}
    for one in sorted(wishes, key=lambda name: needs[name] / WEIGHTS[wishes[name].policy]):
        weight = WEIGHTS[wishes[one].policy]
        given[one] = min(needs[one], max(0.0, room) * weight / open_weight)
        room -= given[one]
        open_weight -= weight
    return given
