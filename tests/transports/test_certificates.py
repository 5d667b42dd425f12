"""Whom the helper trusts over HTTPS: authorities, a file of the user's, one pinned certificate (SEC-26)."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from connect_helper.errors import CertificateRefused, ConnectError, TransferError
from connect_helper.transports.http_connection import HttpConnection, HttpEndpoint

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate signed by itself, with its key, in one PEM file."""

    path: Path
    fingerprint: str  # hex

    @property
    def shown(self) -> str:
        digits = self.fingerprint.upper()
        return ":".join(digits[at : at + 2] for at in range(0, 64, 2))


def pair(folder: Path, name: str, *, days: int = 1) -> Pair:
    """A certificate for the host `name` that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}{days}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return Pair(path, certificate.fingerprint(hashes.SHA256()).hex())


@dataclass(slots=True)
class Asked:
    """What a server was asked, with the token of each request."""

    port: int
    tokens: list[str]


@asynccontextmanager
async def serving(
    shown: Pair, change: Callable[[ssl.SSLContext], None] = lambda _context: None
) -> AsyncIterator[Asked]:
    tokens: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("Authorization", ""))
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.path)
    change(context)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield Asked(int(runner.addresses[0][1]), tokens)
    finally:
        await runner.cleanup()


async def ask(port: int, *, ca_file: str = "", pinned: str = "", host: str = "files.example") -> str:
    endpoint = HttpEndpoint(
        host, port, ("127.0.0.1",), SecretStr("secret-token"), ca_file=ca_file, pinned=pinned
    )
    connection = HttpConnection(endpoint, "/")
    await connection.open()
    try:
        async with connection.request("GET", "/") as answer:
            return await answer.text()
    finally:
        await connection.close()


async def ask_in_thread(
    port: int, *, ca_file: str = "", pinned: str = "", host: str = "files.example"
) -> str:
    """As `ask`, by a connection for a thread."""
    endpoint = HttpEndpoint(
        host, port, ("127.0.0.1",), SecretStr("secret-token"), ca_file=ca_file, pinned=pinned
    )
    connection = HttpConnection(endpoint, "/")
    await connection.open()
    line = connection.blocking_line()
    try:
        return (await asyncio.to_thread(lambda: line.ask("/", {}).read())).decode()
    finally:
        line.close()
        await connection.close()


async def test_a_thread_is_as_particular_as_anybody(tmp_path: Path) -> None:
    known, other = pair(tmp_path, "files.example"), pair(tmp_path, "other.example")
    async with serving(known) as server:
        assert await ask_in_thread(server.port, ca_file=str(known.path)) == "here"
        assert await ask_in_thread(server.port, pinned=known.fingerprint) == "here"
        assert server.tokens == ["Bearer secret-token"] * 2
        for refused in (
            {},
            {"ca_file": str(other.path)},
            {"ca_file": str(known.path), "host": "other.example"},
            {"ca_file": str(known.path), "pinned": other.fingerprint},
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask_in_thread(server.port, **refused)
        assert len(server.tokens) == 2


async def test_a_certificate_of_the_users_file_is_accepted(tmp_path: Path) -> None:
    known = pair(tmp_path, "files.example")
    async with serving(known) as server:
        assert await ask(server.port, ca_file=str(known.path)) == "here"


async def test_a_pinned_certificate_is_accepted_whoever_signed_it_for_whatever_name(tmp_path: Path) -> None:
    for shown in (pair(tmp_path, "other.example"), pair(tmp_path, "files.example", days=-1)):
        async with serving(shown) as server:
            assert await ask(server.port, pinned=shown.fingerprint) == "here"


@pytest.mark.parametrize(
    ("name", "days", "knows", "reason"),
    [
        ("files.example", 1, False, "no authority has signed it"),
        ("other.example", 1, True, "it is for another name"),
        ("files.example", -1, True, "it has expired"),
    ],
)
async def test_any_other_is_refused_with_its_fingerprint_before_anything_is_sent(
    tmp_path: Path, name: str, days: int, knows: bool, reason: str
) -> None:
    shown = pair(tmp_path, name, days=days)
    async with serving(shown) as server:
        with pytest.raises(CertificateRefused) as caught:
            await ask(server.port, ca_file=str(shown.path) if knows else "")
        assert server.tokens == []
    said = caught.value.user_message
    assert reason in said
    assert f"files.example={shown.shown}" in said
    assert "secret-token" not in said + caught.value.internal_message
    assert caught.value.retryable is False


async def test_a_pin_is_kept_even_against_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    trusted = pair(tmp_path, "files.example")
    async with serving(trusted) as server:
        with pytest.raises(CertificateRefused) as caught:
            await ask(server.port, ca_file=str(trusted.path), pinned=hashlib.sha256(b"other").hexdigest())
        assert server.tokens == []
    assert "not the one pinned" in caught.value.user_message
    assert trusted.shown in caught.value.user_message


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    for name in ("missing.pem", "junk.pem"):
        with pytest.raises(CertificateRefused) as caught:
            await ask(1, ca_file=str(tmp_path / name))
        assert "cannot be read; correct it in the preferences" in caught.value.user_message


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_tls_is_refused(tmp_path: Path, pinned: bool) -> None:
    shown = pair(tmp_path, "files.example")

    def old(context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")

    async with serving(shown, old) as server:
        pin = shown.fingerprint if pinned else ""
        with pytest.raises(ConnectError):
            await ask(server.port, ca_file=str(shown.path), pinned=pin)
        assert server.tokens == []


async def test_a_peer_that_falls_silent_at_the_second_look_ends_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transports.certificates.LOOK_LIMIT_S", 0.05)
    shown = pair(tmp_path, "files.example")
    async with serving(shown) as server:
        connections = 0

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            if connections > 1:
                await reader.read()  # never answers
                writer.close()
                return
            near, far = await asyncio.open_connection("127.0.0.1", server.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(pipe(reader, far))
                both.create_task(pipe(near, writer))

        async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
        async with proxy:
            with pytest.raises(TransferError) as caught:
                await ask(proxy.sockets[0].getsockname()[1])
    assert isinstance(caught.value, CertificateRefused)
    assert "fingerprint" not in caught.value.user_message
    assert caught.value.user_message.endswith("Its operator has to mend it.")
