"""Which program a process runs."""

from __future__ import annotations

from pathlib import Path


def program_file(pid: int) -> str:
    """The path of the file that a process runs; "" when it cannot be told, as on anything but Linux."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""
