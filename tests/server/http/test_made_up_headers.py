"""Headers and queries that no client sends: whatever they hold, the server makes no mistake over them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.escapes import THOROUGH, TIME_LIMIT_S
from tests.support.far_server import HASH
from tests.support.http_far_end import STREAM, FarEnd, begin

TRIED = 5000 if THOROUGH else 150
Answer = Callable[[str, str, dict[str, bytes]], int]

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 3, 2**31, 2**63 - 1, 2**63, 2**64, 9_999_999_999]).map(str),
    st.integers(1, 5000).map(lambda count: "1" * count),
    st.integers().map(str),
    st.floats().map(str),
).map(str.encode)
TEXTS = st.one_of(
    NUMBERS,
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.binary(max_size=20).map(base64.b64encode),
)


def _joined(*pieces: st.SearchStrategy[bytes] | bytes) -> st.SearchStrategy[bytes]:
    return st.tuples(*(st.just(each) if isinstance(each, bytes) else each for each in pieces)).map(b"".join)


METADATA = st.dictionaries(
    st.sampled_from(["path", "target", "filename", "mtime", "sha256", "x"]), TEXTS, max_size=4
).map(lambda values: b",".join(key.encode() + b" " + base64.b64encode(each) for key, each in values.items()))
VALUES = {
    "Want-Repr-Digest": st.one_of(TEXTS, _joined(b"sha-256=", NUMBERS)),
    "Range": st.one_of(TEXTS, _joined(b"bytes=", NUMBERS, b"-", NUMBERS), _joined(b"bytes=-", NUMBERS)),
    "If-Range": TEXTS,
    "If-Match": TEXTS,
    "If-None-Match": TEXTS,
    "Upload-Length": TEXTS,
    "Upload-Offset": TEXTS,
    "Upload-Defer-Length": TEXTS,
    "Upload-Metadata": st.one_of(TEXTS, METADATA),
    "Upload-Checksum": st.one_of(TEXTS, _joined(b"sha256 ", TEXTS)),
    "Upload-Concat": st.one_of(TEXTS, _joined(b"final;/fallback/v1/uploads/", TEXTS)),
    "Authorization": st.one_of(
        TEXTS, _joined(b"Basic ", TEXTS), _joined(b"Bearer ", TEXTS), _joined(b"Bearer CHT1_", TEXTS)
    ),
    "X-Request-ID": TEXTS,
    "Origin": TEXTS,
}
HEADERS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=4).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)
QUERIES = st.dictionaries(st.sampled_from(["path", "start", "length", "x"]), TEXTS, max_size=3).map(
    lambda values: "&".join(f"{key}={quote(each)}" for key, each in values.items())
)
ROUTES = [
    ("GET", "/fallback/v1/files/out/file", "receive"),
    ("HEAD", "/fallback/v1/files/out/file", "receive"),
    ("GET", "/fallback/v1/blocks/out/file", "receive"),
    ("GET", "/fallback/v1/manifest", "receive"),
    ("OPTIONS", "/fallback/v1/uploads", "send"),
    ("POST", "/fallback/v1/uploads", "send"),
    ("HEAD", "UPLOAD", "send"),
    ("PATCH", "UPLOAD", "send"),
    ("DELETE", "UPLOAD", "send"),
    ("POST", "/fallback/v1/folders", "send"),
]


@pytest.mark.timeout(TIME_LIMIT_S)
@pytest.mark.parametrize(("method", "route", "direction"), ROUTES)
async def test_no_header_or_query_is_a_mistake_of_the_server(
    server: FarEnd, method: str, route: str, direction: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.account(password_hash=SecretStr(HASH))
    (server.docroot / "out").mkdir()
    (server.docroot / "out/file").write_bytes(b"content")
    token = server.token(direction, "out" if direction == "receive" else "in")
    async with server.client(token) as client:
        route = await begin(client, "x", 1000) if route == "UPLOAD" else route
    address = urlsplit(server.url)
    assert address.hostname is not None
    with_token = {"Authorization": f"Bearer {token}".encode()}
    usual = {name: value.encode() for name, value in STREAM.items()} | with_token
    connection = HTTPConnection(address.hostname, address.port, timeout=60)

    def answer(headers: dict[str, bytes], query: str) -> int:
        sent = {name: value for name, value in headers.items() if b"\n" not in value and b"\r" not in value}
        try:
            connection.request(method, f"{route}?{query}", None, usual | sent)
            response = connection.getresponse()
            response.read()
        except OSError:  # hung up on, as after a request that is none
            connection.close()
            return 0
        return response.status

    try:
        await asyncio.to_thread(_try, answer)
    finally:
        connection.close()
    assert "incident" not in caplog.text


def _try(answer: Callable[[dict[str, bytes], str], int]) -> None:
    @settings(
        max_examples=TRIED,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not THOROUGH,
    )
    @given(headers=HEADERS, query=QUERIES)
    @example(headers={"Want-Repr-Digest": b"sha-256=" + b"1" * 5000}, query="")
    @example(headers={"Range": b"bytes=0-" + b"9" * 5000}, query="")
    @example(headers={"Authorization": "Basic \u00e9".encode()}, query="")
    @example(
        headers={"Upload-Length": b"0", "Upload-Metadata": b"path eA==,mtime OTk5OTk5OTk5OQ=="}, query=""
    )
    @example(headers={}, query="start=" + "1" * 5000 + "&length=" + "1" * 5000)
    def check(headers: dict[str, bytes], query: str) -> None:
        assert answer(headers, query) != 500

    check()
