"""What lets the process that answers pages answer at once, whatever else goes on in it.

Two habits of CPython each cost a page its time now and then: a full garbage collection stops everything while
it walks through all modules, classes and lists there are, 100 ms for the program alone; and a thread that
computes keeps the interpreter to itself for 5 ms at a time.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

TURN_S: Final = 0.0005  # that a thread computes while another one waits


def answer_promptly() -> None:
    """Make pauses short; for the whole process. Call it when what stays for ever has been made."""
    sys.setswitchinterval(TURN_S)
    gc.freeze()  # collections look at what was made since, and at nothing before
