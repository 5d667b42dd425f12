"""A page's poll has to do with the transfers of that page alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers.arrivals import arrived
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.entry import Entry
from connect_helper.transfers.file_reports import FileReports
from connect_helper.transfers.journal import Journal
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.owned import ByOwner
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner, Transfer
from tests.support.managing import OTHER, OWNER, request


def entry(number: int, owner: Owner = OWNER, status: Status = Status.RUNNING) -> Entry:
    made = arrived(request(owner=owner), transfer_id=f"t{number}", position=number, now=1.7e9)
    made.transfer.status = status
    return made


@pytest.fixture
async def transfers(folders: Folders) -> AsyncIterator[TransferList]:
    folders.create()
    journal, reports = Journal(folders.state), FileReports(folders.state)
    loaded = await journal.open()
    await reports.open()
    one = TransferList(journal, reports, Clock())
    await one.load(loaded)
    yield one
    await reports.close()
    await journal.close()


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each time that two owners were told apart."""
    seen: list[object] = []
    alike = Owner.__eq__

    def noted(self: Owner, other: object) -> bool:
        seen.append(other)
        return alike(self, other)

    monkeypatch.setattr(Owner, "__eq__", noted)
    return seen


def ids(some: list[Transfer]) -> list[str]:
    return [one.id for one in some]


async def test_what_others_have_costs_a_poll_nothing(
    transfers: TransferList, comparisons: list[object]
) -> None:
    for number in range(30):
        await transfers.admit(entry(number, OTHER, Status.COMPLETED if number % 2 else Status.RUNNING))
    await transfers.admit(entry(30))
    token, _ = await transfers.changes(OTHER, 0)
    await transfers.admit(entry(31))
    comparisons.clear()
    page = Owner(OWNER.origin, OWNER.app_id)  # another object in each request
    assert ids((await transfers.changes(page, 0))[1]) == ["t30", "t31"]
    assert ids((await transfers.changes(page, token))[1]) == ["t31"]
    assert ids((await transfers.changes(page, 1))[1]) == ["t30", "t31"]
    assert len(comparisons) <= 10


def test_one_that_comes_back_stands_where_it_did() -> None:
    mine, entries = ByOwner(), [entry(number) for number in range(4)]
    for token, number in enumerate([0, 3, 2], start=1):
        mine.take(entries[number])
        entries[number].transfer.iteration_token = 10 * token
        mine.stamped(entries[number].transfer)
    entries[1].transfer.iteration_token = 15
    mine.take(entries[1])
    mine.restore_order(entries[1])
    assert list(mine.of(OWNER).news) == ["t0", "t1", "t3", "t2"]
    in_order = [one.position for one in mine.of(OWNER).entries.values()]
    assert in_order == sorted(in_order)


def test_nothing_is_left_of_an_owner_after_their_last_transfer() -> None:
    mine, one, foreign = ByOwner(), entry(0, status=Status.FAILED), entry(1, OTHER)
    for each in (one, foreign):
        mine.take(each)
        mine.settle(each.transfer)
        mine.stamped(each.transfer)
    assert (mine.of(OWNER).over, mine.of(OTHER).over) == ({"t0"}, set())
    mine.drop(one.transfer)
    mine.drop(one.transfer)
    mine.settle(one.transfer)  # a change that was under way
    mine.stamped(one.transfer)
    assert list(mine._owned) == [OTHER]
    assert list(mine.of(OTHER).news) == ["t1"]
    foreign.transfer.status = Status.FAILED
    mine.settle(foreign.transfer)
    foreign.transfer.status = Status.QUEUED
    mine.settle(foreign.transfer)
    assert mine.of(OTHER).over == set()
