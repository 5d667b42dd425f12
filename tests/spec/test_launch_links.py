"""Links from the desktop: what they mean, and that they mean nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.launch_links import DownloadLink, StartLink, parse_link
from connect_helper.spec.transfer_spec import parse_spec

STARTS = [
    "fasp://initialize",
    "fasp://initialize/",
    "FASP://Initialize",
    "fasp://initialize?checkextensions",
    "fasp://initialize/?key=0123456789abcdef0123456789abcdef&id=5f0c1c52-7f0f-4a0d-9a3a-5d2f5f4b6a01",
    "fasp://",
    "faspe://initialize",
    "aspera:",
    "aspera://",
    "aspera:///",
    "aspera://initialize?app_id=a",
    "aspera://initialize?app_id=a&session_id=%00",
    f"aspera://initialize?app_id={'a' * 2000}&session_id=b",
    "fasp://initialize?app_id=a&session_id=b",
    "aspera-drive://initialize",
    "com.aspera.drive://initialize",
]


def test_a_page_of_the_newer_sdk_names_its_session() -> None:
    link = "aspera://initialize?app_id=QTdm+y%3D=&session_id=5f0c1c52-7f0f-4a0d-9a3a-5d2f5f4b6a01"
    assert parse_link(link) == StartLink("QTdm+y==", "5f0c1c52-7f0f-4a0d-9a3a-5d2f5f4b6a01")


def download(link: str) -> DownloadLink:
    found = parse_link(link)
    assert isinstance(found, DownloadLink)
    parse_spec(found.spec)  # whatever is let through is a transfer spec
    return found


@pytest.mark.parametrize("link", STARTS)
def test_what_pages_open_to_start_the_helper_says_nothing_more(link: str) -> None:
    assert parse_link(link) == StartLink()


@pytest.mark.parametrize(
    ("link", "fields"),
    [
        (
            "fasp://files.example/out/report.pdf",
            {"remote_host": "files.example", "ssh_port": 22, "paths": [{"source": "/out/report.pdf"}]},
        ),
        ("faspe://ana@Files.Example:33001/x", {"remote_user": "ana", "ssh_port": 33001}),
        ("fasp://a%40b:p%3Aw:@files.example/x", {"remote_user": "a@b", "remote_password": "p:w:"}),
        (
            "fasp://[2001:DB8::1]:2222/a%20b/%C3%86%FF",
            {"remote_host": "2001:db8::1", "paths": [{"source": "/a b/Æ\udcff"}]},
        ),
        ("fasp://files.example/a%3Fb%23c#part", {"paths": [{"source": "/a?b#c"}]}),
    ],
)
def test_a_link_names_server_login_and_path(link: str, fields: dict[str, Any]) -> None:
    found = download(link)
    assert found.spec.items() >= {"direction": "receive", **fields}.items()
    assert found.ask_login


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("targetrate=45000&minrate=100&bwcap=90000", {
            "target_rate_kbps": 45000, "min_rate_kbps": 100, "target_rate_cap_kbps": 90000}),
        ("policy=fair&lockpolicy=yes&lockminrate=no", {
            "rate_policy": "fair", "lock_rate_policy": True, "lock_min_rate": False}),
        ("enc=aes128", {"cipher": "aes-128"}),
        ("enc=aes128gcm", {"cipher": "aes-128-gcm"}),
        ("enc=AES-256-CFB", {"cipher": "aes-256-cfb"}),
        ("enc=none", {"cipher": "none"}),
        ("createpath=yes&fallback=yes&httpport=8080&port=33002", {
            "create_dir": True, "http_fallback": True, "http_fallback_port": 8080, "fasp_port": 33002}),
        ("token=ATM2_a+b%2Fc==", {"token": "ATM2_a+b/c=="}),
        ("cookie=who+asks%26what", {"cookie": "who asks&what"}),
        ("sshfp=SHA256%3AabcDEF+/", {"sshfp": "SHA256:abcDEF+/"}),
        ("tags64=" + base64.b64encode(b'{"aspera":{"faspex":{"x":"?>?"}}}').decode(), {
            "tags": {"aspera": {"faspex": {"x": "?>?"}}}}),
        ("v=2&protect=off&&targetrate=", {}),
    ],
)  # fmt: skip
def test_every_key_of_the_query_becomes_its_field(query: str, fields: dict[str, Any]) -> None:
    bare = download("fasp://ana@files.example/x").spec
    assert download(f"fasp://ana@files.example/x?{query}").spec == {**bare, **fields}


def test_a_link_may_forbid_to_ask_for_a_login() -> None:
    assert not download("fasp://files.example/x?auth=no&token=abc").ask_login
    assert not download("fasp://ana:pw@files.example/x?auth=no").ask_login
    assert "auth" not in download("fasp://files.example/x?auth=yes").spec


@pytest.mark.parametrize(
    ("link", "field", "word"),
    [
        ("https://files.example/x", "link", "fasp:"),
        ("files.example/x", "link", "fasp:"),
        ("-x", "link", "fasp:"),
        ("", "link", "fasp:"),
        ("aspera://files.example/x", "link", "nothing else"),
        ("aspera-drive://initialize/run", "link", "nothing else"),
        ("fasp:files.example/x", "link", "slashes"),
        ("fasp://files.example", "link", "no file"),
        ("fasp://files.example/./", "link", "no file"),
        ("fasp://files.example/a/../b", "link", "climbs"),
        ("fasp://files.example/a/%2e%2e/b", "link", "climbs"),
        ("fasp://files.example/a%00b", "link", "no file"),
        ("fasp:///x", "address", "missing"),
        ("fasp://files.example:0/x", "address", "port"),
        ("fasp://@files.example/x", "address", "user name"),
        ("fasp://:secret@files.example/x", "address", "user name"),
        ("fasp://ana:@files.example/x", "link", "password"),
        ("fasp://-oProxyCommand/x", "link", "host name"),
        ("fasp://files.example/a b", "link", "percent-encoded"),
        ("fasp://files.example/a\nb", "link", "percent-encoded"),
        ("fasp://files.example/æ", "link", "percent-encoded"),
        ("fasp://files.example/" + "x" * 200_000, "link", "too long"),
        ("fasp://files.example/x?<b>=1", "<b>", "no key"),
        ("fasp://files.example/x?RUN=1", "RUN", "no key"),
        (f"fasp://files.example/x?{'r' * 21}=1", "r" * 20, "no key"),
        ("fasp://files.example/x?=1", "", "no key"),
        ("fasp://files.example/x?run=1&run=1", "run", "twice"),
        ("fasp://files.example/x?token=a&token=b", "token", "twice"),
        ("fasp://files.example/x?targetrate=fast", "targetrate", "number"),
        ("fasp://files.example/x?port=0", "port", "number"),
        ("fasp://files.example/x?httpport=70000", "httpport", "number"),
        ("fasp://files.example/x?fallback=force", "fallback", "true or false"),
        ("fasp://files.example/x?lockpolicy=maybe", "lockpolicy", "true or false"),
        ("fasp://files.example/x?tags64=e30", "tags64", "base64"),
        ("fasp://files.example/x?tags64=W10=", "tags64", "base64"),
        ("fasp://files.example/x?auth=no", "auth", "auth=no"),
        ("fasp://ana@files.example/x?auth=no", "auth", "auth=no"),
    ],
)
def test_anything_else_is_refused_by_name(link: str, field: str, word: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_link(link)
    assert caught.value.field == field
    assert word in caught.value.user_message


def test_keys_that_are_not_known_change_nothing_and_are_told_without_their_values() -> None:
    plain = download("fasp://files.example/x?targetrate=5")
    more = download("fasp://files.example/x?run=canary&targetrate=5&new_key2&direction=send")
    assert more.spec == plain.spec
    assert (plain.ignored, more.ignored) == ((), ("run", "new_key2", "direction"))
    assert "canary" not in repr(more)


@pytest.mark.parametrize("query", ["policy=quick", "enc=rot13", "sshfp=%3Cb%3E"])
def test_values_that_no_spec_may_hold_are_refused_there(query: str) -> None:
    found = parse_link(f"fasp://files.example/x?{query}")
    assert isinstance(found, DownloadLink)
    with pytest.raises(InvalidRequest):
        parse_spec(found.spec)


def test_secrets_of_a_link_are_in_no_text_made_of_it() -> None:
    link = "fasp://ana:canary1@files.example/x?token=canary2"
    assert "canary" not in repr(parse_link(link))
    for broken in (f"{link}&RUN=canary3", f"{link}&targetrate=canary4", link.replace("/x", ":canary5/x")):
        with pytest.raises(InvalidRequest) as caught:
            parse_link(broken)
        assert "canary" not in caught.value.user_message + caught.value.internal_message


NAMES = st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
SECRETS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40)


@given(
    names=st.lists(NAMES, min_size=1, max_size=4),
    user=st.text(st.characters(categories=["L", "N"], codec="utf-8"), min_size=1, max_size=20),
    password=SECRETS,
    token=SECRETS,
    cookie=SECRETS,
    tags=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    rate=st.integers(0, 10**9),
)
def test_what_is_put_into_a_link_comes_out_again(
    names: list[str],
    user: str,
    password: str,
    token: str,
    cookie: str,
    tags: dict[str, str],
    rate: int,
) -> None:
    path = "/" + "/".join(names)
    tags64 = base64.b64encode(json.dumps(tags).encode()).decode()
    found = download(
        f"fasp://{quote(user, safe='')}:{quote(password, safe='')}@files.example{quote(path)}"
        f"?targetrate={rate}&cookie={quote(cookie, safe='')}&token={quote(token, safe='')}&tags64={tags64}"
    )
    assert found.spec == {
        "direction": "receive",
        "remote_host": "files.example",
        "ssh_port": 22,
        "remote_user": user,
        "remote_password": password,
        "paths": [{"source": path}],
        "target_rate_kbps": rate,
        "cookie": cookie,
        "token": token,
        "tags": tags,
    }


@given(st.one_of(st.text(max_size=80), st.text("fasp:/@?&=%2ex.[]#\\", max_size=40).map("fasp://".__add__)))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        found = parse_link(text)
    except InvalidRequest:
        return
    if isinstance(found, DownloadLink):
        assert found.spec["direction"] == "receive"
        assert set(found.spec) <= {
            "direction",
            "remote_host",
            "ssh_port",
            "paths",
            "remote_user",
            "remote_password",
        }
