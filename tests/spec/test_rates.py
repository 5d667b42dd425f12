"""Rates at the start and changed later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.rates import (
    WEIGHTS,
    RateWish,
    effective_rate_kbps,
    parse_rates,
    policies_allowed,
    rate_locked,
    rate_wish,
    requested_rate_kbps,
    share_limit,
)
from connect_helper.spec.transfer_spec import parse_spec
from connect_helper.spec.words import RatePolicy

MakeRaw = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, None),
        ({"target_rate_kbps": 5_000}, 5_000),
        ({"target_rate_kbps": "5000", "target_rate_cap_kbps": 3_000}, 3_000),
        ({"target_rate_kbps": 5_000, "target_rate_cap_kbps": 9_000}, 5_000),
        ({"target_rate_cap_kbps": 9_000}, 9_000),
        ({"target_rate_kbps": 0, "target_rate_cap_kbps": 0}, None),
    ],
)
def test_the_cap_bounds_the_target(make_raw: MakeRaw, fields: dict[str, Any], limit: int | None) -> None:
    assert effective_rate_kbps(parse_spec(make_raw(**fields))) == limit
    assert requested_rate_kbps(fields) == limit


def test_a_change_answers_the_fields_it_changed() -> None:
    body = {
        "aspera_connect_settings": {"app_id": "a"},
        "rate_policy": "high",
        "target_rate_kbps": "50000",
        "lock_min_rate": "no",
        "lock_target_rate_kbps": True,
        "min_rate_kbps": None,
    }
    assert parse_rates(body).as_connect_fields() == {
        "rate_policy": "high",
        "target_rate_kbps": 50_000,
        "lock_min_rate": False,
        "lock_target_rate": True,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate_policy", "x"), ("target_rate_kbps", -1), ("min_rate_kbps", "x"), ("lock_rate_policy", "x")],
)
def test_a_wrong_change_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_rates({field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "locked"),
    [
        ({}, False),
        ({"lock_target_rate": "yes"}, True),
        ({"lock_target_rate_kbps": False, "lock_target_rate": True}, False),
        ({"lock_min_rate": True}, False),
    ],
)
def test_a_page_can_lock_the_rate_for_the_user(fields: dict[str, Any], locked: bool) -> None:
    assert rate_locked(fields) is locked


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, RateWish()),
        ({"rate_policy": "high", "target_rate_kbps": "900"}, RateWish("high", 900)),
        ({"target_rate_kbps": 900, "target_rate_cap_kbps": 500}, RateWish("fair", 500)),
        ({"min_rate_kbps": 100}, RateWish("fair", None, 100)),
        ({"min_rate_kbps": 100, "target_rate_kbps": 900}, RateWish("fair", 900, 100)),
        ({"min_rate_kbps": 1_000, "target_rate_kbps": 900}, RateWish("fair", 900, 900)),
        ({"min_rate_kbps": 100, "min_rate_cap_kbps": 50}, RateWish("fair", None, None)),
        ({"min_rate_kbps": 100, "min_rate_cap_kbps": 100}, RateWish("fair", None, 100)),
        ({"min_rate_kbps": 100, "rate_policy": "fixed"}, RateWish("fixed", None, None)),
        ({"min_rate_kbps": 0}, RateWish()),
    ],
)
def test_caps_come_after_what_is_requested(fields: dict[str, Any], wish: RateWish) -> None:
    assert rate_wish(fields) == wish


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, ("low", "fair", "high", "fixed")),
        ({"rate_policy_allowed": "low"}, ("low",)),
        ({"rate_policy_allowed": "fair"}, ("low", "fair")),
        ({"rate_policy_allowed": "high"}, ("low", "fair", "high")),
        ({"lock_rate_policy": "yes", "rate_policy_allowed": "high"}, ()),
        ({"lock_policy": True}, ()),
        ({"lock_rate_policy": False, "lock_policy": True}, ("low", "fair", "high", "fixed")),
    ],
)
def test_the_user_may_choose_up_to_the_allowed_policy(
    fields: dict[str, Any], allowed: tuple[RatePolicy, ...]
) -> None:
    assert policies_allowed(fields) == allowed


@pytest.mark.parametrize(
    ("field", "value"), [("min_rate_kbps", -1), ("min_rate_cap_kbps", 10**12), ("rate_policy_allowed", "x")]
)
def test_absurd_rates_are_named(make_raw: MakeRaw, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_spec(make_raw(**{field: value}))
    assert caught.value.field == field


FAIR, HIGH, LOW = RateWish("fair"), RateWish("high"), RateWish("low")


@pytest.mark.parametrize(
    ("total", "wishes", "shares"),
    [
        (None, [FAIR, RateWish("fixed", 500)], [None, 500]),
        (1_000, [], []),
        (1_000, [FAIR], [1_000]),
        (1_000, [FAIR, FAIR], [500, 500]),
        # by weight
        (900, [HIGH, FAIR], [600, 300]),
        (1_000, [FAIR, LOW], [800, 200]),
        (900, [HIGH, LOW], [800, 100]),
        (1_000, [LOW], [1_000]),
        # what one may not use goes to the others, in the same proportion
        (1_000, [RateWish("fair", 100), FAIR, FAIR], [100, 450, 450]),
        (1_000, [RateWish("high", 100), HIGH, FAIR], [100, 600, 300]),
        (1_000, [RateWish("fair", 300), LOW], [300, 700]),
        (1_000, [RateWish("fair", 100), RateWish("high", 200)], [100, 200]),
        # fixed first, at its target; without one it is as high
        (1_000, [RateWish("fixed", 600), FAIR, HIGH], [600, 133, 266]),
        (1_000, [RateWish("fixed", 600), RateWish("fixed", 1_400)], [300, 700]),
        (1_000, [RateWish("fixed", 5_000), FAIR], [1_000, 1]),
        (900, [RateWish("fixed"), FAIR], [600, 300]),
        # only what is above the least rates is shared
        (1_000, [RateWish("fair", None, 600), FAIR], [800, 200]),
        (1_000, [RateWish("low", None, 500), HIGH], [555, 444]),
        (1_000, [RateWish("fair", 600, 600), FAIR], [600, 400]),
        (1_000, [RateWish("fair", None, 3_000), RateWish("fair", None, 1_000)], [750, 250]),
        (1_000, [RateWish("fixed", 900), RateWish("fair", None, 400)], [900, 100]),
        # nobody hangs for ever
        (1, [FAIR, FAIR, LOW], [1, 1, 1]),
    ],
)
def test_a_limit_is_divided_by_policy(
    total: int | None, wishes: list[RateWish], shares: list[int | None]
) -> None:
    named = {str(place): wish for place, wish in enumerate(wishes)}
    assert list(share_limit(total, named).values()) == shares


RATES = st.integers(1, 10**9)
WISHES = st.builds(
    RateWish, st.sampled_from(["fixed", "high", "fair", "low"]), st.none() | RATES, st.none() | RATES
).map(lambda w: w if w.target_kbps is None else RateWish(w.policy, w.target_kbps, None))


@given(RATES, st.lists(WISHES, min_size=1, max_size=8))
def test_the_limit_holds_and_nothing_is_wasted(total: int, wishes: list[RateWish]) -> None:
    named = {str(place): wish for place, wish in enumerate(wishes)}
    shares = share_limit(total, named)
    given_out = [share for share in shares.values() if share is not None]
    assert len(given_out) == len(wishes)
    assert min(given_out) >= 1
    assert sum(given_out) <= total + len(wishes)
    for one, wish in named.items():
        share = shares[one]
        assert share is not None
        assert wish.target_kbps is None or share <= wish.target_kbps
    if any(wish.target_kbps is None for wish in wishes):
        assert sum(given_out) >= total - len(wishes)


@given(RATES.filter(lambda total: total > 1_000), st.sampled_from(["high", "fair", "low"]))
def test_the_weights_are_what_the_table_says(total: int, policy: RatePolicy) -> None:
    shares = share_limit(total, {"one": RateWish(policy), "fair": FAIR})
    one, fair = shares["one"], shares["fair"]
    assert one is not None
    assert fair is not None
    assert one / fair == pytest.approx(WEIGHTS[policy], rel=0.02)
