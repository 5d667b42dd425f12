"""Who is let in, what pages may read, and what a flood of junk costs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from connect_helper.server.access import Access
from connect_helper.server.http import callers, serving
from connect_helper.server.http.serving import ConnectionLimits
from connect_helper.server.passwords import hash_password
from connect_helper.server.revocations import Revocations
from connect_helper.server.token_contents import TokenClaims
from tests.support.http_far_end import TUS, FarEnd, far_end, junk_token, metadata
from tests.support.tls import tls_pair

ROUTES = [
    ("OPTIONS", "/fallback/v1/uploads"),
    ("POST", "/fallback/v1/uploads"),
    ("HEAD", f"/fallback/v1/uploads/{'0' * 32}"),
    ("PATCH", f"/fallback/v1/uploads/{'0' * 32}"),
    ("DELETE", f"/fallback/v1/uploads/{'0' * 32}"),
    ("GET", "/fallback/v1/files/out/x"),
    ("HEAD", "/fallback/v1/files/out/x"),
    ("GET", "/fallback/v1/manifest?path=out"),
    ("POST", "/fallback/v1/folders"),
    ("GET", "/fallback/v1/unknown"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES[1:])
async def test_without_a_good_token_every_route_refuses_alike(server: FarEnd, method: str, path: str) -> None:
    (server.docroot / "out").mkdir()
    (server.docroot / "out/x").write_bytes(b"secret")
    good = server.token("receive", "out")
    now = int(time.time())
    tokens = [
        None,
        junk_token(),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good[:30] + ("A" if good[30] != "A" else "B") + good[31:],
        server.token("receive", "out", issued_at=now - 5000, expires_at=now - 100),
        server.token("receive", "out", issued_at=now + 500, expires_at=now + 900),
        "x" * 7000,
    ]
    for token in tokens:
        async with server.client(token) as client, client.request(method, path, headers=TUS) as answer:
            assert answer.status == 401, token
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert b"secret" not in await answer.read()


def _expired(server: FarEnd, claims_end: int) -> tuple[TokenClaims, str]:
    token = server.token("receive", issued_at=claims_end - 3600, expires_at=claims_end)
    return server.admission.keyring.open(token), token


async def test_a_token_that_expires_cuts_no_session_under_way(server: FarEnd) -> None:
    """As over SSH: whoever is transferring goes on, whoever comes anew is refused."""
    (server.docroot / "x").write_bytes(b"hello")
    claims, token = _expired(server, int(time.time()) - 600)
    async with server.client(token) as client:
        assert await _status(client) == 401, "no session is open"
        with server.sessions.join(_access(server, claims), "http", "127.0.0.1"):
            assert await _status(client) == 200
            async with server.client(token.swapcase()) as forged:
                assert await _status(forged) == 401
        with server.sessions.join(_access(server, claims), "http", "192.0.2.7"):
            await _until_closed(server, "127.0.0.1")
            assert await _status(client) == 401, "another address has the session"


async def test_a_session_does_not_outlive_its_token_by_days(server: FarEnd) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    claims, token = _expired(server, int(time.time()) - 25 * 3600)
    async with server.client(token) as client:
        with server.sessions.join(_access(server, claims), "http", "127.0.0.1"):
            assert await _status(client) == 401


async def test_a_session_under_way_is_cut_when_its_token_is_withdrawn(server: FarEnd, tmp_path: Path) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    claims, token = _expired(server, int(time.time()) - 6 * 3600)
    revocations = Revocations(tmp_path / "state/revoked")
    async with server.client(token) as client:
        with server.sessions.join(_access(server, claims), "http", "127.0.0.1"):
            assert await _status(client) == 200
            await asyncio.to_thread(revocations.revoke, claims.id, claims.expires_at)
            await asyncio.to_thread(revocations.revoke, "another", int(time.time()) + 60)  # cleans the list
            assert await _status(client) == 401


def _access(server: FarEnd, claims: TokenClaims) -> Access:
    account = server.accounts.get(claims.user)
    assert account is not None
    return Access(account, claims)


async def _status(client: aiohttp.ClientSession) -> int:
    async with client.get("/fallback/v1/files/x") as answer:
        return answer.status


async def _until_closed(server: FarEnd, peer: str) -> None:
    async with asyncio.timeout(30):
        while any(report.peer == peer for report in server.sessions.listing()):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_a_withdrawn_token_is_refused_at_once(server: FarEnd, tmp_path: Path) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    token = server.token("receive")
    async with server.client(token) as client:
        async with client.get("/fallback/v1/files/x") as answer:
            assert answer.status == 200
        claims = server.admission.keyring.open(token)
        (tmp_path / "state/revoked").write_text(f"{claims.id} {claims.expires_at}\n")
        async with client.get("/fallback/v1/files/x") as answer:
            assert answer.status == 401


async def test_a_disabled_direction_stops_tokens_at_once(server: FarEnd) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    async with server.client(server.token("receive")) as client:
        server.account(download="deny")
        async with client.get("/fallback/v1/files/x") as answer:
            assert answer.status == 401


@pytest.mark.parametrize(
    "path",
    ["out/../secret", "out/%2e%2e/secret", "out%2f..%2fsecret", "secret", "outer", "out/link", "../out/x"],
)
async def test_a_token_opens_nothing_beside_its_paths(server: FarEnd, path: str) -> None:
    for name in ("out", "outer"):
        (server.docroot / name).mkdir()
    (server.docroot / "secret").write_bytes(b"secret")
    (server.docroot / "out/link").symlink_to("../secret")
    address = aiohttp.client.URL(f"{server.url}/fallback/v1/files/{path}", encoded=True)
    async with server.client(server.token("receive", "out")) as client, client.get(address) as answer:
        assert answer.status in (400, 404)
        assert b"secret" not in await answer.read()


async def test_a_token_to_send_fetches_nothing(server: FarEnd) -> None:
    (server.docroot / "in").mkdir()
    (server.docroot / "in/x").write_bytes(b"secret")
    async with server.client(server.token("send", "in")) as client:
        for path in ("files/in/x", "manifest?path=in/x"):
            async with client.get(f"/fallback/v1/{path}") as answer:
                assert b"secret" not in await answer.read()
                assert answer.status == (404 if path.startswith("files") else 200)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_pages_of_any_origin_may_read_answers_and_no_credentials_are_allowed(
    server: FarEnd, method: str, path: str
) -> None:
    headers = {"Origin": "https://portal.example", **TUS}
    async with server.client(None) as client, client.request(method, path, headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Upload-Offset" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in answer.headers


async def test_a_browser_learns_before_it_asks(server: FarEnd) -> None:
    headers = {
        "Origin": "https://portal.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset,content-type",
    }
    async with server.client(None) as client:
        for path in (f"uploads/{'0' * 32}", "uploads", "files/a/b", "manifest", "folders"):
            async with client.options(f"/fallback/v1/{path}", headers=headers) as answer:
                assert answer.status == 204
                allowed = answer.headers["Access-Control-Allow-Headers"].lower()
                assert {"authorization", "upload-offset"} <= set(allowed.split(", "))
        async with client.options("/fallback/v1/uploads") as answer:
            assert answer.headers["Tus-Version"] == "1.0.0"
            assert "concatenation" in answer.headers["Tus-Extension"].split(",")
            assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"


async def test_an_account_comes_in_by_basic(server: FarEnd) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    server.account(password_hash=SecretStr(hash_password("right")))
    async with server.client(None) as client:
        for password, status in (("wrong", 401), ("right", 200)):
            headers = {"Authorization": aiohttp.encode_basic_auth("ann", password)}
            async with client.get("/fallback/v1/files/x", headers=headers) as answer:
                assert answer.status == status
                # A browser that is asked for Basic would add the password to other pages' requests.
                assert not answer.headers.get("WWW-Authenticate", "").startswith("Basic")
        server.account(download="token")
        headers = {"Authorization": aiohttp.encode_basic_auth("ann", "right")}
        async with client.get("/fallback/v1/files/x", headers=headers) as answer:
            assert answer.status == 404


async def raw(server: FarEnd, request: bytes) -> bytes:
    """What the server answers to these bytes."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read(65536)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET /fallback/v1/files/x HTTP/1.1", b"Host: a", b"Host: b"],
        [b"GET /fallback/v1/files/x HTTP/1.1"],
        [b"GET http://other/fallback/v1/files/x HTTP/1.1", b"Host: a"],
        [b"GET /fallback/v1/files/x HTTP/1.1", b"Host: a", *[b"Authorization: Bearer CHT1_s3cret"] * 2],
        [
            b"POST /fallback/v1/uploads HTTP/1.1",
            b"Host: a",
            b"Content-Length: 1",
            b"Transfer-Encoding: chunked",
        ],
        [b"GET / HTTP/1.1", b"Host: a", b"Authorization: Bearer CHT1_s3cret" + b"a" * 70_000],
        [b"GET / HTTP/1.1", b"Host: a", b"Authorization: Bearer CHT1_s3cret\0"],
    ],
)
async def test_requests_of_doubtful_form_are_refused_and_not_quoted_in_the_log(
    server: FarEnd, lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = await raw(server, b"\r\n".join([*lines, b"", b""]))
    assert answer.split(b" ", 2)[1] == b"400"
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_length_said_later_has_its_bounds(server: FarEnd) -> None:
    authorization = f"Authorization: Bearer {server.token('send')}"
    async with server.client(server.token("send")) as sender:
        headers = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata(path="x")}
        async with sender.post("/fallback/v1/uploads", headers=headers) as answer:
            upload = answer.headers["Location"]
    lines = [f"PATCH {upload} HTTP/1.1", "Host: a", authorization, "Tus-Resumable: 1.0.0", "Upload-Offset: 0"]
    lines += ["Content-Type: application/offset+octet-stream", f"Content-Length: {2**41}", "", ""]
    assert (await raw(server, "\r\n".join(lines).encode())).startswith(b"HTTP/1.1 413")


def junk_request() -> bytes:
    lines = ["GET /fallback/v1/files/x HTTP/1.1", "Host: a", f"Authorization: Bearer {junk_token()}", "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("each_s", "count", "cpu_s"),
    [
        pytest.param(callers.REFUSED_S, 5, 1.0, id="they take their time"),
        # Seconds of one processor for each refusal, our own side of it and debug mode included.
        pytest.param(0.0, 500, 0.01, id="they cost little"),
    ],
)
async def test_junk_tokens_on_one_connection_disturb_nobody_else(
    server: FarEnd, monkeypatch: pytest.MonkeyPatch, each_s: float, count: int, cpu_s: float
) -> None:
    monkeypatch.setattr(callers, "REFUSED_S", each_s)
    (server.docroot / "x").write_bytes(b"hello")
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began, cpu_began = time.monotonic(), time.process_time()
    writer.write(junk_request() * 500)
    await refusal(reader)
    async with server.client(server.token("receive")) as client, client.get("/fallback/v1/files/x") as answer:
        assert await answer.read() == b"hello"
    for _ in range(count - 1):
        await refusal(reader)
    assert time.monotonic() - began >= count * each_s
    assert (time.process_time() - cpu_began) / count < cpu_s
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def refusal(reader: asyncio.StreamReader) -> None:
    """Read one answer, which must be 401."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


async def test_connections_that_ask_nothing_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_LIMIT_S", 0.2)
    monkeypatch.setattr(serving, "SWEEP_EVERY_S", 0.05)
    async with far_end(tmp_path) as server:
        for said in (b"", b"GET /fallback/v1/files/x HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
            assert await raw(server, said) == b""


async def test_one_connection_too_many_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SWEEP_EVERY_S", 60)  # nobody makes room meanwhile
    async with far_end(tmp_path, connections=ConnectionLimits(in_total=2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        answer = await raw(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in answer
        for _, writer in held:
            writer.close()


async def test_room_is_made_where_most_ask_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(serving, "HEAD_LIMIT_S", 600)
    async with far_end(tmp_path, connections=ConnectionLimits(in_total=10)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        alone = await asyncio.open_connection(host, int(port))
        crowd = [
            await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0)) for _ in range(9)
        ]
        async with asyncio.timeout(60):  # less than any of them may be silent
            assert await crowd[0][0].read() == b""
        alone[1].write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await alone[0].readline()).startswith(b"HTTP/1.1 200")
        for _, writer in (alone, *crowd):
            writer.close()


async def test_an_address_has_its_share_of_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SWEEP_EVERY_S", 0.05)
    async with far_end(tmp_path, connections=ConnectionLimits(per_address=2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        async with asyncio.timeout(5):
            for reader, _ in held[2:]:
                assert await reader.read() == b""
        for reader, writer in held[:2]:
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_one_address_cannot_hold_all_places_with_answers_it_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, encrypted: bool
) -> None:
    monkeypatch.setattr(serving, "SWEEP_EVERY_S", 600)  # looked at by hand
    theirs, ours = await asyncio.to_thread(tls_pair, tmp_path) if encrypted else (None, None)
    limits = ConnectionLimits(in_total=10, per_address=3)
    async with far_end(tmp_path, tls=theirs, connections=limits) as server:
        with (server.docroot / "x").open("wb") as file:
            file.truncate(20_000_000)
        held = [await _asking(server, ours, "127.0.0.2") for _ in range(7)]
        held += [await _asking(server, ours, "127.0.0.1") for _ in range(3)]
        for _ in range(2):  # those that are being ended are not counted twice
            server.listener._sweep(time.monotonic())
        async with asyncio.timeout(20):
            while server.listener.open_connections > 8:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        newcomer = await _asking(server, ours, "127.0.0.3")
        assert newcomer[0].startswith(b"HTTP/1.1 200")
        whole = [await _comes_whole(reader, 20_000_000) for _, reader, _ in held]
        assert whole == [True] * 5 + [False] * 2 + [True] * 3, "the newest of those above the share had to go"
        for _, _, writer in (*held, newcomer):
            writer.transport.abort()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def _asking(
    server: FarEnd, tls: ssl.SSLContext | None, address: str
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a large file and read no more than the head of the answer."""
    host, port = server.url.split("//")[1].split(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=tls, local_addr=(address, 0), limit=100_000
    )
    authorization = f"Authorization: Bearer {server.token('receive')}"
    writer.write(f"GET /fallback/v1/files/x HTTP/1.1\r\nHost: a\r\n{authorization}\r\n\r\n".encode())
    return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def _comes_whole(reader: asyncio.StreamReader, size: int) -> bool:
    """Read a body, and tell whether so many bytes came."""
    try:
        async with asyncio.timeout(30):
            await reader.readexactly(size)
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
    return True


@asynccontextmanager
async def _large_answer(
    size: int, connection: str = "keep-alive"
) -> AsyncIterator[tuple[serving.HttpListener, asyncio.StreamReader]]:
    """A client that has asked for so many bytes in one piece, and read the head; who looks is the test."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bytes(size))

    app = web.Application()
    app.router.add_get("/large", answer)
    listener = serving.HttpListener(app)
    await listener.start()
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    await listener.listen(sock)
    reader, writer = await asyncio.open_connection(*sock.getsockname(), limit=100_000)
    writer.write(f"GET /large HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    try:
        yield listener, reader
    finally:
        writer.transport.abort()
        await listener.close()


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_an_answer_that_nobody_takes_holds_no_place_for_long(connection: str) -> None:
    async with _large_answer(40_000_000, connection) as (listener, reader):
        await _until_still(listener)
        now = time.monotonic()
        listener._sweep(now)
        listener._sweep(now + serving.REST_LIMIT_S + 1)
        assert not await _comes_whole(reader, 40_000_000)
        async with asyncio.timeout(10):
            while listener.open_connections:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)


async def test_an_answer_that_is_taken_slowly_comes_whole() -> None:
    came, now, looks = 0, time.monotonic(), 0
    async with _large_answer(40_000_000) as (listener, reader):
        await _until_still(listener)
        while before := _unsent(listener):
            listener._sweep(now)
            now, looks = now + serving.REST_LIMIT_S - 1, looks + 1
            async with asyncio.timeout(30):
                while _unsent(listener) >= before:
                    came += len(await reader.read(500_000))
        assert looks > 3
        assert await _comes_whole(reader, 40_000_000 - came)


def _unsent(listener: serving.HttpListener) -> int:
    server = listener._runner.server
    assert server is not None
    return sum(serving._unsent(protocol) for protocol in server.connections)


async def _until_still(listener: serving.HttpListener) -> None:
    """Wait until the system takes no more for a client that reads nothing."""
    before = -1
    while (now := _unsent(listener)) != before:
        before = now
        await asyncio.sleep(0.2)


async def test_an_account_that_demands_encryption_moves_nothing_over_plain_http(
    server: FarEnd, tmp_path: Path
) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    server.account(lowest_cipher="aes-256")
    async with server.client(server.token("receive")) as client, client.get("/fallback/v1/files/x") as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["reason"] == "encryption_required"
    theirs, ours = await asyncio.to_thread(tls_pair, tmp_path)
    async with far_end(tmp_path / "secure", tls=theirs) as secure:
        (secure.docroot / "x").write_bytes(b"hello")
        secure.account(lowest_cipher="aes-256")
        connector = aiohttp.TCPConnector(ssl=ours)
        async with secure.client(secure.token("receive"), connector=connector) as client:
            assert await _status(client) == 200


async def test_a_token_for_thousands_of_files_opens_them_and_a_longer_header_is_refused(
    server: FarEnd,
) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    token = server.token("receive", "x", *(secrets.token_hex(16) for _ in range(2000)))
    assert len(token) > 30_000
    async with server.client(token) as client:
        assert await _status(client) == 200
    async with server.client("C" * 70_000) as client:
        assert await _status(client) == 400
