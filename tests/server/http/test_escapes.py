"""Names made up to lead out of the docroot, over HTTP; ESCAPE_NAMES in the environment sets how many."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import quote

import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http_far_end import STREAM, FarEnd, metadata

TRIES = int(os.environ.get("ESCAPE_NAMES", "60"))
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


async def test_no_name_leads_out(server: FarEnd, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    plant(server, outside)
    before = {path: path.lstat() for path in (outside / "canary", server.docroot / "secret")}
    receive, send = server.token("receive", "out"), server.token("send", "in")

    def run() -> None:
        with requests.Session() as session:
            _try(session, server.url, receive, send)

    await asyncio.to_thread(run)
    assert list(outside.iterdir()) == [outside / "canary"]
    for path, facts in before.items():
        assert path.lstat() == facts
    assert {path.name for path in server.docroot.iterdir()} == {"in", "out", "secret"}


def _try(session: requests.Session, url: str, receive: str, send: str) -> None:
    @settings(
        max_examples=TRIES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(name=NAMES)
    def check(name: bytes) -> None:
        asked = f"{url}/fallback/v1/files/out/{quote(name, safe='/')}"
        prepared = session.prepare_request(
            requests.Request("GET", url, headers={"Authorization": f"Bearer {receive}"})
        )
        prepared.url = asked  # as it is: a client that means harm does not tidy its addresses up
        answer = session.send(prepared, timeout=10)
        assert b"canary" not in answer.content
        assert answer.status_code in (400, 403, 404, 409), answer.status_code
        headers = {
            **STREAM,
            "Authorization": f"Bearer {send}",
            "Upload-Length": "1",
            "Upload-Metadata": metadata(path=name),
        }
        answer = session.post(f"{url}/fallback/v1/uploads", data=b"x", headers=headers, timeout=10)
        assert answer.status_code in (201, 400, 403, 404, 409), answer.text

    check()
