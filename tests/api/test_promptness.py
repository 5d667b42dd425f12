"""Pauses of the process that answers pages are short."""

from __future__ import annotations

import asyncio
import gc
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from connect_helper.api import promptness
from connect_helper.api.promptness import TURN_S, answer_promptly, collect_when_quiet


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    turn_s, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(turn_s)
    gc.set_threshold(*thresholds)
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


class Processor:
    """Says how much of its time the process took."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.looks = 0

    def used_s(self) -> float:
        self.looks += 1
        return self.looks // 2 * self.share * promptness.LOOK_S


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The looks after which a full collection was made."""
    monkeypatch.setattr(promptness, "LOOK_S", 0.001)
    monkeypatch.setattr(promptness, "PAUSE_S", 0.01)
    monkeypatch.setattr(promptness, "LONGEST_S", 0.1)
    return []


async def run_for(looks: int, processor: Processor, full: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: full.append(processor.looks // 2))
    running = asyncio.create_task(collect_when_quiet(processor.used_s))
    while processor.looks < 2 * looks:  # noqa: ASYNC110 - it is about the looks
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_quiet_process_collects_now_and_then(
    full: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_for(35, Processor(promptness.QUIET / 2), full, monkeypatch)
    assert full[:3] == [10, 20, 30]


async def test_a_busy_process_collects_at_last(full: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    await run_for(105, Processor(promptness.QUIET * 2), full, monkeypatch)
    assert full == [100]


def test_long_collections_come_by_themselves_seldom() -> None:
    answer_promptly()
    kept, seen = [], []

    def look(phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            seen.append(facts["generation"])

    gc.callbacks.append(look)
    try:
        for _ in range(200_000):
            kept.append([kept])
    finally:
        gc.callbacks.remove(look)
    assert seen.count(0) > 100
    assert 1 <= seen.count(1) <= 3
    assert seen.count(2) == 0


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
