"""What a transfer spec says about going over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connect_helper.spec.fallback import FallbackWish
from connect_helper.spec.transfer_spec import parse_spec


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, None),
        ({"http_fallback": False}, None),
        ({"http_fallback": "0"}, None),
        ({"http_fallback_port": 8443}, None),
        ({"http_fallback": True}, FallbackWish(443, tls=True)),
        ({"http_fallback": "1"}, FallbackWish(443, tls=True)),
        ({"http_fallback": 1, "cipher": "aes-256"}, FallbackWish(443, tls=True)),
        ({"http_fallback": True, "cipher": "None"}, FallbackWish(80, tls=False)),
        ({"http_fallback": "Force"}, FallbackWish(443, tls=True, forced=True)),
        ({"http_fallback": True, "http_fallback_port": "8443"}, FallbackWish(8443, tls=True)),
        (
            {"http_fallback": True, "http_fallback_port": 8080, "https_fallback_port": 8443},
            FallbackWish(8443, tls=True),
        ),
        (
            {
                "http_fallback": True,
                "http_fallback_port": 8080,
                "https_fallback_port": 8443,
                "cipher": "none",
            },
            FallbackWish(8080, tls=False),
        ),
    ],
    ids=str,
)
def test_where_http_leads(
    make_raw: Callable[..., dict[str, Any]], fields: dict[str, Any], wish: FallbackWish | None
) -> None:
    assert parse_spec(make_raw(token="a-token", authentication="token", **fields)).fallback == wish


def test_without_a_token_there_is_only_ssh(make_raw: Callable[..., dict[str, Any]]) -> None:
    assert parse_spec(make_raw(http_fallback=True, remote_password="p")).fallback is None
