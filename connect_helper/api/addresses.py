"""From a host name to the addresses that will be used, and what kind of addresses they are."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from connect_helper.errors import HostNotFound

RESOLVE_LIMIT_S = 15.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return the numeric addresses of `host`, in the order the system prefers.

    Whoever connects afterwards uses these and looks nothing up again, so that the address the user
    was asked about is the address that is used. Raises HostNotFound.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_LIMIT_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise HostNotFound(
            f"The server {host} cannot be found. Check the name and your network.",
            internal_message=f"resolving failed: {type(error).__name__}",
        ) from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return embedded or address


def describe_nearness(addresses: tuple[str, ...]) -> str:
    """A sentence about addresses that are not on the public internet, "" when all are public."""
    for text in addresses:
        address = _meant(ipaddress.ip_address(text.split("%", 1)[0]))
        if address.is_loopback:
            return f"{text} is this computer itself."
        if address.is_link_local:
            return f"{text} is an address of this local link only."
        if address.is_multicast or not address.is_global or getattr(address, "is_site_local", False):
            return f"{text} is a private address, in a network you are connected to."
    return ""
