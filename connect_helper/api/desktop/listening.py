"""The port of the desktop face: pages know one number, so a helper without it still serves all others."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import takewhile
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


def describe_desktop(port: int | None, ports: Sequence[int] = DESKTOP_PORTS) -> list[str]:
    """Sentences the user should read when `port` is not the first of `ports`; None: none of them was free.

    Looks at the system: off the loop.
    """
    first = ports[0]
    if port == first:
        return []
    below = takewhile(lambda one: one != port, ports)
    who = describe_holders(below) or [f"Port {first} was taken."]
    return [*who, f"Pages made for IBM Aspera for desktop look for port {first} and do not find this helper."]
