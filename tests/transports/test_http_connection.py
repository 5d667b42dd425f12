"""Addresses that a server gives for its uploads."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from connect_helper.errors import TargetError
from connect_helper.transports.http_connection import HttpConnection, HttpEndpoint

HERE = HttpEndpoint("server.example", 8443, ("127.0.0.1",), SecretStr("token"))


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/fallback/v1/uploads/1", "/fallback/v1/uploads/1"),
        ("https://server.example:8443/u/%20?a=b", "/u/%20?a=b"),
        ("u", "/u"),
    ],
)
def test_an_address_of_the_server_itself_is_taken(location: str, path: str) -> None:
    assert HttpConnection(HERE, "/").own_path(location) == path


@pytest.mark.parametrize(
    "location",
    [
        "",
        "https://other.example:8443/u",
        "http://server.example:8443/u",
        "//other.example/u",
        "https://[::1/u",
        "/u 1",  # would be two where parts are joined
        "/u\x05",
        "/u\x85",
        "/\N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
)
def test_any_other_address_is_refused(location: str) -> None:
    with pytest.raises(TargetError):
        HttpConnection(HERE, "/").own_path(location)
