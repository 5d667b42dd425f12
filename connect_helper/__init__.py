"""connect-helper: moves big files between this computer and a server for web pages.

The Python interface, which needs no running helper:

    from connect_helper import send, receive

    result = send("film.mov", "ssh://ana@server.example/in", key="~/.ssh/id_ed25519")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from connect_helper.version import __version__

if TYPE_CHECKING:
    from connect_helper.client.interface import areceive, asend, receive, send
    from connect_helper.client.results import FileProgress, Progress, Receipt, Result, TransferFailed
    from connect_helper.client.settling import Options
    from connect_helper.errors import ConnectHelperError
    from connect_helper.transfers.plan import Policies

__all__ = [
    "ConnectHelperError",
    "FileProgress",
    "Options",
    "Policies",
    "Progress",
    "Receipt",
    "Result",
    "TransferFailed",
    "__version__",
    "areceive",
    "asend",
    "receive",
    "send",
]

_PLACES: Final = {
    "ConnectHelperError": "connect_helper.errors",
    "FileProgress": "connect_helper.client.results",
    "Options": "connect_helper.client.settling",
    "Policies": "connect_helper.transfers.plan",
    "Progress": "connect_helper.client.results",
    "Receipt": "connect_helper.client.results",
    "Result": "connect_helper.client.results",
    "TransferFailed": "connect_helper.client.results",
    "areceive": "connect_helper.client.interface",
    "asend": "connect_helper.client.interface",
    "receive": "connect_helper.client.interface",
    "send": "connect_helper.client.interface",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: every worker and command imports this package and needs little of it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
