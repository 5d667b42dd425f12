"""Which certificate of a server is accepted, and what to say about one that is not (SEC-26).

By authority: the system's, and those of a file the user names. Or by fingerprint: the user pinned the one
certificate of this server, and no other is accepted then, whoever signed it. TLS 1.2 at least.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp

from connect_helper.errors import CertificateRefused

_log = logging.getLogger(__name__)

LOOK_LIMIT_S: Final = 10.0  # for a second look at a certificate, to name it


def trust(ca_file: str, pinned: str) -> ssl.SSLContext | aiohttp.Fingerprint:
    """What decides about the server's certificate. Blocks. Raises CertificateRefused for an unusable file.

    The library checks a fingerprint before it sends anything; its TLS begins at 1.2 like Python's own.
    """
    if pinned:
        return aiohttp.Fingerprint(bytes.fromhex(pinned))
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CertificateRefused(
                "The file with certificates to trust cannot be read; correct it in the preferences.",
                internal_message=f"{type(error).__name__}: {error}",
            ) from error
    return context


async def certificate_refused(
    host: str, port: int, addresses: Sequence[str], error: Exception
) -> CertificateRefused:
    """The sentence for the user, with the fingerprint of what the server showed."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return CertificateRefused(
            f"The certificate of {host} port {port} is not the one pinned in the preferences: its SHA-256"
            f" fingerprint is {_shown(error.got.hex())}. If the operator confirms it, pin this one instead."
            " If not, somebody may be in between.",
            internal_message=f"expected {error.expected.hex()}, got {error.got.hex()}",
        )
    reason, found = _reason(error), await _fingerprint(host, port, addresses)
    told = f" Its SHA-256 fingerprint is {found}." if found else ""
    advice = (
        f" If the operator confirms it, add {host}={found} to the pinned certificates in the preferences."
        if found
        else " Its operator has to mend it."
    )
    return CertificateRefused(
        f"The certificate of {host} port {port} is not accepted: {reason}.{told}{advice}",
        internal_message=f"{type(error).__name__}: {error}",
    )


_REASONS: Final = {  # X509_V_ERR_* of OpenSSL
    10: "it has expired",
    18: "no authority has signed it",
    19: "the authority that signed it is not known here",
    20: "the authority that signed it is not known here",
    62: "it is for another name",
    64: "it is for another address",
}


def _reason(error: Exception) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
    return _REASONS.get(code, "it cannot be verified")


async def _fingerprint(host: str, port: int, addresses: Sequence[str]) -> str:
    """What the server shows when it is asked once more; nothing is sent. "" when it cannot be had."""
    anything = ssl.create_default_context()
    anything.check_hostname = False
    anything.verify_mode = ssl.CERT_NONE
    for address in addresses:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                _, writer = await asyncio.open_connection(address, port, ssl=anything, server_hostname=host)
        except (OSError, TimeoutError) as error:
            _log.info("no certificate of %s: %s", address, error)
            continue
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True)
        writer.transport.abort()
        return _shown(hashlib.sha256(certificate).hexdigest()) if certificate else ""
    return ""


def _shown(digest: str) -> str:
    """As browsers and OpenSSL write it: AB:CD:..."""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()
