"""The gate on a real socket, spoken to in raw bytes: what is refused before any handler runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from connect_helper.api import callers
from connect_helper.api.callers import CALLER, caller_of
from connect_helper.api.gate import Gate
from connect_helper.api.listening import Listener, bind_first_free
from connect_helper.errors import InvalidRequest


@dataclass
class Face:
    """A small application behind the gate, and who got through to it."""

    port: int
    reached: list[str] = field(default_factory=list)

    async def say(self, raw: str | bytes) -> tuple[int, dict[str, str], bytes]:
        """Send raw bytes; return status, headers (lower case) and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw.encode() if isinstance(raw, str) else raw)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        writer.close()
        return int(lines[0].split()[1]), headers, body

    async def ask(
        self, method: str, path: str, *headers: str, host: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}", *headers]
        return await self.say("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
async def face() -> AsyncIterator[Face]:
    sock = bind_first_free(range(0), fall_back=True)
    served = Face(sock.getsockname()[1])

    async def free(request: web.Request) -> web.Response:
        served.reached.append(request.method)
        return web.json_response({"caller": request[CALLER].label})

    async def owned(request: web.Request) -> web.Response:
        caller = caller_of(request)
        served.reached.append(caller.origin)
        return web.json_response({"origin": caller.origin})

    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("secret-in-a-bug")

    async def wrong(request: web.Request) -> web.Response:
        raise InvalidRequest("ssh_port must be a number.", field="ssh_port")

    app = web.Application(middlewares=Gate(served.port).middlewares())
    app.add_routes([web.route("*", "/free", free), web.route("*", "/owned", owned)])
    app.add_routes([web.get("/broken", broken), web.get("/wrong", wrong), web.get("/sdk/x.js", free)])
    listener = Listener(app, sock)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(listener.run(), name="face under test")
        await listener.started.wait()
        yield served
        serving.cancel()


WRONG_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "[::1]:{port}",
    "0.0.0.0:{port}",
    "2130706433:{port}",
    "LOCALHOST:{port}",
)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("host", WRONG_HOSTS)
async def test_sec_02_a_request_for_another_host_reaches_nothing(face: Face, method: str, host: str) -> None:
    status, headers, body = await face.ask(
        method, "/free", "Origin: https://a.example", host=host.format(port=face.port)
    )
    assert status == 421
    error = json.loads(body)["error"]
    assert error["code"] == 421
    assert error["user_message"] == "This address is not served here."
    assert "access-control-allow-origin" not in headers
    assert face.reached == []


@pytest.mark.parametrize(
    "raw",
    [
        "GET /free HTTP/1.1\r\nOrigin: https://a.example\r\n\r\n",
        "GET /free HTTP/1.0\r\n\r\n",
        "GET /free HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n",
        "GET http://127.0.0.1:{port}/free HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n",
        "GET /free HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n\r\n",
        "GET /free HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ],
)
async def test_sec_02_no_host_two_hosts_old_and_absolute_forms_reach_nothing(face: Face, raw: str) -> None:
    status, headers, _ = await face.say(raw.format(port=face.port))
    assert status in (400, 421)
    assert "access-control-allow-origin" not in headers
    assert face.reached == []


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}"])
async def test_our_own_names_are_served(face: Face, host: str) -> None:
    status, _, _ = await face.ask("GET", "/free", host=host.format(port=face.port))
    assert status == 200


@pytest.mark.parametrize("mode", ["no-cors", "navigate", "same-origin", "nested-navigate", ""])
async def test_sec_03_forms_images_and_frames_reach_nothing(face: Face, mode: str) -> None:
    status, _, _ = await face.ask(
        "POST", "/free", "Origin: https://a.example", f"Sec-Fetch-Mode: {mode}", "Sec-Fetch-Site: cross-site"
    )
    assert status == 403
    assert face.reached == []


async def test_our_script_may_be_loaded_by_a_script_tag(face: Face) -> None:
    status, _, _ = await face.ask("GET", "/sdk/x.js", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script")
    assert status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://a.example/",
        "https://user@a.example",
        "https://a.example.",
        "https://A.example",
        "HTTPS://a.example",
        "ftp://a.example",
        "file://",
        "https://",
        "https://a.example:443",
        "https://a.example:99999",
    ],
)
async def test_sec_03_what_is_no_plain_web_origin_owns_nothing(face: Face, origin: str) -> None:
    status, headers, body = await face.ask("POST", "/owned", f"Origin: {origin}", "Sec-Fetch-Mode: cors")
    assert status == 403
    assert json.loads(body)["error"]["code"] == 403
    assert headers["access-control-allow-origin"] == origin  # or the page takes us for dead
    assert face.reached == []


async def test_sec_03_two_origins_own_nothing(face: Face) -> None:
    status, headers, _ = await face.ask(
        "POST", "/owned", "Origin: https://a.example", "Origin: https://b.example"
    )
    assert status == 403
    assert "access-control-allow-origin" not in headers


async def test_a_get_without_origin_owns_nothing(face: Face) -> None:
    assert (await face.ask("GET", "/owned"))[0] == 403


async def test_a_page_is_known_by_its_origin(face: Face) -> None:
    status, _, _ = await face.ask("POST", "/owned", "Origin: https://a.example:8443", "Sec-Fetch-Mode: cors")
    assert status == 200
    assert face.reached == ["https://a.example:8443"]


@pytest.mark.parametrize("headers", [(), ("Origin: some-product",)])
async def test_sec_09_a_local_program_is_named(face: Face, headers: tuple[str, ...]) -> None:
    status, _, _ = await face.ask("POST", "/owned", *headers)
    assert status == 200
    assert face.reached[0].startswith("local:")
    assert "py" in face.reached[0]  # the test runner itself


async def test_a_local_program_stays_the_same_though_the_kernel_misses_it_at_times(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[tuple[str, int] | None] = [None, ("tool", 7), None, None]
    monkeypatch.setattr(callers, "find_program", lambda _: looks.pop(0))
    async with aiohttp.ClientSession() as program:
        for _ in range(2):  # over one connection
            async with program.post(f"http://127.0.0.1:{face.port}/owned") as answer:
                assert answer.status == 200
                await answer.read()
    assert face.reached == ["local:tool", "local:tool"]


@pytest.mark.parametrize("path", ["/free", "/owned", "/wrong", "/broken", "/nowhere"])
@pytest.mark.parametrize("origin", ["https://a.example", "null", ""])
async def test_sec_05_every_answer_carries_the_headers(face: Face, path: str, origin: str) -> None:
    _, headers, _ = await face.ask("GET", path, *([f"Origin: {origin}"] if origin else []))
    assert headers.get("access-control-allow-origin", "") == origin
    assert headers["vary"] == "Origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-credentials" not in headers


async def test_errors_have_the_shape_pages_read(face: Face) -> None:
    status, _, body = await face.ask("GET", "/wrong", "Origin: https://a.example")
    assert status == 400
    assert json.loads(body) == {
        "error": {
            "code": 400,
            "internal_message": "invalid_request: ssh_port",
            "user_message": "ssh_port must be a number.",
        }
    }


async def test_a_bug_of_ours_tells_nothing_but_its_incident(face: Face) -> None:
    status, _, body = await face.ask("GET", "/broken", "Origin: https://a.example")
    assert status == 500
    assert b"incident" in body
    assert b"secret-in-a-bug" not in body


async def test_preflights_are_answered(face: Face) -> None:
    status, headers, _ = await face.ask(
        "OPTIONS",
        "/owned",
        "Origin: https://a.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
        "Access-Control-Request-Private-Network: true",
    )
    assert status == 204
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert headers["access-control-allow-headers"] == "content-type"
    assert headers["access-control-allow-private-network"] == "true"
    assert headers["access-control-max-age"] == "600"


@pytest.mark.usefixtures("calls_at_one_moment")
async def test_sec_10_a_caller_in_a_hurry_is_told_to_slow_down_and_others_are_not(face: Face) -> None:
    one = f"GET /free HTTP/1.1\r\nHost: 127.0.0.1:{face.port}\r\nOrigin: https://a.example\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(one.encode() * 61)
    *heads, slowed = [(await reader.readuntil(b"\r\n\r\n")).decode() for _ in range(61)]
    assert all("200 OK" in head for head in heads)
    assert " 429 " in slowed
    assert "Access-Control-Allow-Origin: https://a.example" in slowed
    assert "Retry-After: 1" in slowed
    writer.close()
    assert (await face.ask("GET", "/free", "Origin: https://b.example"))[0] == 200


async def test_sec_10_one_connection_too_many_is_answered_not_reset(face: Face) -> None:
    held = [await asyncio.open_connection("127.0.0.1", face.port) for _ in range(256)]
    try:
        status, headers, body = await face.ask("GET", "/free", "Origin: https://a.example")
    finally:
        for _, writer in held:
            writer.close()
    assert status == 429
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert json.loads(body)["error"]["code"] == 429


async def test_sec_10_a_connection_that_asks_nothing_is_ended(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.api.listening.FIRST_REQUEST_LIMIT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"GET /free HTTP/1.1\r\nHost: ")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
