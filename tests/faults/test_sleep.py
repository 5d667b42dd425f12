"""Processes that stand still and clocks that jump (REL-14, REL-15)."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.state import Status
from tests.support.faults import Scene, completes
from tests.support.managing import COMPLETES, manager, reaches, request, until
from tests.support.oracle import nothing_leaks
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise

YEARS_S = 10 * 365 * 86_400.0


async def test_a_worker_that_slept_while_its_line_went_goes_on(scene: Scene) -> None:
    """As after closing the lid: the process stands still, and the server has given up meanwhile."""
    item, wanted = scene.upload("film", noise(3_000_000))
    oracle = scene.oracle(wanted)
    async with (
        nothing_leaks(),
        FaultProxy(scene.sshd.host, scene.sshd.port) as proxy,
        scene.manager() as transfers,
    ):
        transfer = await transfers.submit(scene.request(item, port=proxy.port, rate_kbps=8_000))
        await until(lambda: transfer.bytes_written > 300_000)
        (pid,) = transfers._pool.pids
        os.kill(pid, signal.SIGSTOP)
        proxy.cut()
        await transfers.set_rate(transfer.id, None, {})
        assert transfer.status is Status.RUNNING  # nobody has noticed anything yet
        os.kill(pid, signal.SIGCONT)
        await completes(transfers, transfer)
        await oracle.accounted(transfers, transfer, 1)
    oracle.whole()
    oracle.nothing_kept(scene.resume)


async def test_a_worker_that_stands_still_for_good_is_replaced(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transfers.conversation.SILENCE_S", 3.0)
    item, wanted = scene.download("film", noise(3_000_000))
    oracle = scene.oracle(wanted)
    async with nothing_leaks(), scene.manager() as transfers:
        transfer = await transfers.submit(scene.request(item, rate_kbps=8_000))
        await until(lambda: transfer.bytes_written > 300_000)
        (pid,) = transfers._pool.pids
        os.kill(pid, signal.SIGSTOP)
        await reaches(transfer, Status.WILL_RETRY)
        monkeypatch.undo()
        await completes(transfers, transfer)
    oracle.whole()


@pytest.mark.parametrize("jump_s", [YEARS_S, -YEARS_S, -100 * YEARS_S])
async def test_a_wall_clock_that_jumps_changes_no_order_and_sends_nothing_twice(
    jump_s: float, folders: Folders
) -> None:
    jumped = 0.0
    clock = Clock(wall=lambda: time.time() + jumped, fraction=lambda: 0.0)
    async with manager(folders, clock=clock) as transfers:
        first = await transfers.submit(request(COMPLETES, request_id="one"))
        await reaches(first, Status.COMPLETED)
        token = first.iteration_token
        jumped = jump_s
        second = await transfers.submit(request(COMPLETES, request_id="two"))
        again = await transfers.submit(request(COMPLETES, request_id="one"))
        await reaches(second, Status.COMPLETED)
        assert again is first
        assert second.iteration_token > token
        assert second.elapsed_usec >= 0
        assert 0 <= second.bytes_written <= second.bytes_expected
    async with manager(folders, clock=clock) as transfers:
        assert [transfer.id for transfer in transfers.all()] == [first.id, second.id]
        assert {transfer.status for transfer in transfers.all()} == {Status.COMPLETED}
        third = await transfers.submit(request(COMPLETES))
        assert third.iteration_token > second.iteration_token
        await asyncio.wait_for(reaches(third, Status.COMPLETED), 30)
