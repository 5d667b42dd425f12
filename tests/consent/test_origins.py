"""Origins are compared whole; what a browser would not send is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.consent.origins import LocalProgram, WebOrigin
from connect_helper.errors import CallerNotIdentified

GOOD = [
    "https://portal.example",
    "https://portal.example:8443",
    "http://portal.example",
    "http://localhost:3000",
    "http://127.0.0.1:8000",
    "http://[::1]:8080",
    "https://[::ffff:a00:1]",
    "https://xn--bcher-kva.example",
    "https://my_host.example",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://0d4e2a68-5a57-4c39-9d2e-61c1b2f5a001",
]


@pytest.mark.parametrize("header", GOOD)
def test_an_origin_reads_and_writes_the_same(header: str) -> None:
    assert str(WebOrigin.parse(header)) == header


@pytest.mark.parametrize(
    "header",
    [
        "",
        "null",
        "*",
        "portal.example",
        "https://",
        "https://portal.example/",
        "https://portal.example/path",
        "https://portal.example?x",
        "https://portal.example#x",
        "https://user@portal.example",
        "https://user:pw@portal.example",
        "https://portal.example@evil.example",
        "HTTPS://portal.example",
        "https://Portal.example",
        "https://portal.example:443",
        "http://portal.example:80",
        "https://portal.example:0",
        "https://portal.example:08443",
        "https://portal.example:65536",
        "https://portal.example:",
        "https://portal.example.",
        "https://portal..example",
        "https://.example",
        "https://-portal.example",
        "https://bücher.example",
        "https://portal.example, https://b.example",
        "https://portal.example https://b.example",
        "https://portal.example\n",
        " https://portal.example",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://127.0.0.01",
        "http://1.2.3.256",
        "http://[::1",
        "http://::1",
        "http://[0:0:0:0:0:0:0:1]",
        "http://[::ffff:10.0.0.1]",
        "http://[fe80::1%25eth0]",
        "file:///etc/passwd",
        "file://",
        "data:text/html,x",
        "javascript://portal.example",
        "ftp://portal.example",
        "ws://portal.example",
        "chrome-extension://ab.cd",
        "chrome-extension://abc:443",
        "https://" + "a." * 150 + "example",
    ],
)
def test_what_no_browser_sends_is_no_origin(header: str) -> None:
    with pytest.raises(CallerNotIdentified):
        WebOrigin.parse(header)


@pytest.mark.parametrize(
    "other",
    [
        "http://portal.example",
        "https://portal.example:8443",
        "https://portal.example.evil.tld",
        "https://xportal.example",
        "https://portal.exampl",
        "https://www.portal.example",
        "https://portal-example",
    ],
)
def test_look_alikes_are_other_origins(other: str) -> None:
    assert WebOrigin.parse(other) != WebOrigin.parse("https://portal.example")


@given(st.text(max_size=60))
def test_any_text_is_an_origin_as_it_stands_or_none(text: str) -> None:
    for header in (text, f"https://{text}", f"http://{text}:80"):
        try:
            origin = WebOrigin.parse(header)
        except CallerNotIdentified:
            continue
        assert str(origin) == header


@pytest.mark.parametrize(
    ("header", "loopback", "secure", "remembered"),
    [
        ("https://portal.example", False, True, True),
        ("http://portal.example", False, False, False),
        ("http://localhost:3000", True, False, True),
        ("http://app.localhost", True, False, True),
        ("http://127.8.8.8:1", True, False, True),
        ("http://[::1]", True, False, True),
        ("http://localhost.evil.tld", False, False, False),
        ("http://127.0.0.1.evil.tld", False, False, False),
        ("http://notlocalhost", False, False, False),
        ("http://10.0.0.1", False, False, False),
        ("moz-extension://0d4e2a68", False, True, True),
    ],
)
def test_what_may_be_remembered(header: str, loopback: bool, secure: bool, remembered: bool) -> None:
    origin = WebOrigin.parse(header)
    assert (origin.is_loopback, origin.is_secure, origin.may_be_remembered) == (loopback, secure, remembered)


def test_a_local_program_is_named_and_can_be_no_web_origin() -> None:
    program = LocalProgram("curl", 4711)
    assert (str(program), program.shown) == ("local:curl", "curl (pid 4711)")
    with pytest.raises(CallerNotIdentified):
        WebOrigin.parse(str(program))
