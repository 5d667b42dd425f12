"""Who may call the helper's window, and what every answer carries (SEC-2, 10, 16)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from connect_helper.api.ui_guard import HEADERS
from tests.support.window import CONTROL_KEY, Window, open_window

OK, REFUSED, SIGNED_OUT, MISDIRECTED = 200, 403, 401, 421


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


@pytest.fixture
async def stranger(window: Window) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without token."""
    async with aiohttp.ClientSession(window.address) as session:
        yield session


API = [
    ("GET", "/api/transfers"),
    ("GET", "/api/transfers/x"),
    ("POST", "/api/transfers/x/stop"),
    ("POST", "/api/transfers/x/resume"),
    ("POST", "/api/transfers/x/remove"),
    ("POST", "/api/transfers/x/reveal"),
    ("POST", "/api/transfers/x/rate"),
    ("GET", "/api/sites"),
    ("DELETE", "/api/sites/https%3A%2F%2Fa.example"),
    ("DELETE", "/api/sites/https%3A%2F%2Fa.example/hosts"),
    ("DELETE", "/api/grants/x"),
    ("GET", "/api/preferences"),
    ("PATCH", "/api/preferences"),
    ("GET", "/api/about"),
    ("GET", "/api/events"),
    ("GET", "/api/nothing"),
]


@pytest.mark.parametrize(("method", "path"), API)
async def test_the_api_needs_a_token(
    window: Window, stranger: aiohttp.ClientSession, method: str, path: str
) -> None:
    wrong = [
        "",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {CONTROL_KEY}",
        f"Basic {window.token()}",
        window.token(),
    ]
    for authorization in wrong:
        headers = {"Authorization": authorization} if authorization else {}
        async with stranger.request(method, path, headers=headers) as answer:
            assert answer.status == SIGNED_OUT, authorization
            body = await answer.json()
            assert body["error"]["code"] == "signed_out"


@pytest.mark.parametrize(("method", "path"), API)
async def test_a_token_is_of_no_use_to_another_origin(window: Window, method: str, path: str) -> None:
    foreign = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": window.address.replace("127.0.0.1", "localhost")},
        {"Origin": f"{window.address}.evil.example"},
        {"Origin": window.address.rsplit(":", 1)[0]},
        {"Origin": window.address.replace("http:", "https:")},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ]
    async with window.client() as client:
        for headers in foreign:
            async with client.request(method, path, headers=headers) as answer:
                assert answer.status == REFUSED, headers
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_our_own_page_gets_through(window: Window) -> None:
    async with window.client() as client:
        headers = {"Origin": window.address, "Sec-Fetch-Site": "same-origin"}
        async with client.get("/api/transfers", headers=headers) as answer:
            assert answer.status == OK
            assert await answer.json() == {
                "transfers": [],
                "counts": {"all": 0, "running": 0, "finished": 0, "failed": 0},
                "more": False,
            }


async def test_a_code_is_changed_for_a_token_once(window: Window, stranger: aiohttp.ClientSession) -> None:
    code = window.sessions.issue_code()
    async with stranger.post("/api/session", json={"code": code}) as answer:
        assert answer.status == OK
        window.sessions.require((await answer.json())["token"])
    async with stranger.post("/api/session", json={"code": code}) as answer:
        assert answer.status == SIGNED_OUT


async def test_another_origin_cannot_redeem_a_code(window: Window, stranger: aiohttp.ClientSession) -> None:
    code = window.sessions.issue_code()
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    async with stranger.post("/api/session", data=json.dumps({"code": code}), headers=headers) as answer:
        assert answer.status == REFUSED
    window.sessions.redeem(code)  # still good


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"code": 1}', b'{"code":"a","code":"b"}', b"\xff"])
async def test_a_bad_session_body_is_a_clear_error(stranger: aiohttp.ClientSession, body: bytes) -> None:
    async with stranger.post("/api/session", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["user_message"]


async def raw(window: Window, request: str) -> str:
    """Send `request` as it is; the answer's head."""
    port = int(window.address.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").replace("PORT", str(port)).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.decode()


HOSTS = [
    "GET {} HTTP/1.1\nHost: evil.example\n\n",
    "GET {} HTTP/1.1\nHost: evil.example:PORT\n\n",
    "GET {} HTTP/1.1\nHost: 127.0.0.1.evil.example:PORT\n\n",
    "GET {} HTTP/1.1\nHost: localhost.:PORT\n\n",
    "GET {} HTTP/1.1\nHost: 127.0.0.1\n\n",
    "GET {} HTTP/1.1\n\n",
    "GET {} HTTP/1.1\nHost: 127.0.0.1:PORT\nHost: evil.example\n\n",
    "GET {} HTTP/1.0\nHost: 127.0.0.1:PORT\n\n",
    "GET http://127.0.0.1:PORT{} HTTP/1.1\nHost: 127.0.0.1:PORT\n\n",
    "OPTIONS {} HTTP/1.1\nHost: evil.example\n\n",
]


@pytest.mark.parametrize("path", ["/", "/api/transfers", "/assets/base.css", "/nothing"])
@pytest.mark.parametrize("request_text", HOSTS)
async def test_sec_02_only_our_own_address_is_served(window: Window, request_text: str, path: str) -> None:
    head = await raw(window, request_text.format(path))
    assert head.split()[1] in {"400", "421"}
    assert "Access-Control" not in head


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_both_names_of_this_computer_are_served(window: Window, name: str) -> None:
    head = await raw(window, f"GET / HTTP/1.1\nHost: {name}:PORT\n\n")
    assert head.split()[1] == "200"


ANSWERS = [
    ("GET", "/", OK),
    ("GET", "/activity/anything", OK),
    ("GET", "/sites", OK),
    ("GET", "/preferences", OK),
    ("GET", "/preferences/bandwidth", OK),
    ("GET", "/about", OK),
    ("GET", "/assets/base.css", OK),
    ("GET", "/assets/session.js", OK),
    ("GET", "/assets/mark.svg", OK),
    ("GET", "/preferences/nothing", 404),
    ("GET", "/assets/templates/shell.html", 404),
    ("GET", "/assets/../templates/shell.html", 404),
    ("GET", "/assets/%2e%2e/%2e%2e/pyproject.toml", 404),
    ("POST", "/", 405),
    ("GET", "/api/session", 405),
    ("GET", "/api/transfers", SIGNED_OUT),
    ("POST", "/api/control/stop", SIGNED_OUT),
    ("OPTIONS", "/api/transfers", SIGNED_OUT),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_sec_16_every_answer_carries_the_headers(
    window: Window, method: str, path: str, status: int
) -> None:
    head = await raw(window, f"{method} {path} HTTP/1.1\nHost: 127.0.0.1:PORT\n\n")
    assert int(head.split()[1]) == status
    for name, value in HEADERS.items():
        assert f"\r\n{name}: {value}\r\n" in head
    assert ("Cache-Control: no-store" in head) == path.startswith("/api/")
    assert "Access-Control" not in head
    assert "Set-Cookie" not in head


def test_sec_16_the_policy_is_the_strict_one() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy


async def test_the_stream_carries_the_headers_too(window: Window) -> None:
    async with window.client() as client, client.get("/api/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        assert HEADERS.items() <= dict(answer.headers).items()


async def test_the_command_line_gets_a_code_with_its_key(
    window: Window, stranger: aiohttp.ClientSession
) -> None:
    key = {"Authorization": f"Bearer {CONTROL_KEY}"}
    async with stranger.post("/api/control/code", headers=key) as answer:
        window.sessions.redeem((await answer.json())["code"])
    async with stranger.post("/api/control/status", headers=key) as answer:
        assert await answer.json() == {
            "version": "1.2.3",
            "pages": "http://127.0.0.1:33003",
            "desktop": "http://127.0.0.1:33024",
            "window": window.address,
            "transfers": {"all": 0, "running": 0, "finished": 0, "failed": 0},
        }
    assert window.stops == []
    async with stranger.post("/api/control/stop", headers=key) as answer:
        assert answer.status == OK
    assert window.stops == ["stop"]


@pytest.mark.parametrize("order", ["code", "status", "stop"])
async def test_the_control_key_is_void_in_a_browser(
    window: Window, stranger: aiohttp.ClientSession, order: str
) -> None:
    key = {"Authorization": f"Bearer {CONTROL_KEY}"}
    browser = [{"Origin": window.address}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Mode": "cors"}]
    for headers in browser:
        async with stranger.post(f"/api/control/{order}", headers={**key, **headers}) as answer:
            assert answer.status == REFUSED
    async with window.client() as signed_in, signed_in.post(f"/api/control/{order}") as answer:
        assert answer.status == SIGNED_OUT
    assert window.stops == []


async def test_sec_28_no_secret_reaches_the_log(
    window: Window, stranger: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    code, token = window.sessions.issue_code(), window.token()
    bearer = {"Authorization": f"Bearer {token}"}
    await stranger.post("/api/session", json={"code": code})
    await stranger.get("/api/transfers", headers=bearer)
    await stranger.post("/api/control/stop", headers={"Authorization": f"Bearer {CONTROL_KEY}"})
    await stranger.post("/api/transfers/none/resume", headers=bearer, json={"password": "canary-pw"})
    for secret in (code, token, CONTROL_KEY, "canary-pw"):
        assert secret not in caplog.text
    assert CONTROL_KEY not in repr(window)


async def test_a_bug_of_ours_is_an_answer_without_details(
    window: Window, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> None:
        raise ZeroDivisionError("canary-detail")

    monkeypatch.setattr(window.manager, "counts", explode)
    async with window.client() as client, client.get("/api/transfers") as answer:
        assert answer.status == 500
        body = await answer.text()
    assert "canary-detail" not in body
    incident = json.loads(body)["error"]["user_message"].rsplit(" ", 1)[1].strip(").")
    assert any(incident in record.getMessage() for record in caplog.records)
