"""A network of their own for the tests of one process: its loopback has all ports free.

Pages look for the helper on fixed ports, so test processes that run side by side each need a network. Linux
gives them one (a network namespace) where the tests run as root, and not in most unprivileged containers.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
SIOCSIFFLAGS = 0x8914  # <linux/sockios.h>
IFF_UP = 1  # <linux/if.h>
OWN_NAMESPACE = Path("/proc/self/ns/net")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def leave_the_shared_network() -> bool:
    """Move this thread, and all that it starts from now on, to a network with nothing but loopback.

    Call it in the main thread, before there are others that use the network. Returns False, with nothing
    changed, where the system has or allows no such thing.
    """
    if not sys.platform.startswith("linux"):
        return False
    system = ctypes.CDLL(None, use_errno=True)
    with OWN_NAMESPACE.open() as before:
        if system.unshare(CLONE_NEWNET) != 0:
            return False
        try:
            _start_loopback()
            RESERVED.write_text("33003-33029")  # for the helper: no other server of a test lands there
        except OSError:
            if system.setns(before.fileno(), CLONE_NEWNET) != 0:
                raise
            return False
    return True


def _start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
