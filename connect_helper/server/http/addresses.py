"""Addresses of both ends of a connection, written as people and firewalls write them."""

from __future__ import annotations

import ipaddress

from aiohttp import web


def client_address(request: web.Request) -> str:
    """Where a request comes from, as SSH tells it too; empty where the connection is gone.

    A client is known by its address (its failed logins, its share of the limits, a rate that was set), and
    must not be another one over HTTP because a socket of IPv6 takes the calls of IPv4 there.
    """
    return plain_address(request.remote or "")


def plain_address(text: str) -> str:
    """An address without its interface; one of IPv4 as such, also where a socket of IPv6 took the call."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
