"""What a session tells of its files, and how much of it while many are under way."""

from __future__ import annotations

import pytest

from connect_helper.transfers.messages import Event, FileReport, Progress, Question
from connect_helper.transfers.report import SHOWN, Outcome, Reporter


class Told:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def tell(self, event: Event) -> None:
        self.events.append(event)

    async def ask(self, question: Question) -> bool:
        raise AssertionError("nothing is asked here")

    def running(self) -> list[int]:
        return [one.index for one in self.events if isinstance(one, FileReport) and one.state == "running"]


@pytest.fixture
def told() -> Told:
    return Told()


async def test_of_very_many_files_only_those_shown_are_told_of_as_they_begin(told: Told) -> None:
    reporter = Reporter(told)
    trackers = [await reporter.start(f"/{number}", f"/{number}", 10) for number in range(3 * SHOWN)]
    assert told.running() == list(range(SHOWN))

    for tracker in trackers[:SHOWN]:
        await reporter.end(tracker, Outcome("done"))
    await reporter.beat()
    progress = told.events[-1]
    assert isinstance(progress, Progress)
    assert [one.index for one in progress.current] == list(range(SHOWN, 2 * SHOWN))  # it is their turn

    for tracker in trackers[SHOWN:]:
        await reporter.end(tracker, Outcome("done"))
    ended = [one.index for one in told.events if isinstance(one, FileReport) and one.state == "done"]
    assert ended == list(range(3 * SHOWN))


async def test_one_that_waits_for_others_is_not_among_those_under_way(told: Told) -> None:
    reporter = Reporter(told)
    waits, moves = [await reporter.start(f"/{number}", f"/{number}", 10) for number in range(2)]
    reporter.wait(waits)
    await reporter.beat()
    progress = told.events[-1]
    assert isinstance(progress, Progress)
    assert [one.index for one in progress.current] == [moves.index]
    await reporter.end(waits, Outcome("done"))
    ended = told.events[-1]
    assert isinstance(ended, FileReport)
    assert (ended.index, ended.state, ended.bytes_written) == (waits.index, "done", 10)
