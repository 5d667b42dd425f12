"""Rates as people type them."""

from __future__ import annotations

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.spec.rate_words import parse_rate


@pytest.mark.parametrize(
    ("text", "kbps"),
    [
        ("200M", 200_000),
        ("200m", 200_000),
        ("800k", 800),
        ("800", 800),
        (" 1.5G ", 1_500_000),
        ("1.5Gbit/s", 1_500_000),
        ("64 kbps", 64),
        ("8", 8),
        ("1000G", 1_000_000_000),
    ],
)
def test_rates_are_understood(text: str, kbps: int) -> None:
    assert parse_rate(text) == kbps


@pytest.mark.parametrize("text", ["", "fast", "-5M", "0", "7", "1001G", "1e9", "5MB", "1,5M", "٣M", "9" * 40])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_rate(text)
    assert caught.value.field == "rate"
