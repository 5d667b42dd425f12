"""The table of moves: every pair of status and move, and what the words promise to pages."""

from __future__ import annotations

import itertools

import pytest

from connect_helper.errors import WrongState
from connect_helper.transfers.state import ACTIVE, FINAL, TRANSITIONS, Move, Status, next_status

# Written out a second time on purpose (Connect reference, section 7.2): a slip in one shows in the other.
ALLOWED = {
    ("queued", "SLOT_FREE"): "initiating",
    ("initiating", "CONNECTED"): "running",
    ("initiating", "FINISHED"): "completed",
    ("initiating", "LOST"): "willretry",
    ("running", "FINISHED"): "completed",
    ("running", "LOST"): "willretry",
    ("willretry", "BACKOFF_OVER"): "initiating",
    ("willretry", "RESUME"): "queued",
    ("failed", "RESUME"): "queued",
    ("cancelled", "RESUME"): "queued",
    **{(status, "STOP"): "cancelled" for status in ("queued", "initiating", "running", "willretry")},
    **{(status, "REFUSED"): "failed" for status in ("queued", "initiating", "running", "willretry")},
    **{(status.value, "REMOVE"): "removed" for status in Status if status is not Status.REMOVED},
}


@pytest.mark.parametrize(("status", "move"), list(itertools.product(Status, Move)))
def test_every_pair_leads_where_the_reference_says_or_is_refused(status: Status, move: Move) -> None:
    expected = ALLOWED.get((status.value, move.name))
    if expected is not None:
        assert next_status(status, move) == expected
        return
    with pytest.raises(WrongState) as refusal:
        next_status(status, move)
    assert status.value in refusal.value.user_message
    assert move.name in refusal.value.internal_message


def test_every_status_has_a_row_and_an_end_holds_no_slot() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert not ACTIVE & FINAL
    assert set(Status) - ACTIVE - FINAL == {Status.QUEUED}


def test_from_everywhere_removal_can_be_reached_and_from_there_nothing() -> None:
    assert TRANSITIONS[Status.REMOVED] == {}
    for status in set(Status) - {Status.REMOVED}:
        assert next_status(status, Move.REMOVE) is Status.REMOVED
