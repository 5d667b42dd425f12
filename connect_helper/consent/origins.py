"""Who asks: web origins, local programs, and the scope that owns grants and transfers.

An origin is compared whole, as (scheme, host, port); there are no patterns anywhere. What a browser would
not send as it stands is no origin.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import CallerNotIdentified

LINKS: Final = "link:"
"""The origin of all links that the desktop hands over: where they stood is not known."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)
_EXTENSION: Final = re.compile(r"(?P<scheme>(?:chrome|moz)-extension)://(?P<host>[a-z0-9-]{1,64})", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebOrigin:
    """A page's origin. `port` is the one in effect: 443 for "https://portal.example"; 0 for an extension."""

    scheme: str
    host: str  # an IPv6 address stands in brackets
    port: int

    @classmethod
    def parse(cls, header: str) -> WebOrigin:
        """Read an Origin header exactly as browsers serialise it (RFC 6454 section 6.2).

        Raises CallerNotIdentified for anything else: null, a path, a user, upper case, a default port, a
        last dot, an address in a form that browsers rewrite.
        """
        match = _ORIGIN.fullmatch(header) or _EXTENSION.fullmatch(header)
        if match is None or len(header) > 300:
            raise _unknown(header)
        parts = match.groupdict()
        origin = cls(parts["scheme"], parts["host"], _port(parts["scheme"], parts.get("port")))
        if origin.port > 65_535 or not _is_host(origin.host) or str(origin) != header:
            raise _unknown(header)
        return origin

    def __str__(self) -> str:
        """Return the header a browser sends for this origin."""
        if self.port == _DEFAULT_PORTS.get(self.scheme, 0):
            return f"{self.scheme}://{self.host}"
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the page comes from this machine. No name is looked up: `localhost` is one by RFC 6761."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the network can speak in its name."""
        return self.scheme != "http"

    @property
    def may_be_remembered(self) -> bool:
        """Whether an answer of the user may be kept for it: not for http, unless on a loopback address."""
        return self.is_secure or self.is_loopback


@dataclass(frozen=True, slots=True)
class LocalProgram:
    """A caller that is no web page. `name` is shown to the user, as "curl (pid 4711)"."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"local:{self.name}"

    @property
    def shown(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Scope:
    """Owner of grants and transfers. `app_id` is the page's own invention and proves nothing alone."""

    origin: str  # "https://portal.example", "local:curl" for a local program, or LINKS
    app_id: str


def _port(scheme: str, text: str | None) -> int:
    return int(text) if text else _DEFAULT_PORTS.get(scheme, 0)


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_canonical(host.strip("[]"))
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # browsers read such a host as an IPv4 address
        return _is_canonical(host)
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_canonical(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return str(parsed) == address or (parsed.version == 6 and _mapped_spelling(parsed) == address)


def _mapped_spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return how browsers write ::ffff:10.0.0.1, namely without dots: ::ffff:a00:1."""
    value = int(address)
    return f"::ffff:{value >> 16 & 0xFFFF:x}:{value & 0xFFFF:x}" if value >> 32 == 0xFFFF else ""


def _unknown(header: str) -> CallerNotIdentified:
    return CallerNotIdentified("Caller not identified.", internal_message=f"unusable Origin {header[:120]!r}")
