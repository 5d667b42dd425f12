"""Is this the server it should be? The judgement on a host key, before any credential is sent.

Nothing here opens a connection. `judge` compares the key a server shows with what is known;
`ssh_connection` acts on the verdict. Sources: RFC 4253 section 8 (host keys), RFC 4255 (fingerprints),
transfer spec reference section 2.13 (`sshfp`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from connect_helper.errors import HostKeyChanged, HostKeyMismatch, HostKeyUnknown, LoginError

HOST_KEY_ALGORITHMS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_HEX_ALGORITHMS: Final = {40: "sha1", 64: "sha256"}
_NAMED_ALGORITHMS: Final = {"sha1": ("sha1", 20), "sha256": ("sha256", 32)}


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What is known of one server: public keys as "type base64", and the fingerprint a spec demands.

    With `sshfp`, `trusted` does not count: the spec decides for its one transfer, except that a revoked
    key is never accepted.
    """

    trusted: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    sshfp: str | None = None


AskHostKey = Callable[[str, str], Awaitable[bool]]
"""Asks the user about an unknown key: gets "type base64" and "SHA256:...", tells whether to go on."""


class Verdict(Enum):
    """What a host key means."""

    TRUSTED = auto()
    UNKNOWN = auto()
    CHANGED = auto()
    REVOKED = auto()
    MISMATCH = auto()


def fingerprint(line: str) -> str:
    """The "SHA256:..." fingerprint of a "type base64" line, as OpenSSH shows it."""
    digest = hashlib.sha256(_blob(line)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def judge(known: KnownKeys, line: str) -> Verdict:
    """Compare the key a server shows with what is known."""
    blob = _blob(line)
    if any(_blob(revoked) == blob for revoked in known.revoked):
        return Verdict.REVOKED
    # What the user once accepted comes first: a page's fingerprint must not talk a changed key through.
    if known.trusted and not any(_blob(trusted) == blob for trusted in known.trusted):
        return Verdict.CHANGED
    if known.sshfp is not None:
        return Verdict.TRUSTED if matches_fingerprint(blob, known.sshfp) else Verdict.MISMATCH
    return Verdict.TRUSTED if known.trusted else Verdict.UNKNOWN


def matches_fingerprint(blob: bytes, sshfp: str) -> bool:
    """Tell whether `sshfp` names this key blob.

    Understood: hex of SHA-1 or SHA-256, with or without colons, any case; base64 as "SHA256:..." or
    "SHA1:...", or bare base64 of that length. MD5 matches nothing.
    """
    wanted = _parse_fingerprint(sshfp.strip())
    if wanted is None:
        return False
    algorithm, digest = wanted
    return hmac.compare_digest(hashlib.new(algorithm, blob, usedforsecurity=False).digest(), digest)


def _parse_fingerprint(text: str) -> tuple[str, bytes] | None:
    bare = text.replace(":", "").replace(" ", "").lower()
    if len(bare) in _HEX_ALGORITHMS and all(c in "0123456789abcdef" for c in bare):
        return _HEX_ALGORITHMS[len(bare)], bytes.fromhex(bare)
    name, colon, rest = text.partition(":")
    name = name.lower().replace("-", "")
    if colon and name in _NAMED_ALGORITHMS:
        algorithm, length = _NAMED_ALGORITHMS[name]
        # Named hex ("SHA1:ab:cd...") is seen too; base64 of that length is never all hex and colons.
        named_hex = _parse_fingerprint(rest) if ":" in rest or len(rest) == length * 2 else None
        if named_hex is not None and named_hex[0] == algorithm:
            return named_hex
        return _base64_digest(rest, algorithm, length)
    for algorithm, length in _NAMED_ALGORITHMS.values():
        found = _base64_digest(text, algorithm, length)
        if found is not None:
            return found
    return None


def _base64_digest(text: str, algorithm: str, length: int) -> tuple[str, bytes] | None:
    stripped = text.rstrip("=")
    try:
        digest = base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return (algorithm, digest) if len(digest) == length else None


def _blob(line: str) -> bytes:
    parts = line.split()
    if len(parts) < 2:
        return b""
    try:
        return base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return b""


def algorithms_to_offer(known: KnownKeys, *, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Host key algorithms in order of preference: those of known keys first.

    A server has keys of several types; asking for another type than the known one would look like a
    changed key. `without` are types ("ssh-rsa" for all RSA) already seen not to match a fingerprint.
    """
    known_types = {line.split()[0] for line in known.trusted if line.split()}
    offered = [name for name in HOST_KEY_ALGORITHMS if key_type(name) not in without]
    return tuple(sorted(offered, key=lambda name: key_type(name) not in known_types))


def key_type(algorithm: str) -> str:
    """Type of the keys an algorithm uses: RSA keys sign with several."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def refusal(verdict: Verdict, known: KnownKeys, line: str, server: str) -> LoginError:
    """The error for a key that is not accepted, with the fingerprints a person can compare."""
    shown = fingerprint(line)
    if verdict is Verdict.MISMATCH:
        return HostKeyMismatch(
            f"{server} is not the server this transfer was made for: its key has the fingerprint {shown},"
            f" the transfer asks for {known.sshfp}. Ask whoever runs the page."
        )
    if verdict is Verdict.REVOKED:
        return HostKeyChanged(
            f"The key of {server} ({shown}) was revoked; nothing was sent. Ask whoever runs the server."
        )
    if verdict is Verdict.CHANGED:
        before = ", ".join(fingerprint(trusted) for trusted in known.trusted)
        return HostKeyChanged(
            f"The key of {server} has changed: it was {before} and is now {shown}. Nothing was sent. If the"
            " server was set up anew, remove the old key from the known servers and start again."
        )
    return HostKeyUnknown(
        f"The key of {server} ({shown}) is not known and was not accepted; nothing was sent."
    )
