"""Names made up to lead out of the docroot, over HTTP: `NAMES_TRIED` of them, 100,000 by `make fuzz`."""

from __future__ import annotations

import asyncio
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.escapes import NAMES_TRIED, THOROUGH, TIME_LIMIT_S
from tests.support.http_far_end import STREAM, FarEnd, metadata

PIECES = st.sampled_from(
    [
        b"..",
        b".",
        b"",
        b"in",
        b"out",
        b"link",
        b"loop",
        b"up",
        b"secret",
        b"canary",
        b"a",
        b"\\",
        b"..\\",
        b"%2e%2e",
    ]
)
NAMES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=8).map(b"/".join),
    st.binary(min_size=1, max_size=40),
    st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


def plant(server: FarEnd, outside: Path) -> None:
    """Put what must not be reached beside the docroot, and ways to it inside."""
    outside.mkdir()
    (outside / "canary").write_bytes(b"canary")
    (server.docroot / "secret").write_bytes(b"canary")
    for folder in ("in", "out"):
        (server.docroot / folder).mkdir()
        (server.docroot / folder / "link").symlink_to(outside)
        (server.docroot / folder / "up").symlink_to("..")
        (server.docroot / folder / "loop").symlink_to("loop")
        (server.docroot / folder / "canary").symlink_to(outside / "canary")


@pytest.mark.timeout(TIME_LIMIT_S)
async def test_no_name_leads_out(server: FarEnd, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    plant(server, outside)
    before = {path: path.lstat() for path in (outside / "canary", server.docroot / "secret")}
    until = int(time.time()) + TIME_LIMIT_S  # 100,000 names may take more than the usual hour
    receive = server.token("receive", "out", expires_at=until)
    send = server.token("send", "in", expires_at=until)

    address = urlsplit(server.url)
    assert address.hostname is not None
    client = HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        await asyncio.to_thread(_try, client, receive, send)
    finally:
        client.close()
    assert list(outside.iterdir()) == [outside / "canary"]
    for path, facts in before.items():
        assert path.lstat() == facts
    assert {path.name for path in server.docroot.iterdir()} == {"in", "out", "secret"}


def _try(client: HTTPConnection, receive: str, send: str) -> None:
    def answer(method: str, address: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        # As it is: a client that means harm does not tidy its addresses up.
        client.request(method, address, body, headers)
        response = client.getresponse()
        return response.status, response.read()

    @settings(
        max_examples=NAMES_TRIED,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not THOROUGH,
    )
    @given(name=NAMES)
    def check(name: bytes) -> None:
        asked = f"out/{quote(name, safe='/')}"
        for address in (f"/fallback/v1/files/{asked}", f"/fallback/v1/blocks/{asked}?start=0&length=1"):
            status, content = answer("GET", address, None, {"Authorization": f"Bearer {receive}"})
            assert b"canary" not in content
            assert status in (400, 403, 404, 409), status
        headers = {
            **STREAM,
            "Authorization": f"Bearer {send}",
            "Upload-Length": "1",
            "Upload-Metadata": metadata(path=name),
        }
        status, content = answer("POST", "/fallback/v1/uploads", b"x", headers)
        assert status in (201, 400, 403, 404, 409), content

    check()
