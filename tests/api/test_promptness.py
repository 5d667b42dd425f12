"""Pauses of the process that answers pages are short."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from connect_helper.api.promptness import TURN_S, answer_promptly


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    turn_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(turn_s)
    gc.unfreeze()


def test_collections_pass_over_what_was_there_from_the_start() -> None:
    before = len(gc.get_objects())
    answer_promptly()
    assert gc.get_freeze_count() >= before
    assert len(gc.get_objects()) < before / 100
    assert sys.getswitchinterval() == pytest.approx(TURN_S)


def test_what_is_made_later_is_collected_as_ever() -> None:
    class Ring:
        gone = 0

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            Ring.gone += 1

    answer_promptly()
    Ring()
    gc.collect()
    assert Ring.gone == 1
