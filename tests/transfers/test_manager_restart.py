"""What pages hear over time, and what survives the end of the program, orderly or not."""

from __future__ import annotations

import asyncio
import sqlite3
import sys

import pytest
from pydantic import SecretStr

from connect_helper.errors import Unavailable, WrongState
from connect_helper.settings import HOME_VARIABLE, Folders
from connect_helper.transfers import upkeep
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Login
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import (
    COMPLETES,
    HOLDS,
    OTHER,
    OWNER,
    REPOSITORY,
    SECRET,
    manager,
    reaches,
    request,
    told,
    until,
)


def ids(transfers: list[Transfer]) -> set[str]:
    return {one.id for one in transfers}


async def test_a_poll_hears_what_changed_after_its_token(folders: Folders) -> None:
    async with manager(folders) as transfers:
        assert (await transfers.changes(OWNER, 0))[1] == []
        first = await transfers.submit(request(HOLDS))
        second = await transfers.submit(request(COMPLETES))
        foreign = await transfers.submit(request(HOLDS, owner=OTHER))
        await reaches(second, Status.COMPLETED)
        await reaches(foreign, Status.RUNNING)
        await reaches(first, Status.RUNNING)
        token, everything = await transfers.changes(OWNER, 0)
        assert everything == [first, second]
        assert token >= max(one.iteration_token for one in everything)
        token, _ = await transfers.changes(OWNER, 0)
        await transfers.stop(first.id)
        newer, changed = await transfers.changes(OWNER, token)
        assert newer > token
        assert changed == [first]
        assert await transfers.changes(OWNER, newer) == (newer, [])
        assert (await transfers.changes(OWNER, newer + 1000))[1] == [first, second]
        assert (await transfers.changes(OWNER, -5))[1] == [first, second]
        assert (await transfers.changes(OTHER, 0))[1] == [foreign]


async def test_a_removed_transfer_is_told_to_those_who_knew_it(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(HOLDS))
        token, _ = await transfers.changes(OWNER, 0)
        await transfers.remove(transfer.id)
        after, changed = await transfers.changes(OWNER, token)
        assert [(one.id, one.status) for one in changed] == [(transfer.id, Status.REMOVED)]
        assert await transfers.changes(OWNER, 0) == (after, [])
        assert await transfers.changes(OTHER, token) == (after, [])
    async with manager(folders) as transfers:
        later, changed = await transfers.changes(OWNER, token)
        assert later > after
        assert [(one.id, one.status) for one in changed] == [(transfer.id, Status.REMOVED)]
        assert await transfers.changes(OWNER, later) == (later, [])
        await transfers.remove(transfer.id, owner=OWNER)  # still no error


async def test_progress_is_news_at_most_four_times_a_second(folders: Folders) -> None:
    flood = [["connect"], ["totals", 10_000, 1], *(["progress", number] for number in range(5000)), ["hold"]]
    async with manager(folders) as transfers:
        before, _ = await transfers.changes(OWNER, 0)
        started = asyncio.get_running_loop().time()
        transfer = await transfers.submit(request(flood))
        await until(lambda: transfer.bytes_written == 4999)
        seconds = asyncio.get_running_loop().time() - started
        token, _ = await transfers.changes(OWNER, 0)
        assert token - before <= 4 + 4 * seconds


async def test_a_slow_listener_gets_the_latest_of_each_once(folders: Folders) -> None:
    async with manager(folders) as transfers:
        with transfers.subscribe() as slow, transfers.subscribe() as quick:
            both = [await transfers.submit(request(COMPLETES)) for _ in range(2)]
            for one in both:
                await reaches(one, Status.COMPLETED)
            batch = await anext(aiter(slow))
            assert sorted(ids(batch)) == sorted(one.id for one in both)
            assert len(batch) == 2
            assert {one.status for one in batch} == {Status.COMPLETED}
            await transfers.remove(both[0].id)
            assert [one.status for one in await anext(aiter(slow))] == [Status.REMOVED]
            assert len(await anext(aiter(quick))) == 2
        assert not transfers._list.subscribers._all


async def test_after_a_restart_a_session_with_a_secret_waits_for_a_sign_in(folders: Folders) -> None:
    async with manager(folders) as transfers:
        running = await transfers.submit(request(HOLDS, COMPLETES))
        await reaches(running, Status.RUNNING)
        await until(lambda: running.bytes_written == 10)
        done = await transfers.submit(request(COMPLETES))
        await reaches(done, Status.COMPLETED)
    async with manager(folders) as transfers:
        assert [one.id for one in transfers.all()] == [running.id, done.id]
        again = transfers.get(running.id)
        assert again is not running
        assert (again.status, again.error) == (Status.FAILED, "interrupted")
        assert (again.bytes_written, again.bytes_expected) == (10, 100)
        assert again.error_desc == "The helper was restarted; sign in again to go on."
        assert transfers.get(done.id).status is Status.COMPLETED
        assert transfers.get(done.id).files[0].state == "done"
        assert transfers.needs_login(running.id)
        with pytest.raises(WrongState, match="sign in again"):
            await transfers.resume(running.id)
        assert again.status is Status.FAILED
        await transfers.resume(running.id, login=Login(user="bob", password=SecretStr("fresh")))
        await reaches(again, Status.COMPLETED)
        assert again.user == "bob"
        assert told(folders, again)[-1][:3] == ["start", None, True]


async def test_after_a_restart_what_needs_no_secret_goes_on_by_itself(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=1) as transfers:
        running = await transfers.submit(request(HOLDS, COMPLETES, secret=False))
        queued = await transfers.submit(request(COMPLETES, secret=False))
        stopped = await transfers.submit(request(COMPLETES, secret=False))
        await transfers.stop(stopped.id)
        await reaches(running, Status.RUNNING)
    async with manager(folders) as transfers:
        await reaches(transfers.get(running.id), Status.COMPLETED)
        await reaches(transfers.get(queued.id), Status.COMPLETED)
        assert transfers.get(stopped.id).status is Status.CANCELLED


async def test_a_replay_after_a_restart_is_the_same_transfer(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(COMPLETES, request_id="r9"))
        await reaches(transfer, Status.COMPLETED)
    async with manager(folders) as transfers:
        again = await transfers.submit(request(COMPLETES, request_id="r9"))
        assert (again.id, again.status) == (transfer.id, Status.COMPLETED)
        assert len(transfers.all()) == 1


async def test_a_rate_and_a_spec_that_were_changed_survive(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=1) as transfers:
        await transfers.submit(request(HOLDS, secret=False))
        queued = await transfers.submit(request(HOLDS, secret=False))
        await transfers.set_rate(queued.id, 640, {"target_rate_kbps": 640})
    async with manager(folders) as transfers:
        assert transfers.get(queued.id).spec["target_rate_kbps"] == 640
        assert transfers.plan_of(queued.id).rate_kbps == 640


async def test_no_secret_is_on_disk_whatever_happens(folders: Folders) -> None:
    canary = SECRET.encode()

    def content() -> bytes:
        return b"".join(path.read_bytes() for path in folders.state.rglob("*") if path.is_file())

    async with manager(folders) as transfers:
        transfer = await transfers.submit(request([["end", "failed", "auth_failed", False]], HOLDS))
        await reaches(transfer, Status.FAILED)
        assert canary not in content()
        await transfers.resume(transfer.id, login=Login(user="ann", token=SecretStr(SECRET)))
        await reaches(transfer, Status.RUNNING)
        await transfers.set_rate(transfer.id, 100, {})
        assert canary not in content()
        assert SECRET not in repr(transfer)
    assert b"b.example" in content()
    assert canary not in content()


async def test_a_list_that_cannot_be_written_refuses_a_start_and_hides_no_end(folders: Folders) -> None:
    async with manager(folders) as transfers:
        running = await transfers.submit(request(HOLDS))
        await reaches(running, Status.RUNNING)

        def read_only(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA query_only = ON")

        await transfers._journal._disk.write(read_only)
        with pytest.raises(Unavailable):
            await transfers.submit(request(HOLDS, request_id="r1"))
        assert await transfers.find_request(OWNER, "r1") is None
        await transfers.stop(running.id)
        assert running.status is Status.CANCELLED


@pytest.mark.parametrize("wait_s", [0.05, 3600.0])
async def test_what_became_of_transfers_while_the_disk_was_full_is_kept_once_there_is_room(
    wait_s: float, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time later, or when the helper ends: before, a start showed them as they had been."""
    monkeypatch.setattr(upkeep, "KEEP_MISSED_S", wait_s, raising=False)

    statuses = "SELECT status FROM transfers ORDER BY position"

    async def asked(transfers: TransferManager, query: str) -> list[str]:
        answer = await transfers._journal._disk.read(lambda connection: connection.execute(query).fetchall())
        return [text for (text,) in answer]

    async with manager(folders, concurrent_transfers=2) as transfers:
        running, gone = [await transfers.submit(request(HOLDS)) for _ in range(2)]
        completing = await transfers.submit(request(COMPLETES))
        await reaches(running, Status.RUNNING)
        await reaches(gone, Status.RUNNING)
        await asked(transfers, "PRAGMA query_only = ON")
        await transfers.stop(running.id)
        await transfers.remove(gone.id)
        await reaches(completing, Status.COMPLETED)
        assert await asked(transfers, statuses) == ["running", "running", "queued"]
        await asked(transfers, "PRAGMA query_only = OFF")
        if wait_s < 1:
            async with asyncio.timeout(20):
                while await asked(transfers, statuses) != ["cancelled", "completed"]:  # noqa: ASYNC110
                    await asyncio.sleep(wait_s)
    async with manager(folders) as transfers:
        assert [one.status for one in transfers.all()] == [Status.CANCELLED, Status.COMPLETED]
        assert transfers.removed_owner(gone.id) == OWNER


KILLED = """
import asyncio, os, signal, sys
from connect_helper.settings import Folders
from connect_helper.transfers.state import Status
from tests.support.managing import COMPLETES, HOLDS, OWNER, manager, reaches, request

async def main():
    folders = Folders.from_environment()
    async with manager(folders) as transfers:
        running = await transfers.submit(request(HOLDS, COMPLETES))
        done = await transfers.submit(request(COMPLETES))
        gone = await transfers.submit(request(HOLDS))
        await reaches(running, Status.RUNNING)
        await reaches(done, Status.COMPLETED)
        await transfers.remove(gone.id)
        token = (await transfers.changes(OWNER, 0))[0]
        print(token, running.id, done.id, gone.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_after_a_kill_the_list_is_the_same_and_tokens_go_on(folders: Folders) -> None:
    home = str(folders.state.parent)
    known = 0
    running = done = gone = ""
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", KILLED),
            cwd=REPOSITORY,
            env={HOME_VARIABLE: home, "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        token, running, done, gone = output.decode().split()
        assert int(token) > known
        known = int(token)
    async with manager(folders) as transfers:
        now, changed = await transfers.changes(OWNER, known)
        assert now > known
        assert {running, done, gone} <= ids(changed)
        assert transfers.get(running).error == "interrupted"
        assert transfers.get(done).status is Status.COMPLETED
        assert gone not in ids(transfers.all())
        assert len(transfers.all()) == 4
    files = [path for path in folders.state.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
