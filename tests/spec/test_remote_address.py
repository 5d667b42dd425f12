"""Addresses of places on a server, as people type them."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.remote_address import RemoteAddress, is_remote, joined, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://ana@server.example/in", RemoteAddress("server.example", 22, "ana", "/in")),
        ("ssh://Server.Example:2222/a/b", RemoteAddress("server.example", 2222, None, "/a/b")),
        ("SSH://server.example", RemoteAddress("server.example", 22, None, "")),
        ("ssh://server.example/", RemoteAddress("server.example", 22, None, "/")),
        ("ssh://server.example/~", RemoteAddress("server.example", 22, None, "")),
        ("ssh://server.example/~/in", RemoteAddress("server.example", 22, None, "in")),
        ("ssh://server.example/~other/in", RemoteAddress("server.example", 22, None, "/~other/in")),
        ("ssh://ana@mail@server.example/x", RemoteAddress("server.example", 22, "ana@mail", "/x")),
        ("ssh://a%40b@server.example/x%20y%3F", RemoteAddress("server.example", 22, "a@b", "/x y?")),
        ("ssh://server.example/what?#1", RemoteAddress("server.example", 22, None, "/what?#1")),
        ("ssh://[2001:DB8::1]:2222/x", RemoteAddress("2001:db8::1", 2222, None, "/x")),
        ("ssh://[::1]/x", RemoteAddress("::1", 22, None, "/x")),
        ("ssh://server.example/%FF", RemoteAddress("server.example", 22, None, "/\udcff")),
    ],
)
def test_what_people_type_is_understood(text: str, expected: RemoteAddress) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("server.example/in", "ssh://"),
        ("sftp://server.example/in", "ssh://"),
        ("ssh:///in", "missing"),
        ("ssh://ana@/in", "missing"),
        ("ssh://@server.example/in", "user name"),
        ("ssh://a%0Ab@server.example/in", "user name"),
        ("ssh://server.example:0/in", "port"),
        ("ssh://server.example:65536/in", "port"),
        ("ssh://server.example:ssh/in", "port"),
        ("ssh://server.example:٣/in", "port"),
        ("ssh://server.example:/in", "port"),
        ("ssh://2001:db8::1/in", "brackets"),
        ("ssh://[2001:db8::1/in", "brackets"),
        ("ssh://-oProxyCommand/in", "host name"),
        ("ssh://server.example/a%00b", "NUL"),
    ],
)
def test_what_cannot_be_used_says_why(text: str, word: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_address(text)
    assert word in caught.value.user_message
    assert caught.value.field == "address"


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_address("ssh://ana:hunter2@server.example/in")
    assert "hunter2" not in str(caught.value)
    assert "password" in caught.value.user_message


@given(path=st.binary(max_size=60).filter(lambda path: b"\0" not in path and not path.startswith(b"~")))
def test_every_path_can_be_written(path: bytes) -> None:
    address = parse_address(f"ssh://server.example/{quote_from_bytes(path, safe='/')}")
    assert address.path.encode("utf-8", "surrogateescape") == b"/" + path


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("/in", "/in/x"), ("/in/", "/in/x"), ("/", "/x"), ("", "x"), ("/~/", "x"), ("/~/in", "in/x")],
)
def test_a_name_is_put_into_the_folder(folder: str, expected: str) -> None:
    assert joined(parse_address(f"ssh://server.example{folder}"), "x") == expected


def test_local_paths_are_no_addresses() -> None:
    assert is_remote("ssh://server.example/x")
    assert not is_remote("/tmp/a:b")
    assert not is_remote("C:\\films")
