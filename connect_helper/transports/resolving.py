"""From a host name to the addresses that will be used."""

from __future__ import annotations

import asyncio
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
