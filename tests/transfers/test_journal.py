"""The journal on disk: durable, private, and never in the way of a start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import Unavailable
from connect_helper.settings import Folders
from connect_helper.transfers import journal as journal_module
from connect_helper.transfers.journal import REMOVALS_KEPT, Journal, Loaded
from connect_helper.transfers.records import Record, facts_of, transfer_from, without_secrets
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import FileCounts, Transfer
from tests.support.managing import OWNER, SECRET, request, until

PLAN = request().plan


def record(number: int = 0, **changes: Any) -> Record:
    transfer = Transfer(
        id=f"id-{number}",
        xfer_id=f"id-{number}",
        owner=OWNER,
        request_id="r",
        settings={"app_id": "app-1"},
        spec={"direction": "send", "paths": [{"source": "/tmp/a\udcff"}]},
        direction="send",
        host="b.example",
        port=22,
        user="ann",
        title="name \udcff 😀",
        status=Status.RUNNING,
        previous_status=Status.INITIATING,
        counts=FileCounts(3, 2, 1, 0),
    )
    return Record(replace(transfer, **changes), number, PLAN, needs_login=True, retry_for_s=60.0)


@asynccontextmanager
async def journal(folders: Folders) -> AsyncIterator[tuple[Journal, Loaded]]:
    one = Journal(folders.state)
    loaded = await one.open()
    try:
        yield one, loaded
    finally:
        await one.close()


async def test_what_was_saved_is_there_again_but_for_the_login(folders: Folders) -> None:
    async with journal(folders) as (one, loaded):
        assert (loaded.records, loaded.removals, loaded.token) == ([], [], 0)
        await one.save(record(1))
        await one.save(record(0))
        await one.save(record(1, title="new"))
    async with journal(folders) as (_, loaded):
        first, second = loaded.records
        assert first.transfer == record(0).transfer
        assert second.transfer == record(1, title="new").transfer
        assert first.plan == without_secrets(PLAN)
        assert (first.position, first.needs_login, first.retry_for_s) == (0, True, 60.0)


async def test_no_secret_reaches_the_disk(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await one.save(record())
        before_close = [path.read_bytes() for path in folders.state.iterdir()]
    content = b"".join([*before_close, *(path.read_bytes() for path in folders.state.iterdir())])
    assert b"b.example" in content
    assert SECRET.encode() not in content


async def test_the_files_belong_to_the_user_alone(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await one.save(record())
        for path in folders.state.glob("transfers.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_progress_cannot_bring_back_what_was_removed(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await one.save(record())
        one.save_soon(0, replace(record().transfer, bytes_written=77))
        await one.save(record(1))
        await one.remove(1, record(1).transfer)
        one.save_soon(1, record(1).transfer)
    async with journal(folders) as (_, loaded):
        assert [kept.transfer.bytes_written for kept in loaded.records] == [77]
        assert [gone.id for gone in loaded.removals] == ["id-1"]
        assert loaded.removals[0].owner == OWNER


def progressed(number: int, written: int) -> Transfer:
    return record(number, bytes_written=written).transfer


def written(folders: Folders) -> list[int]:
    """The bytes of each transfer as another program would find them after a crash."""
    copies = folders.state / "copies"
    copies.mkdir(exist_ok=True)
    for path in folders.state.glob("transfers.db*"):
        (copies / path.name).write_bytes(path.read_bytes())
    with contextlib.closing(sqlite3.connect(copies / "transfers.db")) as connection:
        rows = connection.execute("SELECT figures FROM transfers ORDER BY position").fetchall()
    return [json.loads(figures).get("bytes_written", 0) for (figures,) in rows]


def jobs_of(one: Journal, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the thread is given from now on."""
    jobs: list[object] = []
    post = one._disk.post

    def noted(work: Callable[[sqlite3.Connection], Any], *, reads: bool = False) -> asyncio.Future[Any]:
        jobs.append(work)
        return post(work, reads=reads)

    monkeypatch.setattr(one._disk, "post", noted)
    return jobs


async def test_progress_of_many_transfers_is_one_write(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "GATHER_S", 0.05)
    async with journal(folders) as (one, _):
        for number in range(20):
            await one.save(record(number))
        jobs = jobs_of(one, monkeypatch)
        for so_far in (1, 2):
            for number in range(20):
                one.save_soon(number, progressed(number, so_far + number))
        await until(lambda: written(folders) == [2 + number for number in range(20)], "progress is kept")
        assert len(jobs) == 1


async def test_progress_waits_while_the_disk_is_slow_and_the_latest_is_kept(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "GATHER_S", 0.0)
    slow = threading.Event()
    async with journal(folders) as (one, _):
        await one.save(record())
        try:
            busy = one._disk.post(lambda _: slow.wait())
            jobs = jobs_of(one, monkeypatch)
            for so_far in range(1, 10):
                one.save_soon(0, progressed(0, so_far))
                await asyncio.sleep(0.001)
            assert len(jobs) == 1
        finally:
            slow.set()
        await busy
        await until(lambda: written(folders) == [9], "the latest is kept")


async def test_very_much_progress_is_written_some_at_a_time_and_at_the_end_at_once(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "GATHERED", 3)
    monkeypatch.setattr(journal_module, "GATHER_S", 0.0)
    async with journal(folders) as (one, _):
        for number in range(8):
            await one.save(record(number))
        jobs = jobs_of(one, monkeypatch)
        for number in range(8):
            one.save_soon(number, progressed(number, 1))
        await until(lambda: written(folders) == [1] * 8, "progress is kept")
        assert len(jobs) == 3
        for number in range(8):
            one.save_soon(number, progressed(number, 2))
    async with journal(folders) as (_, loaded):
        assert [kept.transfer.bytes_written for kept in loaded.records] == [2] * 8


@pytest.mark.parametrize("way", ["save", "save_step", "shelve"])
async def test_progress_undoes_nothing_that_was_saved_after_it(folders: Folders, way: str) -> None:
    later = record(0, bytes_written=9, status=Status.COMPLETED)
    async with journal(folders) as (one, _):
        await one.save(record())
        one.save_soon(0, progressed(0, 5))
        await (one.shelve([(later, 1)]) if way == "shelve" else getattr(one, way)(later))
    async with journal(folders) as (one, loaded):
        found = loaded.records or await one.newest_of(OWNER, 1)
        assert [kept.transfer.bytes_written for kept in found] == [9]


async def test_only_so_many_removals_are_remembered(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        gone = record().transfer
        await asyncio.gather(*(one.remove(n, replace(gone, id=f"g{n}")) for n in range(REMOVALS_KEPT + 5)))
    async with journal(folders) as (_, loaded):
        assert len(loaded.removals) == REMOVALS_KEPT
        assert loaded.removals[-1].id == f"g{REMOVALS_KEPT + 4}"


async def test_the_token_promise_never_gets_smaller(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await one.reserve(500)
        await one.reserve(300)
    async with journal(folders) as (_, loaded):
        assert loaded.token == 500


async def test_a_second_program_is_told_that_the_first_one_runs(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await one.save(record())
        second = Journal(folders.state)
        with pytest.raises(Unavailable, match="Another connect-helper"):
            await second.open()
        with pytest.raises(Unavailable):
            await second.save(record())
        await second.close()


async def test_a_list_of_a_newer_program_is_refused_and_left_alone(folders: Folders) -> None:
    path = folders.state / "transfers.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="newer connect-helper"):
        await Journal(folders.state).open()
    assert path.read_bytes() == before


def scribble(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def zero_a_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5000)


@pytest.mark.parametrize("damage", [scribble, zero_a_page, cut])
async def test_a_damaged_list_is_set_aside_and_the_program_goes_on(folders: Folders, damage: object) -> None:
    async with journal(folders) as (one, _):
        await one.reserve(500)
        await asyncio.gather(*(one.save(record(number)) for number in range(20)))
    assert callable(damage)
    damage(folders.state / "transfers.db")
    damaged = (folders.state / "transfers.db").read_bytes()
    async with journal(folders) as (one, loaded):
        assert loaded.set_aside is not None
        assert loaded.set_aside.read_bytes() == damaged
        assert loaded.records == []
        assert loaded.token > 500  # the lost counter must not go back
        await one.save(record())
    async with journal(folders) as (_, loaded):
        assert loaded.set_aside is None
        assert len(loaded.records) == 1


async def test_a_cut_log_loses_the_last_writes_at_most(folders: Folders, tmp_path: Path) -> None:
    async with journal(folders) as (one, _):
        await one.save(record(0))
        await one.save(record(1))
        log = folders.state / "transfers.db-wal"
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "transfers.db").write_bytes((folders.state / "transfers.db").read_bytes())
        (copy / "transfers.db-wal").write_bytes(log.read_bytes()[:-100])
    late = Journal(copy)
    loaded = await late.open()
    assert [kept.transfer.id for kept in loaded.records] == ["id-0"]
    await late.close()


async def test_a_row_that_cannot_be_read_costs_only_itself(folders: Folders) -> None:
    async with journal(folders) as (one, _):
        await asyncio.gather(one.save(record(0)), one.save(record(1)))
    connection = sqlite3.connect(folders.state / "transfers.db")
    connection.execute("UPDATE transfers SET facts = '{}' WHERE position = 0")
    connection.commit()
    connection.close()
    async with journal(folders) as (_, loaded):
        assert [kept.transfer.id for kept in loaded.records] == ["id-1"]


async def test_a_full_disk_is_named_and_does_not_end_the_journal(folders: Folders) -> None:
    async with journal(folders) as (one, _):

        def limited(connection: sqlite3.Connection) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")

        def unlimited(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA max_page_count = 1000000")

        await one._disk.write(limited)
        big = record(1, title="x" * 1_000_000)
        with pytest.raises(Unavailable) as refusal:
            await one.save(big)
        assert "list of transfers is full" in refusal.value.user_message
        await one._disk.write(unlimited)
        await one.save(big)
    async with journal(folders) as (_, loaded):
        assert [kept.transfer.id for kept in loaded.records] == ["id-1"]


async def test_after_the_end_nothing_is_taken(folders: Folders) -> None:
    one = Journal(folders.state)
    await one.open()
    await one.close()
    await one.close()
    one.save_soon(0, record().transfer)
    with pytest.raises(Unavailable, match="ending"):
        await one.save(record())


def test_every_field_of_a_transfer_survives_its_json() -> None:
    transfer = record().transfer
    asked = {"settings": transfer.settings, "spec": transfer.spec}
    assert transfer_from(facts_of(transfer) | asked) == transfer
