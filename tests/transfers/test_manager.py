"""The life of transfers in the manager, with scripted worker processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from connect_helper.errors import NotFound, Unavailable, WrongState
from connect_helper.settings import Folders
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.messages import Question
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import (
    COMPLETES,
    HOLDS,
    OTHER,
    OWNER,
    Askers,
    manager,
    reaches,
    request,
    told,
    until,
)


async def test_a_transfer_runs_to_its_end(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(COMPLETES))
        assert transfer.status is Status.QUEUED
        await reaches(transfer, Status.COMPLETED)
        assert (transfer.bytes_written, transfer.bytes_expected) == (100, 100)
        assert (transfer.counts.attempted, transfer.counts.completed) == (1, 1)
        assert transfer.previous_status is Status.RUNNING
        assert 0 < transfer.add_time <= transfer.start_time <= transfer.end_time
        assert transfer.files[0].path == "/tmp/film-0\udcff.mov"
        assert transfers.get(transfer.id) is transfer


async def test_only_so_many_run_at_a_time_in_the_order_of_their_start(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=2) as transfers:
        first, second, third = [await transfers.submit(request(HOLDS)) for _ in range(3)]
        await reaches(first, Status.RUNNING)
        await reaches(second, Status.RUNNING)
        assert third.status is Status.QUEUED
        await transfers.stop(second.id)
        await reaches(third, Status.RUNNING)
        assert (first.status, second.status) == (Status.RUNNING, Status.CANCELLED)


async def test_more_slots_by_preference_start_more_at_once(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=1) as transfers:
        await transfers.submit(request(HOLDS))
        second = await transfers.submit(request(HOLDS))
        assert second.status is Status.QUEUED
        transfers._queue._preferences.change({"concurrent_transfers": 2})
        await reaches(second, Status.RUNNING)


async def test_a_lost_connection_is_tried_again_and_keeps_its_slot(folders: Folders) -> None:
    lost = [["connect"], ["progress", 40], ["end", "failed", "connection_lost", True]]
    seen: list[tuple[Status, float]] = []
    async with manager(folders, concurrent_transfers=1) as transfers:
        with transfers.subscribe() as news:
            transfer = await transfers.submit(request(lost, COMPLETES))
            waiting = await transfers.submit(request(COMPLETES))
            while transfer.status is not Status.COMPLETED:
                async with asyncio.timeout(10):
                    await anext(aiter(news))
                seen.append((transfer.status, transfer.retry_at))
                if transfer.status is Status.WILL_RETRY:
                    assert transfer.error == "connection_lost"
                    assert transfer.retry_at > transfer.modify_time
                    assert waiting.status is Status.QUEUED
        assert Status.WILL_RETRY in {status for status, _ in seen}
        assert (transfer.error, transfer.error_desc, transfer.retry_at) == ("", "", 0.0)
        await reaches(waiting, Status.COMPLETED)


async def test_a_server_that_wants_to_be_left_alone_is(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(
            request([["end", "failed", "connection_lost", True, 1_000.0]], COMPLETES)
        )
        await reaches(transfer, Status.WILL_RETRY)
        assert transfer.retry_at >= transfer.modify_time + 999
        await transfers.resume(transfer.id)  # but the user need not wait
        await reaches(transfer, Status.COMPLETED)


async def test_a_server_that_restarts_is_waited_for_and_one_never_seen_is_not(folders: Folders) -> None:
    refused = [["end", "failed", "connect_refused", False]]
    lost = [["connect"], ["progress", 40], ["end", "failed", "connection_lost", True]]
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(lost, refused, COMPLETES))
        never_seen = await transfers.submit(request(refused, COMPLETES))
        await reaches(never_seen, Status.FAILED)
        await reaches(transfer, Status.COMPLETED)
        assert [line[0] for line in told(folders, transfer)] == ["start"] * 3


async def test_fruitless_tries_come_to_an_end(folders: Folders) -> None:
    lost = [["end", "failed", "connect_timed_out", True]]
    async with manager(folders, retry_attempts=2) as transfers:
        transfer = await transfers.submit(request(lost))
        await reaches(transfer, Status.FAILED)
        assert transfer.error_desc == "It ended: connect_timed_out."
        assert [line[0] for line in told(folders, transfer)] == ["start", "start"]


async def test_without_retry_in_the_preferences_a_loss_is_final(folders: Folders) -> None:
    async with manager(folders, retry=False) as transfers:
        transfer = await transfers.submit(request([["end", "failed", "connection_lost", True]], COMPLETES))
        await reaches(transfer, Status.FAILED)
        assert transfer.previous_status is Status.INITIATING


async def test_an_error_that_no_try_mends_is_final_and_can_be_resumed(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request([["end", "failed", "auth_failed", False]], COMPLETES))
        await reaches(transfer, Status.FAILED)
        assert transfer.error == "auth_failed"
        again = await transfers.resume(transfer.id, spec={"direction": "send", "comment": "new"})
        assert again is transfer
        await reaches(transfer, Status.COMPLETED)
        assert transfer.error == ""
        assert transfer.spec["comment"] == "new"
        assert transfer.spec["tags"]["aspera"]["xfer_id"] == transfer.id


async def test_the_same_request_id_twice_is_one_transfer(folders: Folders) -> None:
    async with manager(folders) as transfers:
        both = await asyncio.gather(
            transfers.submit(request(HOLDS, request_id="r1")),
            transfers.submit(request(HOLDS, request_id="r1")),
        )
        third = await transfers.submit(request(HOLDS, request_id="r1"))
        assert both[0] is both[1] is third
        other = await transfers.submit(request(HOLDS, request_id="r1", owner=OTHER))
        assert other is not third
        assert await transfers.find_request(OWNER, "r1") is third
        assert await transfers.find_request(OWNER, "") is None
        assert len(transfers.all()) == 2
        await transfers.remove(third.id)
        replayed = await transfers.submit(request(HOLDS, request_id="r1"))
        assert replayed.status is Status.REMOVED
        assert transfers.all() == [other]


async def test_a_start_whose_caller_went_away_happens_once(folders: Folders) -> None:
    async with manager(folders) as transfers:
        call = asyncio.create_task(transfers.submit(request(HOLDS, request_id="r1")))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        transfer = await transfers.submit(request(HOLDS, request_id="r1"))
        await reaches(transfer, Status.RUNNING)
        assert transfers.all() == [transfer]
        assert len(told(folders)) == 1


async def test_ids_of_pages_are_kept_unless_taken_or_odd(folders: Folders) -> None:
    async with manager(folders) as transfers:
        first = await transfers.submit(request(HOLDS, xfer_id="x-1"))
        second = await transfers.submit(request(HOLDS, xfer_id="x-1", owner=OTHER))
        odd = await transfers.submit(request(HOLDS, xfer_id="../../etc"))
        assert first.id == first.xfer_id == "x-1"
        assert second.id != "x-1"
        assert second.xfer_id == "x-1"
        assert odd.id != "../../etc"
        assert transfers.get("x-1") is first
        assert transfers.get("x-1", owner=OTHER) is second
        assert transfers.get("../../etc") is odd
        with pytest.raises(NotFound):
            transfers.get(odd.id, owner=OTHER)


async def test_stopping_a_queued_transfer_takes_it_out_of_the_queue(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=1) as transfers:
        first = await transfers.submit(request(HOLDS))
        second = await transfers.submit(request(HOLDS))
        await transfers.stop(second.id)
        assert second.status is Status.CANCELLED
        await transfers.stop(second.id)  # once more changes nothing
        await transfers.stop(first.id)
        assert first.status is Status.CANCELLED
        assert told(folders, second) == []


CONNECTING = [["hold"]]
ASKING = [["question"], *COMPLETES]
WAITING = [["end", "failed", "connection_lost", True]]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (CONNECTING, Status.INITIATING),
        (ASKING, Status.INITIATING),
        (HOLDS, Status.RUNNING),
        (WAITING, Status.WILL_RETRY),
    ],
)
@pytest.mark.parametrize("how", ["stop", "remove", "close"])
async def test_it_can_be_ended_at_each_step(
    folders: Folders, script: Sequence[object], status: Status, how: str
) -> None:
    questions = Askers(None)
    async with manager(folders, questions=questions) as transfers:
        transfer = await transfers.submit(request(script))
        await until(lambda: transfer.status is status and (script is WAITING or told(folders)))
        if script is ASKING:
            await until(lambda: questions.asked)
        async with asyncio.timeout(3):
            if how == "stop":
                await transfers.stop(transfer.id)
                assert transfer.status is Status.CANCELLED
                await transfers.resume(transfer.id)
                await transfers.stop(transfer.id)
            elif how == "remove":
                await transfers.remove(transfer.id)
                assert transfer.status is Status.REMOVED
                assert transfers.all() == []
                await transfers.remove(transfer.id)  # once more is no error
            started_ending = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started_ending < 5
    assert questions.cancelled == len(questions.asked)


@pytest.mark.parametrize("deaf", ["ignore", "chatter"])
async def test_a_worker_deaf_to_stop_is_killed(folders: Folders, deaf: str) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request([["connect"], [deaf]]))
        await reaches(transfer, Status.RUNNING)
        (pid,) = transfers._pool.pids
        await transfers.stop(transfer.id)
        assert transfer.status is Status.CANCELLED
        await until(lambda: pid not in transfers._pool.pids)


@pytest.mark.parametrize("fault", ["die", "garbage"])
async def test_a_broken_worker_is_replaced_and_the_transfer_goes_on(folders: Folders, fault: str) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request([["connect"], ["progress", 5], [fault]], COMPLETES))
        await reaches(transfer, Status.WILL_RETRY)
        assert transfer.error_desc == "The transfer process ended unexpectedly."
        await reaches(transfer, Status.COMPLETED)


async def test_a_new_host_key_is_asked_about_once(folders: Folders) -> None:
    questions = Askers(True)
    lost = [["question"], ["connect"], ["progress", 9], ["end", "failed", "connection_lost", True]]
    async with manager(folders, questions=questions) as transfers:
        transfer = await transfers.submit(request(lost, COMPLETES))
        await reaches(transfer, Status.COMPLETED)
        assert [one.fingerprint for one in questions.asked] == ["SHA256:x"]
        starts = [line for line in told(folders, transfer) if line[0] == "start"]
        assert [line[3] for line in starts] == [0, 1]  # the accepted key is known to the second try


async def test_a_refused_host_key_ends_the_transfer(folders: Folders) -> None:
    async with manager(folders, questions=Askers(False)) as transfers:
        transfer = await transfers.submit(request(ASKING))
        await reaches(transfer, Status.FAILED)
        assert (transfer.error, transfer.error_code) == ("host_key_unknown", 51)


async def test_when_nobody_can_be_asked_the_key_is_refused(folders: Folders) -> None:
    class Nobody(Askers):
        async def host_key(self, transfer: Transfer, question: Question) -> bool:
            raise Unavailable("There is no screen.")

    async with manager(folders, questions=Nobody()) as transfers:
        transfer = await transfers.submit(request(ASKING))
        await reaches(transfer, Status.FAILED)


async def test_resume_while_waiting_for_a_try_goes_through_the_queue_at_once(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(WAITING, COMPLETES))
        await reaches(transfer, Status.WILL_RETRY)
        await transfers.resume(transfer.id)
        assert transfer.previous_status is not Status.FAILED
        await reaches(transfer, Status.COMPLETED)


async def test_what_the_state_does_not_allow_is_refused(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(HOLDS))
        await reaches(transfer, Status.RUNNING)
        with pytest.raises(WrongState, match="running"):
            await transfers.resume(transfer.id)
        done = await transfers.submit(request(COMPLETES))
        await reaches(done, Status.COMPLETED)
        await transfers.stop(done.id)
        assert done.status is Status.COMPLETED
        with pytest.raises(WrongState, match="completed"):
            await transfers.set_rate(done.id, 100, {})
        for call in (transfers.stop, transfers.resume, transfers.remove):
            with pytest.raises(NotFound):
                await call("unknown")
            with pytest.raises(NotFound):
                await call(transfer.id, owner=OTHER)


async def test_a_rate_set_while_queued_is_kept_and_set_while_running_reaches_the_worker(
    folders: Folders,
) -> None:
    async with manager(folders, concurrent_transfers=1) as transfers:
        first = await transfers.submit(request(HOLDS, rate_kbps=900))
        second = await transfers.submit(request(HOLDS))
        await transfers.set_rate(second.id, 300, {"target_rate_kbps": 300})
        await reaches(first, Status.RUNNING)
        await transfers.set_rate(first.id, 500, {"target_rate_kbps": 500})
        await until(lambda: ["set_rate", 500] in told(folders, first))
        assert first.spec["target_rate_kbps"] == 500
        await transfers.stop(first.id)
        await reaches(second, Status.RUNNING)
        assert told(folders, first)[0][1] == 900
        assert told(folders, second)[0][1] == 300


async def test_the_limit_of_all_uploads_is_shared_by_those_that_run(folders: Folders) -> None:
    async with manager(folders, upload_limit_kbps=1000) as transfers:
        first = await transfers.submit(request(HOLDS))
        await reaches(first, Status.RUNNING)
        second = await transfers.submit(request(HOLDS, rate_kbps=200))
        download = await transfers.submit(request(HOLDS, direction="receive"))
        await until(lambda: ["set_rate", 800] in told(folders, first))
        await reaches(second, Status.RUNNING)
        await reaches(download, Status.RUNNING)
        assert told(folders, first)[0][1] == 1000
        assert told(folders, second)[0][1] == 200
        assert told(folders, download)[0][1] is None
        transfers._queue._preferences.change({"upload_limit_kbps": 100})
        await until(lambda: ["set_rate", 50] in told(folders, first))
        await until(lambda: ["set_rate", 50] in told(folders, second))
        await transfers.stop(first.id)
        await until(lambda: ["set_rate", 100] in told(folders, second))


async def test_after_sleep_running_transfers_connect_anew(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transfers.upkeep.SLEEP_CHECK_S", 0.05)
    from_sleep = [0.0]
    jumping = Clock(wall=lambda: time.time() + from_sleep[0], fraction=lambda: 0.0)
    async with manager(folders, clock=jumping) as transfers:
        transfer = await transfers.submit(request(HOLDS, COMPLETES))
        await reaches(transfer, Status.RUNNING)
        from_sleep[0] = 600.0
        await reaches(transfer, Status.COMPLETED)
        assert [line[0] for line in told(folders, transfer)] == ["start", "stop", "start"]


async def test_two_transfers_to_one_target_run_one_after_the_other(folders: Folders) -> None:
    async with manager(folders) as transfers:
        first = await transfers.submit(request(HOLDS, target="in/film"))
        second = await transfers.submit(request(HOLDS, target="in/film"))
        other = await transfers.submit(request(HOLDS, target="in/film2"))
        await reaches(first, Status.RUNNING)
        await reaches(other, Status.RUNNING)
        assert second.status is Status.QUEUED
        await transfers.stop(first.id)
        await reaches(second, Status.RUNNING)


async def test_a_page_may_bound_how_long_is_tried(folders: Folders) -> None:
    spec = {"direction": "send", "tags": {"aspera": {"xfer_retry": "1"}}}
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(WAITING, spec=spec))
        await reaches(transfer, Status.FAILED)
        assert [line[0] for line in told(folders, transfer)] == ["start", "start"]
        assert transfer.spec["tags"]["aspera"]["xfer_retry"] == 1


@pytest.mark.parametrize("connected", [True, False])
async def test_a_worker_silent_for_too_long_is_replaced(folders: Folders, connected: bool) -> None:
    later = [0.0]
    clock = Clock(
        wall=lambda: time.time() + later[0],
        monotonic=lambda: time.monotonic() + later[0],
        fraction=lambda: 0.0,
    )
    silent = [["connect"], ["ignore"]] if connected else [["ignore"]]
    async with manager(folders, clock=clock) as transfers:
        transfer = await transfers.submit(request(silent, COMPLETES))
        await reaches(transfer, Status.RUNNING if connected else Status.INITIATING)
        await until(lambda: told(folders, transfer))
        (pid,) = transfers._pool.pids
        later[0] = 91.0 if connected else 151.0
        await reaches(transfer, Status.WILL_RETRY)
        assert transfer.error == "connection_lost"
        await reaches(transfer, Status.COMPLETED)
        assert pid not in transfers._pool.pids


async def test_a_user_may_think_about_a_host_key_for_hours(folders: Folders) -> None:
    later = [0.0]
    clock = Clock(wall=lambda: time.time() + later[0], monotonic=lambda: time.monotonic() + later[0])
    questions = Askers(None)
    async with manager(folders, questions=questions, clock=clock) as transfers:
        transfer = await transfers.submit(request(ASKING))
        await until(lambda: questions.asked)
        later[0] = 7200.0
        with transfers.subscribe() as news:
            await anext(aiter(news))  # a look around, once a second, is no end
        assert transfer.status is Status.INITIATING
        assert questions.cancelled == 0


async def test_a_manager_that_ends_takes_no_more(folders: Folders) -> None:
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(HOLDS))
    with pytest.raises(Unavailable, match="ending"):
        await transfers.submit(request(COMPLETES))
    with pytest.raises(Unavailable, match="ending"):
        await transfers.stop(transfer.id)
