"""Which host the Node API tells clients to go to, and as which address the server is known."""

from __future__ import annotations

import ipaddress

from aiohttp import hdrs, web

from connect_helper.errors import InvalidRequest
from connect_helper.server.http.addresses import plain_address
from connect_helper.spec.hosts import clean_host


def host_of(request: web.Request, configured: str) -> str:
    """The configured name, else the one the request came to, without its port.

    Never a wildcard address such as 0.0.0.0, which a listener has and nobody can go to, and nothing that is
    no host at all: there it is the address the request arrived at (reference, 5.2).
    """
    if configured and not _is_wildcard(configured):
        return configured
    try:
        named = clean_host(_without_port(_said(request)), "Host")
    except InvalidRequest:
        return address_of(request)
    return address_of(request) if _is_wildcard(named) else named


def origin_of(request: web.Request) -> str:
    """The beginning of an address that leads here, without a slash at the end."""
    return f"{request.scheme}://{_said(request) or _arrived_at(request)}"


def _said(request: web.Request) -> str:
    """The Host header; "" where there is none. The library would make up the machine's own name then."""
    return request.headers.get(hdrs.HOST, "")


def _arrived_at(request: web.Request) -> str:
    address = address_of(request)
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    port = name[1] if isinstance(name, tuple) else 0
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def address_of(request: web.Request) -> str:
    """The address of this server that the request arrived at."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return plain_address(str(name[0])) if isinstance(name, tuple) else ""


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 else text.partition(":")[0]


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
