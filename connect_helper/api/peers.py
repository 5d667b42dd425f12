"""Who is at the other end of a loopback connection: the account, and the program, as the kernel knows them.

Only Linux tells this without privileges, in /proc/net/tcp and, for peers that reach 127.0.0.1 through an
IPv6 socket, in /proc/net/tcp6; elsewhere the answer is "unknown".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import Refused
from connect_helper.picking.processes import program_file

Address = tuple[str, int]
Connection = tuple[Address, Address]  # the other end, and ours

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"  # state of a socket in the kernel's table
_MAPPED: Final = "0000000000000000FFFF0000"  # before an IPv4 address in the table of IPv6 sockets
_OWN_UID: Final = os.getuid() if hasattr(os, "getuid") else None
LOOK_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Peer:
    """The account behind a socket. An orphaned socket, whose program has closed it, has inode 0."""

    uid: int
    inode: int


async def require_own_account(transport: asyncio.BaseTransport | None) -> None:
    """Refuse a connection whose other end is not a live socket of our own account.

    Where the kernel tells nothing, everybody on this computer passes. Raises Refused.
    """
    if _OWN_UID is None or transport is None:
        return
    own, other = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if own is None or other is None or not await asyncio.to_thread(_is_foreign, other, own):
        return
    await asyncio.sleep(LOOK_AGAIN_S)  # the table is no snapshot: a socket may be missed once
    if await asyncio.to_thread(_is_foreign, other, own):
        raise Refused("This helper belongs to another user of this computer.")


def _is_foreign(other: Address, own: Address) -> bool:
    if find_peer(own, other) is None:
        return False  # not even our own end is shown: this system does not tell
    peer = find_peer(other, own)
    return peer is None or not peer.inode or peer.uid != _OWN_UID


def find_peer(peer: Address, own: Address) -> Peer | None:
    """Look a socket up by its own address `peer` and the one it is connected to; None when not found."""
    local, remote = _kernel_forms(peer), _kernel_forms(own)
    for columns in _sockets():
        if columns[1] in local and columns[2] in remote:
            return Peer(uid=int(columns[7]), inode=int(columns[9]))
    return None


def connection_of(transport: asyncio.BaseTransport | None) -> Connection | None:
    """Both ends of a connection that is open."""
    if transport is None:
        return None
    other, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return (other, own) if other and own else None


def find_program_file(connection: Connection | None) -> str:
    """The file of the program at the other end; "" where that cannot be told.

    Walks /proc, so call it off the event loop.
    """
    peer = find_peer(*connection) if connection is not None else None
    found = find_program(peer.inode) if peer is not None and peer.inode else None
    return program_file(found[1]) if found is not None else ""


def find_listener(port: int) -> Peer | None:
    """Who listens on a port of 127.0.0.1 or of all addresses; None when nobody does or nobody tells."""
    forms = {*_kernel_forms(("127.0.0.1", port)), *_kernel_forms(("0.0.0.0", port))}  # noqa: S104 - looked for
    forms.add(f"{'0' * 32}:{port:04X}")
    for columns in _sockets():
        if columns[1] in forms and columns[3] == _LISTENING:
            return Peer(uid=int(columns[7]), inode=int(columns[9]))
    return None


def _sockets() -> Iterator[list[str]]:
    for name in ("tcp", "tcp6"):
        try:
            table = (_PROC / "net" / name).read_text(encoding="ascii")
        except OSError:
            continue
        yield from (line.split() for line in table.splitlines()[1:])


def _kernel_forms(address: Address) -> tuple[str, str]:
    """ "127.0.0.1", 33003 as the kernel prints it: "0100007F:80EB", and as seen by an IPv6 socket."""
    octets = bytes(int(part) for part in address[0].split("."))
    plain = f"{int.from_bytes(octets, 'little'):08X}:{address[1]:04X}"
    return plain, _MAPPED + plain


def find_program(inode: int) -> tuple[str, int] | None:
    """Name and process id of the program that holds the socket; None when it cannot be told.

    Walks /proc, so call it off the event loop.
    """
    target = f"socket:[{inode}]"
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            held = any(_link(entry) == target for entry in (folder / "fd").iterdir())
            if held:
                return (folder / "comm").read_text(errors="replace").strip(), int(folder.name)
        except OSError:  # another account's process, or one that just ended
            continue
    return None


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""
