"""Rates at the start and changed later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.spec.rates import effective_rate_kbps, parse_rates, rate_locked, requested_rate_kbps
from connect_helper.spec.transfer_spec import parse_spec

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
