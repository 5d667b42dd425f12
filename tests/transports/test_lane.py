"""One connection: how much may wait to leave."""

from __future__ import annotations

from typing import Any, cast

import pytest

from connect_helper.transports.lane import LARGEST_BLOCK, WAITING, Lane
from connect_helper.transports.sftp_wire import Limits


class Wire:
    """A session on which so many bytes wait."""

    def __init__(self, largest: int) -> None:
        self.limits = Limits(largest, largest)
        self.owed = 1
        self.waiting = 0
        self.on_answer = lambda: None


@pytest.mark.parametrize("largest", [32 * 1024, 255 * 1024, LARGEST_BLOCK, 4 * LARGEST_BLOCK])
def test_the_next_block_need_not_wait_for_the_one_before_to_be_answered(largest: int) -> None:
    wire = Wire(largest)
    lane = Lane(cast("Any", None), cast("Any", wire))
    lane.window.size = 16 * LARGEST_BLOCK
    lane.on_way = wire.waiting = min(largest, LARGEST_BLOCK)
    assert lane.has_room
    wire.waiting = max(WAITING, 2 * LARGEST_BLOCK)
    assert not lane.has_room
