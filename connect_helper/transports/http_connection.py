"""One server over HTTP: settled addresses only, verified TLS, nothing followed, errors made ours.

SEC-22 (connects to the addresses the user agreed to), SEC-23 (no proxy, cookie or login of the environment
takes part), SEC-26 (certificates are verified, see `certificates`). A redirect is refused like any other
unexpected answer: the token must not go where the user has not agreed to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from pydantic import SecretStr
from yarl import URL

from connect_helper.errors import (
    AlreadyExists,
    AuthFailed,
    ChecksumMismatch,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimedOut,
    DiskFull,
    HostNotFound,
    SourceDenied,
    SourceError,
    SourceMissing,
    TargetDenied,
    TargetError,
    TargetIsFolder,
    TransferError,
)
from connect_helper.spec.block_hash import IN_HEADERS, SHA256
from connect_helper.spec.names import display
from connect_helper.transports.certificates import certificate_refused, trust
from connect_helper.transports.error_map import Side
from connect_helper.transports.http_blocking import BlockingLine, Verified
from connect_helper.transports.http_lines import HttpLine, HttpLines

CONNECT_LIMIT_S: Final = 30.0
ANSWER_LIMIT_S: Final = 60.0  # without a byte from the server
LONG_LIMIT_S: Final = 1800.0  # where the server reads or joins a whole file before it answers
RETRY_AFTER_MOST_S: Final = 3600.0  # whatever the server says
SHORT_LIMIT: Final = 64 * 1024  # bytes of an error's text, and of other answers that are as short
FAR_S: Final = 0.01  # from question to answer: from here on several connections carry more than one
_ADDRESS: Final = re.compile(r"[!-~]+")  # it is put between spaces in a header
_DIGEST: Final = re.compile(r"(?:^|,)\s*([a-z0-9-]{1,30})=:([A-Za-z0-9+/=]{1,100}):")


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """Where to connect and whom to trust there."""

    host: str
    port: int
    addresses: tuple[str, ...]  # numeric; no other is used
    token: SecretStr = field(repr=False)
    tls: bool = True
    ca_file: str = ""  # PEM; certificates trusted beside those of the system
    pinned: str = ""  # SHA-256 of the one certificate that is accepted, in hex; "": by authority

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"


class HttpConnection:
    """Requests to one server, each with the token."""

    def __init__(self, endpoint: HttpEndpoint, question: str) -> None:
        """`question` is a path that may be asked about (OPTIONS) at any time."""
        self._endpoint = endpoint
        self._question = question
        self._lines: HttpLines | None = None
        self._verified: Verified = None
        self._waiting = 0
        self._heard = 0.0
        self._quickest_s = float("inf")  # from question to answer
        self._headers = {
            "Authorization": f"Bearer {endpoint.token.get_secret_value()}",
            "Accept-Encoding": "identity",
        }
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._base = f"{endpoint.scheme}://{host}:{endpoint.port}"

    async def open(self) -> None:
        """Get ready; nothing is sent. Raises HostNotFound, CertificateRefused for an unusable CA file."""
        endpoint = self._endpoint
        if not endpoint.addresses:
            raise HostNotFound(f"No address is known for {endpoint.host}; check the name.")
        tls = endpoint.tls
        self._verified = await asyncio.to_thread(trust, endpoint.ca_file, endpoint.pinned) if tls else None
        self._lines = HttpLines(endpoint.addresses, self._verified or False, self._ask)

    async def _ask(self) -> None:
        async with self.request("OPTIONS", self._question, awaited=False):
            return

    def line(self) -> AbstractAsyncContextManager[HttpLine]:
        """A connection for oneself, for requests one after the other; waits while all are in use."""
        return self._opened.one()

    def spare_line(self) -> AbstractAsyncContextManager[HttpLine | None]:
        """As `line`, but none where it would have to be waited for, or made."""
        return self._opened.spare()

    def blocking_line(self) -> BlockingLine:
        """A connection for a thread, not made yet."""
        where = self._endpoint
        return BlockingLine(where.host, where.port, where.addresses, self._verified, self._headers)

    @property
    def _opened(self) -> HttpLines:
        if self._lines is None:
            raise RuntimeError("the connection is not open")
        return self._lines

    async def further(self) -> None:
        """Wait until connections for requests beside the first are there, if any are being made."""
        await self._opened.further.ready()

    async def close(self) -> None:
        if self._lines is not None:
            await self._lines.close()

    @property
    def silent_s(self) -> float:
        """Seconds since the server last answered anything; 0 when it owes no answer."""
        return time.monotonic() - self._heard if self._waiting else 0.0

    @property
    def is_far(self) -> bool:
        """Whether answers take so long that one connection would leave the line idle."""
        return self._quickest_s >= FAR_S

    @property
    def encrypted(self) -> bool:
        """Whether TLS vouches for what goes over the line."""
        return self._endpoint.tls

    def heard(self) -> None:
        """Note that something moves."""
        self._heard = time.monotonic()

    @contextmanager
    def answer(self, *, owed: bool = True) -> Iterator[None]:
        """While an answer is waited for, or its body: that the server is silent counts if it is `owed`."""
        self.heard()
        self._waiting += owed
        try:
            yield
        finally:
            self._waiting -= owed
            self.heard()

    def own_path(self, location: str) -> str:
        """The path in an address the server gave.

        Raises TargetError when it leads to another server, or holds what has no place in an address.
        """
        base = URL(self._base)
        try:
            found = base.join(URL(location, encoded=True)) if _ADDRESS.fullmatch(location) else URL()
        except ValueError:
            found = URL()
        if found.origin() != base.origin() if found.is_absolute() else True:
            raise TargetError("The server sent no address of its own; nothing is sent there.")
        return found.raw_path_qs

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        long: bool = False,
        awaited: bool = True,
        over: HttpLine | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request; the answer's status is the caller's to judge. `path` is percent-encoded.

        It goes `over` the caller's own connection, or any. Where the answer may take long, or is not awaited,
        its delay is no silence of the server.
        Raises ConnectError, CertificateRefused, also when reading the answer breaks off.
        """
        if over is None:
            async with (
                self.line() as line,
                self.request(
                    method, path, headers=headers, data=data, long=long, awaited=awaited, over=line
                ) as answer,
            ):
                yield answer
            return
        limit_s = LONG_LIMIT_S if long else ANSWER_LIMIT_S
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S, sock_read=limit_s)
        asked = time.monotonic()
        try:
            with self.answer(owed=awaited and not long):
                async with over.session.request(
                    method,
                    URL(self._base + path, encoded=True),
                    headers={**self._headers, **(headers or {})},
                    data=data,
                    timeout=timeout,
                    allow_redirects=False,
                ) as answer:
                    self.heard()
                    if data is None:
                        self._quickest_s = min(self._quickest_s, time.monotonic() - asked)
                    yield answer
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as error:
            where = self._endpoint
            raise await certificate_refused(where.host, where.port, where.addresses, error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> TransferError:
        """Our error for what went wrong on the way to the server and back."""
        detail = f"{type(error).__name__}: {error}"
        where = self._endpoint
        if isinstance(error, aiohttp.ClientSSLError):
            return ConnectError(f"No secure connection to {where} could be made.", internal_message=detail)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectTimedOut(f"{where} did not answer in time.", internal_message=detail)
        if isinstance(error, aiohttp.ClientConnectorError):
            if error.os_error.errno == errno.ECONNREFUSED:
                return ConnectRefused(f"Nothing answers at {where}.", internal_message=detail)
            return ConnectError(f"{where} cannot be reached.", internal_message=detail)
        return ConnectionLost(
            "The connection to the server broke; start the transfer again to go on.", internal_message=detail
        )


async def refusal(answer: aiohttp.ClientResponse, side: Side, name: bytes) -> TransferError:
    """Our error for an answer that is no success; `name` is what it was about."""
    reason = await reason_of(answer)
    shown = display(name)
    kind, sentence = _row(answer.status, reason, side)
    error = kind(sentence.format(name=shown), internal_message=f"{shown}: HTTP {answer.status} {reason}")
    error.retry_after_s = retry_after_s(answer.headers, time.time())
    return error


def retry_after_s(headers: Mapping[str, str], now: float) -> float:
    """What `Retry-After` says (RFC 9110, section 10.2.3), within RETRY_AFTER_MOST_S; 0 when it says nothing.

    A time of day is compared with the server's own clock, or with `now` (since the epoch) if it tells none.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), RETRY_AFTER_MOST_S))
    until = _moment(text)
    if until is None:
        return 0.0
    return min(max(0.0, until - (_moment(headers.get("Date", "")) or now)), RETRY_AFTER_MOST_S)


def _moment(text: str) -> float | None:
    """Seconds since the epoch of a date in a header."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


async def short_body(answer: aiohttp.ClientResponse) -> bytes:
    """What an answer says that can only be short; of a long one a part."""
    text = b""
    while len(text) < SHORT_LIMIT and (piece := await answer.content.read(SHORT_LIMIT)):
        text += piece
    return text


async def reason_of(answer: aiohttp.ClientResponse) -> str:
    """The word our server gives for a refusal; "" when it gives none, or is another one."""
    try:
        reason = json.loads(await short_body(answer))["error"]["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return reason if isinstance(reason, str) and len(reason) < 100 else ""


def told_digest(answer: aiohttp.ClientResponse, algorithm: str = SHA256) -> str:
    """The digest by `algorithm` in `Repr-Digest` (RFC 9530), in hex; "" when there is none."""
    told = dict(_DIGEST.findall(answer.headers.get("Repr-Digest", "")))
    try:
        return base64.b64decode(told.get(IN_HEADERS[algorithm], ""), validate=True).hex()
    except binascii.Error:
        return ""


def _row(status: int, reason: str, side: Side) -> tuple[type[TransferError], str]:
    receiving = side == "source"
    match status, reason:
        case 401, _:
            return AuthFailed, "The server refused the token; start again from the web page."
        case 403, "already_exists":
            return AlreadyExists, "{name} exists already."
        case 403, "is_folder":
            return TargetIsFolder, "{name} cannot be written: a folder of that name is in the way."
        case 404, _ if receiving:
            return SourceMissing, "{name} is not on the server."
        case ((403 | 404), _):
            if receiving:
                return SourceDenied, "There is no permission to read {name}."
            return TargetDenied, "There is no permission to write {name}; choose another folder."
        case ((413 | 507), _):
            return DiskFull, "There is no space left for {name}; make room and start again."
        case 460, _:
            return ChecksumMismatch, "{name} arrived damaged; send it again."
        case ((408 | 409 | 423 | 425 | 429), _):
            return ConnectionLost, "The server is busy with {name}; start the transfer again to go on."
        case _ if status >= 500:
            return ConnectionLost, "The server has trouble at the moment; start the transfer again to go on."
        case _:
            if receiving:
                return SourceError, "{name} cannot be fetched over HTTP from this server."
            return TargetError, "{name} cannot be sent over HTTP to this server."
