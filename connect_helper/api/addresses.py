"""From a host name to the addresses that will be used, and what kind of addresses they are."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from connect_helper.errors import HostNotFound

RESOLVE_LIMIT_S = 15.0


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


def describe_nearness(addresses: tuple[str, ...]) -> str:
    """A sentence about addresses that are not on the public internet, "" when all are public."""
    for text in addresses:
        address = ipaddress.ip_address(text.split("%", 1)[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if address.is_loopback:
            return f"{text} is this computer itself."
        if address.is_link_local:
            return f"{text} is an address of this local link only."
        if not address.is_global:
            return f"{text} is a private address, in a network you are connected to."
    return ""
