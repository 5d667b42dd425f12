"""connect-helper: moves big files between this computer and a server for web pages.

The Python interface, which needs no running helper:

    from connect_helper import send, receive

    result = send("film.mov", "ssh://ana@server.example/in", key="~/.ssh/id_ed25519")
"""

from connect_helper.client.interface import areceive, asend, receive, send
from connect_helper.client.results import FileProgress, Progress, Receipt, Result, TransferFailed
from connect_helper.client.settling import Options
from connect_helper.errors import ConnectHelperError
from connect_helper.transfers.plan import Policies
from connect_helper.version import __version__

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
