"""Lets the server have a say in the choice of the cipher.

In SSH the first name of the *client's* list that the server offers too is taken (RFC 4253 section 7.1), and
OpenSSH's client lists AES-CTR before AES-GCM, which costs a server twice as much for each byte. So the list
offered to OpenSSH is written after its own has been read: with GCM in it, only GCM is offered, and a client
set to CTR alone still gets that. OpenSSH sends its list without waiting for ours; others may wait, and are
sent everything at once. This needs a look into the SSH library; where it does not fit, nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final

_log = logging.getLogger(__name__)
_NEEDED: Final = ("_send_kexinit", "_kexinit_sent", "_client_kexinit", "_enc_algs", "_session_id")
_LISTS: Final = 17  # bytes before the lists of a KEXINIT: its type and the cookie


def prefer(connection: Any, ciphers: Collection[str]) -> None:
    """Offer only `ciphers` to an OpenSSH client that speaks one of them both ways."""
    if not all(hasattr(connection, name) for name in _NEEDED):
        _log.info("the client chooses the cipher: the SSH library is another than expected")
        return
    library = connection._send_kexinit

    def send() -> None:
        first = not connection._session_id
        if first and not connection._client_kexinit and _is_openssh(connection):
            # The library notes right after this call that the list was sent; it will be, once theirs is read.
            asyncio.get_running_loop().call_soon(setattr, connection, "_kexinit_sent", False)
            return
        if first and _speaks(connection._client_kexinit, ciphers):
            connection._enc_algs = [name.encode() for name in ciphers]
        library()

    connection._send_kexinit = send


def _is_openssh(connection: Any) -> bool:
    return str(connection.get_extra_info("client_version", "")).startswith("SSH-2.0-OpenSSH_")


def _speaks(kexinit: bytes, ciphers: Collection[str]) -> bool:
    """Tell whether a client's KEXINIT has one of `ciphers` for each direction."""
    lists = _name_lists(kexinit)
    wanted = {name.encode() for name in ciphers}
    return len(lists) == 4 and bool(wanted & lists[2]) and bool(wanted & lists[3])


def _name_lists(kexinit: bytes) -> list[set[bytes]]:
    """Key exchanges, host keys, ciphers to the server, ciphers to the client; fewer from a broken one."""
    lists: list[set[bytes]] = []
    at = _LISTS
    while len(lists) < 4 and at + 4 <= len(kexinit):
        end = at + 4 + int.from_bytes(kexinit[at : at + 4], "big")
        lists.append(set(kexinit[at + 4 : end].split(b",")))
        at = end
    return lists
