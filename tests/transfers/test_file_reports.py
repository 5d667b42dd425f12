"""The files of transfers on disk: all of them, by page, and none of a removed transfer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers import file_reports, file_rows
from connect_helper.transfers.file_reports import FILE_NAME, FileReports
from connect_helper.transfers.file_rows import SCHEMA, STATES
from connect_helper.transfers.messages import FileReport
from tests.support.policies import Trip, plant


def report(index: int, state: Any = "done", **changes: Any) -> FileReport:
    facts: dict[str, Any] = {"path": f"/a\udcff/{index}", "remote_path": f"b/{index}"}
    facts |= {"bytes_expected": 2**53, "bytes_written": 1, "state": state, **changes}
    return FileReport(index=index, **facts)


@asynccontextmanager
async def opened(folders: Folders) -> AsyncIterator[FileReports]:
    reports = FileReports(folders.state)
    await reports.open()
    try:
        yield reports
    finally:
        await reports.close()


async def kept(reports: FileReports, transfer: int, states: Iterable[str] = STATES) -> list[FileReport]:
    return [one async for batch in reports.every(transfer, list(states)) for one in batch]


async def test_a_report_survives_as_it_was(folders: Folders) -> None:
    told = report(4, "failed", code="disk_full", error_code=48, message="Full.", proof="", digest="")
    proved = report(5, proof="digest", digest="sha-256:00ff")
    async with opened(folders) as reports:
        reports.put(7, told)
        reports.put(7, proved)
    async with opened(folders) as reports:
        assert await kept(reports, 7) == [proved, told]
        assert await kept(reports, 8) == []
        assert await reports.last_transfer() == 7


@pytest.mark.parametrize("wait_s", [0.05, 3600.0])
async def test_what_a_full_disk_did_not_take_is_kept_once_there_is_room(
    wait_s: float, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time later, or at the end: else a transfer that completed would show none of its files."""
    monkeypatch.setattr(file_reports, "LATE_S", wait_s, raising=False)

    async def refuses(reports: FileReports, word: str) -> None:
        await reports._disk.read(lambda connection: connection.execute(f"PRAGMA query_only = {word}").close())

    async with opened(folders) as reports:
        reports.put(7, report(0))
        await reports.flush()
        await refuses(reports, "ON")
        reports.put(7, report(1))
        reports.put(7, report(2, "failed"))  # by a session that the next one makes up for
        await reports.end(7)
        reports.begin(7)
        reports.put(7, report(0, "skipped"))
        reports.put(8, report(0))
        await reports.end(7)
        await reports.completed(7)
        await refuses(reports, "OFF")
        if wait_s < 1:
            async with asyncio.timeout(20):
                while await reports.last_transfer() != 8:  # noqa: ASYNC110 - what is on disk is no event
                    await asyncio.sleep(wait_s)
    async with opened(folders) as reports:
        found = [(one.path, one.state) for one in await kept(reports, 7)]
        assert found == [(report(1).path, "done"), (report(0).path, "done")]
        assert await kept(reports, 8) == [report(0)]


async def test_what_is_kept_late_takes_nobodys_place(folders: Folders) -> None:
    others = [report(index, path=f"/other/{index}") for index in range(3)]
    async with opened(folders) as reports:
        reports.put(7, report(0))
        await reports.flush()
        await reports._disk.read(lambda connection: connection.execute("PRAGMA query_only = ON").close())
        reports.put(7, report(1))
        reports._send()
        off = "PRAGMA query_only = OFF"
        room = reports._disk.post(lambda connection: connection.execute(off).close(), reads=True)
        reports.begin(7)
        reports.put(7, others[0])
        reports._send()  # taken before it is known that the batch before it was not
        await room
        for one in others[1:]:
            reports.put(7, one)
            await reports.flush()
        paths = [one.path for one in await kept(reports, 7)]
        assert sorted(paths) == sorted(one.path for one in [report(0), report(1), *others])


async def test_what_two_sessions_left_while_the_disk_was_full_keeps_its_order(folders: Folders) -> None:
    """Else an earlier failure outlived the end, and two files were given one place: nothing was kept then."""

    async def refuses(reports: FileReports, word: str) -> None:
        await reports._disk.read(lambda connection: connection.execute(f"PRAGMA query_only = {word}").close())

    others = [report(index, path=f"/other/{index}") for index in range(2, 6)]
    async with opened(folders) as reports:
        await refuses(reports, "ON")
        reports.put(7, report(0, "failed"))
        reports.put(7, report(1))
        reports._send()
        reports.begin(7)
        reports.put(7, report(0))
        reports._send()  # while the batch before it is on its way
        await reports.flush()
        for one in others:
            reports.put(7, one)
        await reports.flush()
        await refuses(reports, "OFF")
        reports.put(8, report(0))
        found = {(one.path, one.state) for one in await kept(reports, 7)}
        assert found == {(one.path, "done") for one in (report(0), report(1), *others)}
        assert await kept(reports, 8) == [report(0)]


async def test_pages_go_from_the_newest_to_the_oldest(folders: Folders) -> None:
    async with opened(folders) as reports:
        for index in range(10):
            reports.put(1, report(index, "failed" if index % 3 == 0 else "done"))
            reports.put(2, report(index))
        seen: list[int] = []
        before: int | None = None
        while True:
            page = await reports.page(1, STATES, before=before, limit=4)
            seen += [one.index for one in page.reports]
            if page.before is None:
                break
            before = page.before
        assert seen == list(range(9, -1, -1))
        failed = await reports.page(1, ("failed",), before=7, limit=2)
        assert [one.index for one in failed.reports] == [6, 3]
        assert failed.before == 3
        rest = await reports.page(1, ("failed",), before=failed.before, limit=2)
        assert ([one.index for one in rest.reports], rest.before) == ([0], None)
        mixed = await reports.page(1, ("failed", "done"), before=None, limit=3)
        assert [one.index for one in mixed.reports] == [9, 8, 7]


async def test_a_later_session_changes_the_row_of_the_same_file(folders: Folders) -> None:
    proved = report(0, proof="digest", digest="sha-256:aa")
    async with opened(folders) as reports:
        reports.begin(1)
        reports.put(1, proved)
        reports.put(1, report(1, "running"))
        reports.put(1, report(2, "failed", code="source_denied"))
        await reports.end(1)
        reports.begin(1)  # numbers begin anew, and the order may be another one
        for index, name in [(0, 2), (1, 0), (2, 1), (3, 9)]:
            found = "skipped" if name == 0 else "done"
            reports.put(1, report(index, found, path=f"/a\udcff/{name}", remote_path=f"b/{name}"))
        await reports.end(1)
        rows = {one.path[-1]: one for one in await kept(reports, 1)}
        assert rows["0"] == proved  # it was there already: what was proved still holds
        assert (rows["1"].state, rows["1"].index) == ("done", 1)
        assert (rows["2"].state, rows["2"].code, rows["2"].index) == ("done", "", 2)
        assert rows["9"].index == 6  # after all of the first session
        assert len(rows) == 4


async def test_what_was_proved_stays_when_a_later_session_finds_the_file_finished(
    trip: Trip, folders: Folders
) -> None:
    plant(trip.source, "proj/a", "proj/b")
    plant(trip.target, "proj/b/")  # a folder is in the way, so there is a reason to come back
    async with opened(folders) as reports:
        for outcome in ("failed", "completed"):
            ended = await trip.go("proj", policies={"checksum": "sha-256", "overwrite": "always"})
            assert ended.outcome == outcome, ended.message
            reports.begin(1)
            for event in trip.listener.events:
                if isinstance(event, FileReport):
                    reports.put(1, event)
            await reports.end(1)
            if outcome == "failed":
                (trip.target / "proj" / "b").rmdir()
        rows = await kept(reports, 1)
    assert {one.remote_path[-1]: (one.state, one.proof) for one in rows} == {
        "a": ("done", "digest"),
        "b": ("done", "digest"),
    }
    assert all(one.digest.startswith("sha-256:") for one in rows)


async def test_what_a_session_leaves_out_for_a_reason_is_told_even_after_a_receipt(folders: Folders) -> None:
    async with opened(folders) as reports:
        reports.put(1, report(0))
        await reports.end(1)
        reports.put(1, report(0, "skipped", code="special_file"))
        await reports.end(1)
        assert [(one.state, one.code) for one in await kept(reports, 1)] == [("skipped", "special_file")]


async def test_a_transfer_of_the_past_shows_failures_before_others(folders: Folders) -> None:
    async with opened(folders) as reports:
        for index in range(20):
            reports.put(1, report(index, "failed" if index == 3 else "done"))
            reports.put(2, report(index))
        found = await reports.newest([1, 2], each=5, budget=8)
        assert list(found[1]) == [3, 16, 17, 18, 19]
        assert list(found[2]) == [17, 18, 19]


async def test_only_so_many_reports_wait_in_memory(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reports, "WAITING", 50)
    async with opened(folders) as reports:
        for index in range(49):
            reports.put(1, report(index))
        async with asyncio.timeout(0):
            await reports.room()
        reports.put(1, report(49))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await reports.room()
        async with asyncio.timeout(20):
            await reports.room()
        assert len(await kept(reports, 1)) == 50


async def test_a_removed_transfer_leaves_no_file_behind(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_rows, "SWEEP", 7)
    async with opened(folders) as reports:
        for transfer in (1, 2, 3, 4):
            for index in range(30):
                reports.put(transfer, report(index))
        await reports.remove(2)
        assert await kept(reports, 2) == []
        asked: list[list[int]] = []

        async def exists(some: Any) -> list[int]:
            asked.append(list(some))
            return [3]

        await reports.keep_only(exists)
        assert asked == [[1, 3, 4]]
        assert len(await kept(reports, 3)) == 30
        assert await kept(reports, 1) == await kept(reports, 4) == []


async def test_a_damaged_file_is_set_aside(folders: Folders) -> None:
    path = folders.state / FILE_NAME
    path.write_bytes(b"this is no database" * 1000)
    reports = FileReports(folders.state)
    aside = await reports.open()
    assert aside is not None
    assert aside.read_bytes().startswith(b"this is no database")
    reports.put(1, report(0))
    await reports.flush()
    assert len(await kept(reports, 1)) == 1
    await reports.close()
    reports.put(1, report(1))  # the program ends: nobody listens any more
    async with opened(folders) as again:
        assert len(await kept(again, 1)) == 1


async def in_order(
    reports: FileReports, under_way: list[FileReport], *, live: bool, offset: int = 0, limit: int = 100
) -> tuple[list[str], int]:
    found, total = await reports.in_order(1, under_way, live=live, offset=offset, limit=limit)
    return [f"{one.path.rsplit('/', 1)[-1]} {one.state}" for one in found], total


async def test_files_come_in_the_order_they_began_with_those_under_way_among_them(folders: Folders) -> None:
    async with opened(folders) as reports:
        reports.begin(1)
        for index, state in enumerate(("done", "running", "failed", "running")):
            reports.put(1, report(index, state))
        reports.put(2, report(0))  # of another transfer
        await reports.end(1)
        before = ["0 done", "1 running", "2 failed", "3 running"]
        assert await in_order(reports, [], live=False) == (before, 4)
        # The next session goes on with number 3, has begun 7 and 9 and ended 8; 1 is not yet its turn.
        reports.begin(1)
        under_way = [report(0, "running", path="/a\udcff/3", remote_path="b/3")]
        under_way += [report(index, "running", path=f"/a/{name}") for index, name in ((1, 7), (3, 9))]
        now = ["0 done", "2 failed", "3 running", "7 running", "8 done", "9 running"]
        assert await in_order(reports, under_way, live=True) == (
            [one for one in now if one != "8 done"],
            5,
        )
        reports.put(1, report(2, path="/a/8"))
        assert await in_order(reports, under_way, live=True) == (now, 6)
        pieces = [await in_order(reports, under_way, live=True, offset=at, limit=2) for at in (0, 2, 4, 6)]
        assert [one for piece, _ in pieces for one in piece] == now
        assert {total for _, total in pieces} == {6}
        assert await in_order(reports, under_way, live=True, offset=2**70) == ([], 6)


async def test_a_page_deep_in_a_long_list_is_found(folders: Folders) -> None:
    number = 30_000
    async with opened(folders) as reports:
        for index in range(number):
            reports.put(1, report(index))
            if index % 1_000 == 0:
                await reports.room()
        names, total = await in_order(reports, [report(number, "running")], live=True, offset=number - 2)
        assert names == [f"{number - 2} done", f"{number - 1} done", f"{number} running"]
        assert total == number + 1


async def test_a_file_of_the_first_version_gets_the_column_for_times(folders: Folders) -> None:
    old = SCHEMA.tables.replace("    elapsed_usec INTEGER NOT NULL DEFAULT 0,\n", "")
    assert old != SCHEMA.tables
    values = "(1, 0, x'00', x'2f61', x'62', 5, 5, 'done', '', 0, x'', 'size', '')"
    with contextlib.closing(sqlite3.connect(folders.state / FILE_NAME)) as connection:
        connection.executescript(f"{old} PRAGMA user_version = 1; INSERT INTO files VALUES {values};")
    async with opened(folders) as reports:
        (kept_one,) = await kept(reports, 1)
        assert (kept_one.path, kept_one.state, kept_one.elapsed_usec) == ("/a", "done", 0)
        reports.put(1, report(1, elapsed_usec=1_234))
        assert [one.elapsed_usec for one in await kept(reports, 1)] == [1_234, 0]
