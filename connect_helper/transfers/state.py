"""The state machine of a transfer: which moves exist, in one table.

Names are those page libraries know (Connect reference, section 7.2). Every change of status goes
through `next_status`; an event a state does not know is a bug or a caller's mistake, and changes nothing.

    queued -> initiating -> running -> completed | failed | cancelled
    initiating, running -> willretry -> initiating
    failed, cancelled, willretry -> queued          (resume)
    any -> removed
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Final

from connect_helper.errors import WrongState


class Status(StrEnum):
    """Status words as pages read them."""

    QUEUED = "queued"
    INITIATING = "initiating"
    RUNNING = "running"
    WILL_RETRY = "willretry"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"


class Move(Enum):
    """What can happen to a transfer."""

    SLOT_FREE = auto()
    CONNECTED = auto()
    FINISHED = auto()
    REFUSED = auto()  # an error that trying again will not mend
    LOST = auto()  # an error worth another try
    BACKOFF_OVER = auto()
    STOP = auto()  # by the user or the page
    RESUME = auto()
    REMOVE = auto()


_END: Final = {Move.STOP: Status.CANCELLED, Move.REFUSED: Status.FAILED, Move.REMOVE: Status.REMOVED}

TRANSITIONS: Final[Mapping[Status, Mapping[Move, Status]]] = {
    Status.QUEUED: {Move.SLOT_FREE: Status.INITIATING, **_END},
    Status.INITIATING: {
        Move.CONNECTED: Status.RUNNING,
        Move.LOST: Status.WILL_RETRY,
        Move.FINISHED: Status.COMPLETED,  # nothing was left to do
        **_END,
    },
    Status.RUNNING: {Move.FINISHED: Status.COMPLETED, Move.LOST: Status.WILL_RETRY, **_END},
    # It keeps its slot while it waits: at the back of the queue a bad line would starve.
    Status.WILL_RETRY: {Move.BACKOFF_OVER: Status.INITIATING, Move.RESUME: Status.QUEUED, **_END},
    Status.COMPLETED: {Move.REMOVE: Status.REMOVED},
    Status.FAILED: {Move.RESUME: Status.QUEUED, Move.REMOVE: Status.REMOVED},
    Status.CANCELLED: {Move.RESUME: Status.QUEUED, Move.REMOVE: Status.REMOVED},
    Status.REMOVED: {},
}

FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.REMOVED})
ACTIVE: Final = frozenset({Status.INITIATING, Status.RUNNING, Status.WILL_RETRY})  # these hold a slot


def next_status(status: Status, move: Move) -> Status:
    """Return the status after `move`.

    Raises WrongState, naming the present status, when the table does not know the move.
    """
    try:
        return TRANSITIONS[status][move]
    except KeyError:
        raise WrongState(
            f"The transfer is {status.value}; that is not possible now.",
            internal_message=f"{status.value} does not know {move.name}",
        ) from None
