"""The standard streams of a command, made fit for what it writes and reads, whoever started it."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

_MODES: Final = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare_streams() -> None:
    """Call it once, before anything is opened.

    A stream that is closed (`>&-`) leads nowhere then: else its number would go to the next file or
    connection, and into that what is written there. A letter that the encoding of the output does not have is
    shown as "?", and what cannot be read as text is for who asked for it to refuse.
    """
    for number, (name, mode) in enumerate(_MODES.items()):
        if getattr(sys, name) is None:
            _fill(number)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
            setattr(sys, name, stream)
    output = sys.stdout
    if isinstance(output, io.TextIOWrapper) and output.encoding.lower() not in ("utf-8", "utf8"):
        output.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def _fill(number: int) -> None:
    """Give a number of a file that is not open to one that holds nothing."""
    try:
        os.fstat(number)
    except OSError:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)
        os.set_inheritable(number, True)
