"""What lets the process that answers pages answer at once, whatever else goes on in it.

Three habits each cost a page its time now and then: a full garbage collection stops everything while it
walks through all modules, classes and lists there are, 100 ms for the program alone; a thread that computes
keeps the interpreter to itself for 5 ms at a time; and the C library gives the megabytes of a long answer
back to the system, so that the next one comes into fresh pages, at up to 1 ms a copy.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

from connect_helper.collector import keep_memory

TURN_S: Final = 0.0005  # that a thread computes while another one waits


def answer_promptly() -> None:
    """Make pauses short; for the whole process. Call it when what stays for ever has been made."""
    sys.setswitchinterval(TURN_S)
    keep_memory()
    gc.freeze()  # collections look at what was made since, and at nothing before
