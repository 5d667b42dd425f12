"""What goes back to the page: everything but secrets."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connect_helper.spec.echo import echo
from connect_helper.spec.transfer_spec import parse_spec

MakeRaw = Callable[..., dict[str, Any]]
CANARY = "canary-7f3a"
SECRET_FIELDS = [
    "remote_password",
    "password",
    "token",
    "ssh_private_key",
    "ssh_private_key_passphrase",
    "content_protection_password",
    "content_protection_passphrase",
    "authorization_key",
    "my_secret",
    "X-Api-Key",
    "accessToken",
    "Passwort",
    "userCredentials",
]


@pytest.mark.parametrize("field", SECRET_FIELDS)
def test_a_secret_does_not_come_back_under_any_name(make_raw: MakeRaw, field: str) -> None:
    encoded = base64.b64encode(json.dumps({"note": CANARY}).encode()).decode()
    raw = make_raw(
        **{field: CANARY},
        own={"deep": [CANARY, {"x": f"Bearer {CANARY}"}], CANARY: 1},
        tags={"aspera": {"xfer_id": "abc", "token": "other"}, "mine": CANARY},
        tags64=encoded,
        cookie=f"c={CANARY}",
        title=CANARY,
        fasp_url=f"faspe://h?auth={CANARY}",
        paths=[{"source": "/a", "note": CANARY}],
    )
    raw[CANARY] = "under its own name"
    answer = echo(parse_spec(raw))
    assert CANARY not in json.dumps(answer)
    assert encoded not in json.dumps(answer)
    assert answer["tags"] == {"aspera": {"xfer_id": "abc"}}
    assert answer["paths"] == [{"source": "/a"}]


def test_logins_in_proxies_do_not_come_back(make_raw: MakeRaw) -> None:
    answer = echo(
        parse_spec(
            make_raw(
                proxy="dnat://user:hunter22@proxy.example:9091",
                fasp_proxy={"url": "dnat://proxy.example", "password": "hunter23"},
                seen="hunter22 and more",
            )
        )
    )
    assert answer["proxy"] == "dnat://proxy.example:9091"
    assert answer["fasp_proxy"] == {"url": "dnat://proxy.example"}
    assert "seen" not in answer


def test_what_page_libraries_read_comes_back_as_it_came(make_raw: MakeRaw) -> None:
    raw = make_raw(
        remote_host="B.Example",
        remote_user="ann",
        ssh_port="33001",
        authentication="password",
        resume="sparse_checksum",
        lock_target_rate=True,
        dgram_size=1492,
        wss_enabled=False,
        tags={"aspera": {"node": {"access_key": "diana", "file_id": "7"}}},
        https_fallback_port="443",
        own={"a": [1, None, "x"]},
        cookie="c",
    )
    assert echo(parse_spec(raw)) == raw


def test_a_password_that_equals_a_plain_value_takes_nothing_away(make_raw: MakeRaw) -> None:
    raw = make_raw(remote_user="data", remote_password="data", paths=[{"source": "/data/data"}])
    answer = echo(parse_spec(raw))
    assert answer["remote_user"] == "data"
    assert answer["paths"] == [{"source": "/data/data"}]
    assert "remote_password" not in answer


def test_a_page_cannot_make_the_search_slow(make_raw: MakeRaw) -> None:
    many = [{"token": f"canary-{number}"} for number in range(20_000)]
    raw = make_raw(remote_user="ann", own=many, other=["x" * 50] * 20_000, paths=[{"source": "/a", "x": 1}])
    raw["auth" * 100_000] = 1
    assert echo(parse_spec(raw)) == make_raw(remote_user="ann", paths=[{"source": "/a"}])


def test_the_echo_is_a_copy(make_raw: MakeRaw) -> None:
    raw = make_raw(tags={"aspera": {}})
    echo(parse_spec(raw))["tags"]["aspera"]["xfer_id"] = "new"
    assert raw["tags"] == {"aspera": {}}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(SECRET_FIELDS),
    st.text(st.characters(exclude_categories=["C"]), min_size=8, max_size=30).filter(
        lambda text: text.strip() == text
    ),
    st.lists(st.text("abcxyz_", min_size=1, max_size=8), min_size=1, max_size=4),
)
def test_wherever_a_secret_is_repeated_it_is_left_out(field: str, secret: str, way: list[str]) -> None:
    below: Any = f"<{secret}>"
    for name in way:
        below = {name: [below]}
    raw = {
        "direction": "send",
        "remote_host": "b.example",
        "paths": [{"source": "/"}],
        "own": below,
        field: secret,
    }
    assert secret not in json.dumps(echo(parse_spec(raw)), ensure_ascii=False)


def test_a_secret_that_is_a_name_of_the_spec_does_not_take_the_tags_away(make_raw: MakeRaw) -> None:
    tags = {"aspera": {"xfer_id": "x-1", "own": "aspera"}}
    spec = parse_spec(make_raw(remote_password="aspera", tags=tags))
    assert echo(spec)["tags"] == {"aspera": {"xfer_id": "x-1"}}
