"""Pauses of the process that answers pages are short."""

from __future__ import annotations

import gc
import platform
import subprocess
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they like")
def test_long_answers_come_into_memory_that_is_there() -> None:
    """In a process of its own: what others have given back before decides how it goes."""
    lines = (
        "import resource",
        "from connect_helper.api.promptness import answer_promptly",
        "answer_promptly()",
        "parts = [b'x' * 1_000] * 1_000",
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
        "for _ in range(50):",
        "    text = b','.join(parts)",
        "    sent = b'head' + text",
        "    waiting = bytearray(sent)",
        "    del text, sent, waiting",
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
    )
    faults = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, check=True)
    assert int(faults.stdout) < 2_500  # 700 pages each time else
