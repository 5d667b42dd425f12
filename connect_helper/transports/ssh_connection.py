"""Opens an SSH connection: to settled addresses only, with nothing of the user's own SSH set-up.

No configuration file, agent, own key or proxy command of the user takes part (SEC-23): a page decides
where to connect, so it must not act with the user's identity. The host key is judged before any
credential leaves; an unknown one is asked about with no connection held open meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncssh

from connect_helper.errors import (
    AuthFailed,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimedOut,
    HostKeyUnknown,
    HostNotFound,
    TransferError,
    WeakAlgorithms,
)
from connect_helper.transports.host_keys import (
    AskHostKey,
    KnownKeys,
    Verdict,
    algorithms_to_offer,
    fingerprint,
    judge,
    key_type,
    refusal,
)
from connect_helper.transports.quick_login import Haste, Method, quicken
from connect_helper.transports.tcp_facts import tcp_facts

_log = logging.getLogger(__name__)

CONNECT_LIMIT_S: Final = 30.0  # all addresses together
LOGIN_LIMIT_S: Final = 30.0
KEEPALIVE_S: Final = 15
KEEPALIVE_COUNT: Final = 3

# AES-GCM, then CTR with SHA-2: chacha20-poly1305 and encrypt-then-MAC are sound only where both
# sides know strict key exchange (Terrapin, CVE-2023-48795); SHA-1 is left out everywhere.
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
MACS: Final = ("hmac-sha2-256", "hmac-sha2-512")
KEY_EXCHANGES: Final = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp521",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
SIGNATURES: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect; `addresses` are numeric and tried in order, nothing is resolved here."""

    host: str
    port: int
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return self.host if self.port == 22 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """How to log in. No repr: it holds secrets. A token is given as the password, and `is_token` then."""

    user: str
    password: str | None = None
    private_key: str | None = None  # PEM or OpenSSH text
    passphrase: str | None = None
    is_token: bool = False


def key_line(key: asyncssh.SSHKey) -> str:
    """Type and base64 of a public key, as it stands in a known_hosts file."""
    return f"{key.get_algorithm()} {base64.b64encode(key.public_data).decode('ascii')}"


class _Client(asyncssh.SSHClient):
    """Judges the host key and gives the password once, in whichever way the server asks for it."""

    def __init__(self, known: KnownKeys, password: str | None, haste: Haste) -> None:
        self._known = known
        self._password = password
        self._haste = haste
        self.method: Method = "publickey"  # tried last
        self.line = ""
        self.verdict: Verdict | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        quicken(conn, self._haste)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.line = key_line(key)
        self.verdict = judge(self._known, self.line)
        return self.verdict is Verdict.TRUSTED

    def password_auth_requested(self) -> str | None:
        # Once only: a second try with the same password would count towards a lock-out.
        password, self._password = self._password, None
        self.method = "password"
        return password

    def kbdint_auth_requested(self) -> str | None:
        return "" if self._password is not None else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        if not prompts:
            return []
        if len(prompts) == 1 and not prompts[0][1] and "password" in prompts[0][0].lower():
            password = self.password_auth_requested()
            self.method = "keyboard-interactive"
            return None if password is None else [password]
        return None


@dataclass(frozen=True, slots=True)
class Connected:
    """A logged-in connection and the address it uses."""

    connection: asyncssh.SSHClientConnection
    address: str
    key: str  # the host key it showed: "ssh-ed25519 AAAA..."
    method: Method  # of the login
    round_trip_s: float  # seconds until the server took the connection


Reached = Callable[[str, float], None]
"""Told the address that took the connection, and the seconds of a round trip; again after a question."""


async def connect(
    endpoint: Endpoint,
    credentials: Credentials,
    known: KnownKeys,
    ask: AskHostKey,
    *,
    haste: Haste | None = None,
    reached: Reached | None = None,
) -> Connected:
    """Connect and log in, as quickly as `haste` allows.

    Raises ConnectRefused, ConnectTimedOut, ConnectError, ConnectionLost, WeakAlgorithms, AuthFailed,
    HostKeyUnknown, HostKeyChanged, HostKeyMismatch. In the last three nothing but the key exchange
    took place.
    """
    keys = _client_keys(credentials)
    without: set[str] = set()
    mismatch: TransferError | None = None
    haste = haste or Haste()
    if keys is not None and haste.method is None and haste.turn is None:
        haste = replace(haste, method="publickey")  # what would be tried first anyway
    while True:
        sock, address, round_trip_s = await _open_socket(endpoint)
        if reached is not None:
            reached(address, round_trip_s)
        client = _Client(known, credentials.password, haste)
        offered = algorithms_to_offer(known, without=frozenset(without))
        try:
            connection = await _login(endpoint, sock, client, credentials.user, keys, offered)
            return Connected(connection, address, client.line, client.method, round_trip_s)
        except asyncssh.HostKeyNotVerifiable as error:
            if client.verdict is None:
                raise HostKeyUnknown(
                    f"{endpoint} shows a key of a kind that cannot be checked; nothing was sent.",
                    internal_message=str(error),
                ) from error
            kind = client.line.split()[0]
            if client.verdict is Verdict.MISMATCH and _others_left(offered, kind):
                # The fingerprint may be that of a key of another type the server also has.
                mismatch = refusal(client.verdict, known, client.line, str(endpoint))
                without.add(kind)
                continue
            if client.verdict is not Verdict.UNKNOWN:
                raise refusal(client.verdict, known, client.line, str(endpoint)) from error
            known = await _ask(endpoint, known, client.line, ask)
        except asyncssh.KeyExchangeFailed as error:
            if mismatch is not None:
                raise mismatch from error
            raise _translate(endpoint, error) from error
        except (asyncssh.Error, OSError, TimeoutError) as error:
            if client.verdict is Verdict.TRUSTED and _says_too_many(error):
                raise _translate(endpoint, asyncssh.PermissionDenied(str(error))) from error
            if mismatch is not None:  # stock OpenSSH hangs up when no other type of key is left
                raise mismatch from error
            raise _translate(endpoint, error) from error


def _says_too_many(error: Exception) -> bool:
    """Tell whether a server hung up over the login: OpenSSH does, and calls it an error of the protocol."""
    return isinstance(error, asyncssh.DisconnectError) and "authentication" in error.reason.lower()


def _others_left(offered: tuple[str, ...], kind: str) -> bool:
    return any(key_type(name) != kind for name in offered)


async def _ask(endpoint: Endpoint, known: KnownKeys, line: str, ask: AskHostKey) -> KnownKeys:
    if not await ask(line, fingerprint(line)):
        raise refusal(Verdict.UNKNOWN, known, line, str(endpoint))
    return KnownKeys(trusted=(line,), revoked=known.revoked)


def _client_keys(credentials: Credentials) -> list[asyncssh.SSHKey] | None:
    if credentials.private_key is None:
        return None
    try:
        return [asyncssh.import_private_key(credentials.private_key, credentials.passphrase)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        # The library's text may quote the key: it goes nowhere.
        raise AuthFailed(
            "The login failed: the private key of this transfer cannot be read.",
            internal_message=f"private key: {type(error).__name__}",
        ) from None


async def _open_socket(endpoint: Endpoint) -> tuple[socket.socket, str, float]:
    """A connected socket, the address it goes to, and the seconds that took."""
    if not endpoint.addresses:
        raise HostNotFound(f"No address is known for {endpoint.host}; check the name.")
    loop = asyncio.get_running_loop()
    failure: TransferError = ConnectTimedOut(f"{endpoint} did not answer in time; try again later.")
    share_s = CONNECT_LIMIT_S / len(endpoint.addresses)
    for address in endpoint.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            began = time.monotonic()
            async with asyncio.timeout(share_s):
                await loop.sock_connect(sock, (address, endpoint.port))
        except (OSError, TimeoutError) as error:
            sock.close()
            failure = _translate(endpoint, error)
            _log.info("%s port %s: %s", address, endpoint.port, failure.internal_message)
        except BaseException:
            sock.close()
            raise
        else:
            facts = tcp_facts(sock)
            return sock, address, facts.round_trip_s if facts else time.monotonic() - began
    raise failure


async def _login(
    endpoint: Endpoint,
    sock: socket.socket,
    client: _Client,
    user: str,
    keys: list[asyncssh.SSHKey] | None,
    host_key_algorithms: tuple[str, ...],
) -> asyncssh.SSHClientConnection:
    try:
        async with asyncio.timeout(LOGIN_LIMIT_S):
            return await asyncssh.connect(
                endpoint.host,
                endpoint.port,
                sock=sock,
                config=None,
                client_factory=lambda: client,
                username=user,
                client_keys=keys,
                agent_path=None,
                agent_forwarding=False,
                pkcs11_provider=None,
                gss_host=None,
                gss_auth=False,
                gss_kex=False,
                host_based_auth=False,
                x509_trusted_certs=None,
                proxy_command=None,
                disable_trivial_auth=True,
                known_hosts=([], [], []),  # empty: every key comes to `_Client` to be judged
                preferred_auth=["publickey", "password", "keyboard-interactive"],
                server_host_key_algs=list(host_key_algorithms),
                kex_algs=list(KEY_EXCHANGES),
                encryption_algs=list(CIPHERS),
                mac_algs=list(MACS),
                compression_algs=["none"],
                signature_algs=list(SIGNATURES),
                connect_timeout=CONNECT_LIMIT_S,
                login_timeout=LOGIN_LIMIT_S,
                keepalive_interval=KEEPALIVE_S,
                keepalive_count_max=KEEPALIVE_COUNT,
            )
    except BaseException:
        sock.close()
        raise


def _translate(endpoint: Endpoint, error: Exception) -> TransferError:
    """The error tree's word for what went wrong while connecting and logging in."""
    detail = f"{type(error).__name__}: {error}"
    match error:
        case asyncssh.PermissionDenied():
            return AuthFailed(
                f"{endpoint} refused the login; check the user name and password, key or token.",
                internal_message=detail,
            )
        case asyncssh.KeyExchangeFailed():
            return WeakAlgorithms(
                f"{endpoint} offers no encryption this program accepts; it needs a newer SSH server.",
                internal_message=detail,
            )
        case asyncssh.ProtocolError() | asyncssh.ProtocolNotSupported():
            return ConnectError(
                f"What answers at {endpoint} does not speak SSH as expected; check the port.",
                internal_message=detail,
            )
        case asyncssh.Error():
            return ConnectionLost(
                f"{endpoint} closed the connection during the login; try again later.",
                internal_message=detail,
            )
        case TimeoutError():
            return ConnectTimedOut(
                f"{endpoint} did not answer in time; try again later.", internal_message=detail
            )
        case OSError(errno=errno.ECONNREFUSED):
            return ConnectRefused(
                f"{endpoint} refused the connection; check the address and port.", internal_message=detail
            )
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EADDRNOTAVAIL):
            return ConnectError(
                f"There is no way to {endpoint} from this network; check the connection.",
                internal_message=detail,
            )
        case _:
            return ConnectionLost(
                f"The connection to {endpoint} broke; try again later.", internal_message=detail
            )
