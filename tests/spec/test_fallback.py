"""What a transfer spec says about going over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connect_helper.errors import InvalidRequest
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
        ({"http_fallback": "true"}, FallbackWish(443, tls=True)),
        ({"http_fallback": 0}, None),
        ({"http_fallback": "false"}, None),
        ({"http_fallback": None}, None),
        ({"http_fallback": 1, "cipher": "aes-256"}, FallbackWish(443, tls=True)),
        ({"http_fallback": True, "cipher": "aes-128"}, FallbackWish(443, tls=True)),
        ({"http_fallback": True, "cipher": "AES-192-GCM"}, FallbackWish(443, tls=True)),
        ({"http_fallback": True, "cipher": ""}, FallbackWish(443, tls=True)),
        ({"http_fallback": "force", "cipher": "none"}, FallbackWish(80, tls=False, forced=True)),
        (
            {"http_fallback": "force", "http_fallback_port": 8080, "cipher": "none"},
            FallbackWish(8080, tls=False, forced=True),
        ),
        ({"http_fallback": "force", "https_fallback_port": 9443}, FallbackWish(9443, tls=True, forced=True)),
        # The port of HTTPS says nothing about HTTP.
        ({"http_fallback": True, "https_fallback_port": 8443, "cipher": "none"}, FallbackWish(80, tls=False)),
        ({"http_fallback": True, "https_fallback_port": None}, FallbackWish(443, tls=True)),
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


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"http_fallback": "perhaps"}, "http_fallback"),
        ({"http_fallback": [True]}, "http_fallback"),
        ({"http_fallback_port": -1}, "http_fallback_port"),
        ({"http_fallback_port": 65_536}, "http_fallback_port"),
        ({"https_fallback_port": "8443x"}, "https_fallback_port"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(
    make_raw: Callable[..., dict[str, Any]], fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_spec(make_raw(token="a-token", authentication="token", **{"http_fallback": True, **fields}))
    assert refused.value.field == named


def test_without_a_token_http_alone_is_refused(make_raw: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_spec(make_raw(http_fallback="force", remote_password="p"))
    assert refused.value.field == "http_fallback"


@pytest.mark.parametrize(("cipher", "port"), [("aes-128", 443), ("none", 80)])
def test_port_0_is_the_default(make_raw: Callable[..., dict[str, Any]], cipher: str, port: int) -> None:
    ports = {"http_fallback_port": 0, "https_fallback_port": "0"}
    wish = parse_spec(make_raw(http_fallback=True, token="t", cipher=cipher, **ports)).fallback
    assert wish is not None
    assert wish.port == port
