"""What lets the process that answers pages answer at once, whatever else goes on in it.

Three habits each cost a page its time now and then: a garbage collection stops everything while it walks
through what there is; a thread that computes keeps the interpreter to itself for 5 ms at a time; and the C
library gives the megabytes of a long answer back to the system, so that the next one comes into fresh pages,
at up to 1 ms a copy.

A full collection takes 100 ms for the program alone and as much for thousands of transfers, so it is left to
quiet moments and to what was made since the start. One of what is neither new nor old takes 2 to 8 ms with a
thousand transfers running, and came once a second.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

from connect_helper.collector import keep_memory

TURN_S: Final = 0.0005  # that a thread computes while another one waits
# A collection of what is new looks at 700 objects, one of the middle at all that outlived those: with much
# running that is what was reported in the last second, and hardly any of it is garbage.
LESS_OFTEN: Final = 100  # collections of what is new, before one of the middle
SELDOM: Final = 30  # collections of the middle, before Python makes a full one by itself
LOOK_S: Final = 2.0  # how often it is looked whether the process is quiet
QUIET: Final = 0.02  # of a processor's time, at most
PAUSE_S: Final = 60.0  # between two full collections, at least
LONGEST_S: Final = 900.0  # without a quiet moment


def answer_promptly() -> None:
    """Make pauses short; for the whole process. Call it when what stays for ever has been made."""
    sys.setswitchinterval(TURN_S)
    keep_memory()
    gc.freeze()  # collections look at what was made since, and at nothing before
    if sys.version_info < (3, 14):  # later ones collect in small steps, and mean something else by these
        often, _, _ = gc.get_threshold()
        gc.set_threshold(often, LESS_OFTEN, SELDOM)


async def collect_when_quiet(used_s: Callable[[], float] = time.process_time) -> None:
    """Make full collections when there is little else to do. Runs until cancelled.

    `used_s` tells the processor seconds of this process so far.
    """
    waited_s = 0.0
    while True:
        before = used_s()
        await asyncio.sleep(LOOK_S)
        waited_s += LOOK_S
        quiet = used_s() - before < QUIET * LOOK_S
        if (quiet and waited_s >= PAUSE_S) or waited_s >= LONGEST_S:
            gc.collect()
            waited_s = 0.0
