"""The port of the desktop face: pages know one number, so a helper without it still serves all others."""

from __future__ import annotations

import socket
from typing import Final

from connect_helper.api.desktop.messages import failure
from connect_helper.api.listening import (
    DESKTOP_PORTS,
    TOO_MANY_CONNECTIONS,
    bind_first_free,
    describe_holders,
)
from connect_helper.errors import TooManyRequests, Unavailable

CROWDED: Final = failure(None, TooManyRequests(TOO_MANY_CONNECTIONS, retry_after=5))


def bind_desktop() -> socket.socket | None:
    """The first free of its ports; None when all are taken."""
    try:
        return bind_first_free(DESKTOP_PORTS)
    except Unavailable:
        return None


def describe_desktop(sock: socket.socket | None) -> list[str]:
    """Sentences the user should read when it is not the first port. Looks at the system: off the loop."""
    first = DESKTOP_PORTS.start
    if sock is not None and sock.getsockname()[1] == first:
        return []
    below = range(first, sock.getsockname()[1] if sock is not None else DESKTOP_PORTS.stop)
    who = describe_holders(below) or [f"Port {first} is taken."]
    return [*who, f"Pages made for IBM Aspera for desktop look for port {first} and do not find this helper."]
