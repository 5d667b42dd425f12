"""A long history: memory holds the recent part, and the rest is found wherever it is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from connect_helper.errors import NotFound, WrongState
from connect_helper.settings import Folders
from connect_helper.transfers import file_rows, journal, listing, upkeep
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import COMPLETES, HOLDS, OTHER, OWNER, manager, reaches, request, until

KEPT = 3
FAILS = [["connect"], ["totals", 100, 1], ["file", 0, "failed"], ["end", "failed", "auth_failed", False]]
EVERY = [status for status in Status if status is not Status.REMOVED]


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ENDED_KEPT", KEPT)
    monkeypatch.setattr(listing, "REST_S", 0.0)
    monkeypatch.setattr(upkeep, "SHELVE_S", 0.05)


async def run_all(transfers: TransferManager, scripts: list[Any], **changes: Any) -> list[Transfer]:
    made = []
    for number, script in enumerate(scripts):
        one = await transfers.submit(request(script, title=f"t{number}", request_id=f"r{number}", **changes))
        await reaches(one, *FINAL)
        made.append(one)
    return made


async def shelved(transfers: TransferManager, left: int = KEPT) -> None:
    await until(lambda: len(transfers.all()) <= left, "old ones leave memory")


def ids(transfers: list[Transfer]) -> list[str]:
    return [one.id for one in transfers]


async def pages(transfers: TransferManager, statuses: list[Status], limit: int = 2) -> list[str]:
    found: list[str] = []
    more = True
    while more:
        listed, more = await transfers.page(statuses, before=found[-1] if found else "", limit=limit)
        found += [one.transfer.id for one in listed]
    return found


async def test_a_poll_waits_for_no_disk_when_memory_has_the_answer(folders: Folders) -> None:
    async with manager(folders) as transfers:
        running = await transfers.submit(request(HOLDS))
        await reaches(running, Status.RUNNING)
        slow = threading.Event()
        try:
            writing = transfers._reports._disk.post(lambda _: slow.wait())
            async with asyncio.timeout(5):
                token, listed = await transfers.changes(OWNER, 0)
                assert (listed, await transfers.changes(OWNER, token - 1)) == ([running], (token, [running]))
        finally:
            slow.set()
        await writing


async def test_what_a_full_disk_did_not_take_is_listed_also_when_it_leaves_memory_as_it_is_kept(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SHELVE_S", 3600.0)

    async def refuses(word: str) -> None:
        disk = transfers._journal._disk
        await disk.read(lambda connection: connection.execute(f"PRAGMA query_only = {word}").close())

    async with manager(folders, concurrent_transfers=5) as transfers:
        made = [await transfers.submit(request(HOLDS)) for _ in range(5)]
        for one in made:
            await reaches(one, Status.RUNNING)
        await refuses("ON")
        for one in made:
            await transfers.stop(one.id)
        await refuses("OFF")
        await asyncio.gather(transfers._list.shelve(), transfers._list.keep_missed())
        await transfers._list.shelve()
        assert len(transfers.all()) == KEPT
        assert await pages(transfers, EVERY) == ids(made)[::-1]


async def test_memory_holds_what_runs_and_the_newest_of_the_rest(folders: Folders) -> None:
    async with manager(folders) as transfers:
        running = await transfers.submit(request(HOLDS))
        await reaches(running, Status.RUNNING)
        made = await run_all(transfers, [COMPLETES, FAILS, COMPLETES, COMPLETES, FAILS, COMPLETES])
        await shelved(transfers, KEPT + 1)
        assert ids(transfers.all()) == [running.id, *ids(made[3:])]
        assert transfers.counts() == {Status.RUNNING: 1, Status.COMPLETED: 4, Status.FAILED: 2}
        newest_first = [*reversed(ids(made)), running.id]
        assert await pages(transfers, EVERY) == newest_first
        assert await pages(transfers, [Status.FAILED]) == ids([made[4], made[1]])
        with pytest.raises(NotFound):
            transfers.get(made[0].id)
        old = await transfers.look(made[0].id, owner=OWNER)
        assert (old.transfer.title, old.transfer.files[0].state) == ("t0", "done")
        assert old.transfer.iteration_token == made[0].iteration_token
        assert (await transfers.look(made[1].xfer_id)).transfer.id == made[1].id
        with pytest.raises(NotFound):
            await transfers.look(made[0].id, owner=OTHER)
        assert len(transfers.all()) == KEPT + 1  # who looks brings nothing back
    async with manager(folders) as transfers:
        assert ids(transfers.all()) == [running.id, *ids(made[3:])]
        assert await pages(transfers, EVERY) == newest_first


async def test_a_page_with_a_new_list_gets_the_newest(folders: Folders) -> None:
    async with manager(folders) as transfers:
        mine = await run_all(transfers, [COMPLETES] * 5)
        await shelved(transfers)
        assert ids((await transfers.changes(OWNER, 0))[1]) == ids(mine[2:])
        foreign = await run_all(transfers, [COMPLETES] * 4, owner=OTHER)
        await shelved(transfers)
        await until(lambda: not {one.id for one in transfers.all()} & {one.id for one in mine})
        # What others do takes nothing from this page's list.
        assert ids((await transfers.changes(OWNER, 0))[1]) == ids(mine[2:])
        assert ids((await transfers.changes(OTHER, 0))[1]) == ids(foreign[1:])


async def test_a_page_that_was_away_hears_of_every_end(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "TOLD_AT_ONCE", 2)
    async with manager(folders) as transfers:
        first = await transfers.submit(request(COMPLETES))
        await reaches(first, Status.COMPLETED)
        token, _ = await transfers.changes(OWNER, 0)
        made = await run_all(transfers, [COMPLETES] * 8)
        await transfers.remove(made[7].id)
        await run_all(transfers, [COMPLETES], owner=OTHER)
        await shelved(transfers)
        heard: list[Transfer] = []
        polls = 0
        while True:
            newer, changed = await transfers.changes(OWNER, token)
            heard += changed
            polls += 1
            assert newer >= token
            if newer == token:
                break
            token = newer
        assert sorted(ids(heard)) == sorted(ids(made))  # each once
        assert [one.id for one in heard if one.status is Status.REMOVED] == [made[7].id]
        assert polls > 3


async def test_what_is_shelved_can_be_resumed_and_removed(folders: Folders) -> None:
    async with manager(folders) as transfers:
        failed = await transfers.submit(request(FAILS, COMPLETES))
        await reaches(failed, Status.FAILED)
        done = (await run_all(transfers, [COMPLETES] * 4))[0]
        await shelved(transfers)
        assert failed.id not in ids(transfers.all())
        token, _ = await transfers.changes(OWNER, 0)
        with pytest.raises(WrongState):
            await transfers.resume(done.id)
        one = await transfers.fetch(failed.id)
        assert transfers.needs_login(one.id)  # a secret does not outlive its transfer's place in memory
        assert transfers.all()[0] is one  # in order of submission
    async with manager(folders) as transfers:
        await transfers.remove(failed.id, owner=OWNER)
        newer, changed = await transfers.changes(OWNER, token)
        assert newer > token
        assert failed.id in ids([one for one in changed if one.status is Status.REMOVED])
        assert failed.id not in await pages(transfers, EVERY)
        await transfers.remove(failed.id, owner=OWNER)
        with pytest.raises(NotFound):
            await transfers.look(failed.id)


async def test_a_shelved_transfer_goes_on_and_is_in_memory_again(folders: Folders) -> None:
    async with manager(folders) as transfers:
        failed = await transfers.submit(request(FAILS, HOLDS, secret=False))
        await reaches(failed, Status.FAILED)
        await run_all(transfers, [COMPLETES] * 4)
        await shelved(transfers)
        token, _ = await transfers.changes(OWNER, 0)
        again = await transfers.resume(failed.id)
        await reaches(again, Status.RUNNING)
        assert again.id == failed.id
        assert failed.id in ids((await transfers.changes(OWNER, token))[1])
        assert transfers.counts()[Status.FAILED] == 0
    async with manager(folders) as transfers:  # the journal knows that it is not over
        await reaches(transfers.get(failed.id), Status.RUNNING)


async def test_a_replay_of_an_old_start_and_an_old_id_are_known(folders: Folders) -> None:
    async with manager(folders) as transfers:
        made = await run_all(transfers, [COMPLETES] * 5)
        await shelved(transfers)
        again = await transfers.submit(request(COMPLETES, request_id="r0"))
        assert again.id == made[0].id
        other = await transfers.submit(request(COMPLETES, xfer_id=made[1].id))
        assert other.id != made[1].id
        assert (await transfers.look(made[1].id, exact_first=True)).transfer.title == "t1"


async def test_two_who_act_on_a_shelved_transfer_act_on_one(folders: Folders) -> None:
    async with manager(folders) as transfers:
        made = await run_all(transfers, [COMPLETES] * 5)
        await shelved(transfers)
        both = await asyncio.gather(*(transfers.fetch(made[0].id) for _ in range(2)))
        assert both[0] is both[1]
        assert ids(transfers.all()).count(made[0].id) == 1
        await shelved(transfers)
        assert sum(transfers.counts().values()) == 5


async def test_many_files_count_as_many_transfers(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ENDED_KEPT", 1_000)
    monkeypatch.setattr(listing, "ENDED_REPORTS", 25)
    many = [["connect"], ["files", 0, 10, "done"], ["end", "completed", "", False]]
    async with manager(folders) as transfers:
        made = await run_all(transfers, [many] * 5)
        await until(lambda: len(transfers.all()) == 2, "files fit")
        assert ids(transfers.all()) == ids(made[3:])
        first = await transfers.look(made[0].id)
        assert len(first.transfer.files) == 10


async def test_every_file_is_kept_and_goes_with_its_transfer(folders: Folders) -> None:
    some = [["connect"], ["files", 0, 2_500, "done"], ["file", 2_500, "failed"], ["file", 2_501, "running"]]
    async with manager(folders) as transfers:
        one = await transfers.submit(request([*some, ["hold"]]))
        await until(lambda: one.counts.attempted == 2_502)
        listed = await transfers.look(one.id)
        page = await transfers.files(listed, limit=10)
        assert [report.index for report in page.under_way] == [2_501]
        assert [report.index for report in page.reports] == list(range(2_500, 2_490, -1))
        assert page.before == 2_491
        assert (await transfers.files(listed, ("running",), limit=10)).reports == []
        await transfers.stop(one.id)
        page = await transfers.files(await transfers.look(one.id), limit=1)
        assert (page.under_way, [report.state for report in page.reports]) == ([], ["running"])
        found = [report async for batch in transfers.every_file(listed) for report in batch]
        assert len(found) == 2_502
        await transfers.remove(one.id)
        reports, position = transfers._reports, listed.position
        async with asyncio.timeout(20):
            while (await reports.page(position, ("done", "failed"), before=None, limit=1)).reports:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_clearing_takes_the_old_ones_too(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "REMOVALS_KEPT", 4)
    monkeypatch.setattr(listing, "REMOVALS_KEPT", 4)
    async with manager(folders) as transfers:
        made = await run_all(transfers, [COMPLETES] * 9 + [FAILS])
        await shelved(transfers)
        token, _ = await transfers.changes(OWNER, 0)
        assert await transfers.clear_completed() == 9
        assert transfers.counts() == {Status.FAILED: 1}
        assert await pages(transfers, EVERY) == [made[-1].id]
        _, told = await transfers.changes(OWNER, token)
        assert len({one.id for one in told}) == 4  # so many removals are remembered
        assert {one.status for one in told} == {Status.REMOVED}
        assert await transfers.clear_completed() == 0
    async with manager(folders) as transfers:
        assert await pages(transfers, EVERY) == [made[-1].id]
        async with asyncio.timeout(10):
            while len(await transfers._reports._disk.read(file_rows.transfers)) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
