"""Who is at the other end of a loopback connection: the account, and the program, as the kernel knows them.

Only Linux tells this without privileges (/proc/net/tcp); elsewhere the answer is "unknown".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"  # state of a socket in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Peer:
    """The account and, when asked for, the program behind a connection."""

    uid: int
    inode: int  # of the peer's socket


def find_peer(peer: tuple[str, int], own: tuple[str, int]) -> Peer | None:
    """Look the peer's socket up by its two addresses; None when the kernel does not tell."""
    try:
        table = (_PROC / "net" / "tcp").read_text(encoding="ascii")
    except OSError:
        return None
    local, remote = _kernel_form(peer), _kernel_form(own)
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[1] == local and columns[2] == remote:
            return Peer(uid=int(columns[7]), inode=int(columns[9]))
    return None


def find_listener(port: int) -> Peer | None:
    """Who listens on a port of 127.0.0.1 or of all addresses; None when nobody does or nobody tells."""
    try:
        table = (_PROC / "net" / "tcp").read_text(encoding="ascii")
    except OSError:
        return None
    addresses = {_kernel_form(("127.0.0.1", port)), _kernel_form(("0.0.0.0", port))}  # noqa: S104 - looked for
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[1] in addresses and columns[3] == _LISTENING:
            return Peer(uid=int(columns[7]), inode=int(columns[9]))
    return None


def _kernel_form(address: tuple[str, int]) -> str:
    """ "127.0.0.1", 33003 as the kernel prints it: "0100007F:80EB"."""
    octets = bytes(int(part) for part in address[0].split("."))
    return f"{int.from_bytes(octets, 'little'):08X}:{address[1]:04X}"


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
