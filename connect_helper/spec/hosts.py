"""Host names as a transfer spec may give them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from connect_helper.errors import InvalidRequest

HOST_LIMIT: Final = 253  # characters, RFC 1035
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)


def clean_host(text: str, field: str) -> str:
    """Return a host name or address in one spelling: lower case, no last dot, IPv6 without brackets.

    Names beyond ASCII become their `xn--` form, which is also what the user is asked about. Raises
    InvalidRequest saying which part is wrong: spaces, a leading hyphen, signs a shell knows, length.
    """
    host = text.lower().removesuffix(".")
    if len(host) > HOST_LIMIT:
        raise InvalidRequest(f'"{field}" is too long: at most {HOST_LIMIT} characters.', field=field)
    if host.count(":") > 1:
        return _ipv6(host, field)
    if not host.isascii():
        host = _idna(host, field)
    for label in host.split("."):
        if not _LABEL.fullmatch(label):
            raise InvalidRequest(
                f'"{field}" must be a host name or an IP address: letters, digits, hyphens and dots.',
                field=field,
            )
    return host


def _ipv6(text: str, field: str) -> str:
    try:
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        address = ipaddress.IPv6Address(bare)
    except ValueError:
        raise InvalidRequest(f'"{field}" is not a valid IPv6 address.', field=field) from None
    if address.scope_id:
        raise InvalidRequest(f'"{field}" must not name a network interface ("%").', field=field)
    return str(address)


def _idna(host: str, field: str) -> str:
    try:
        return host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise InvalidRequest(f'"{field}" is not a valid host name.', field=field) from None
