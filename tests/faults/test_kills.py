"""The helper, a worker, the server: killed at every step of the journal (REL-1, REL-8, REL-12).

The steps of one upload and one download, one after the other, are the commits of the journal; each test
kills in the middle of one of them, when everything is written and nothing is durable yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connect_helper.settings import HOME_VARIABLE
from connect_helper.transfers import wire
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import Start
from connect_helper.transfers.state import Status
from tests.support.faults import Scene, completes, faults_at_commits, several
from tests.support.managing import REPOSITORY, reaches
from tests.support.oracle import nothing_leaks

DOOMED = REPOSITORY / "tests" / "support" / "doomed_helper.py"
SIZE = 3_000_000
SMALL = 4096  # goes to the disk at once
FEWEST, MOST = 8, 12  # commits of two transfers: how many depends on what is written together


async def doomed(scene: Scene, step: int, *starts: Start) -> list[str]:
    """What a helper printed that was killed at `step`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DOOMED), str(step)),
        cwd=REPOSITORY,
        env={
            HOME_VARIABLE: str(scene.folders.state.parent),
            "PATH": os.defpath,
            "PYTHONPATH": str(REPOSITORY),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(b"".join(wire.encode(start) for start in starts))
    assert process.returncode in (0, -signal.SIGKILL)
    return output.decode().split()


def two(scene: Scene) -> tuple[list[Start], dict[Path, Path]]:
    """An upload that replaces an older file by consent, and a download of a new one."""
    one, other = several(2, SIZE)
    sent, up = scene.upload("up", one)
    fetched, down = scene.download("down", other)
    (scene.far / "in" / "up").write_bytes(b"an older file")
    plans = [scene.request(item).plan.model_copy(update={"login": scene.login}) for item in (sent, fetched)]
    return [Start(plan=plan) for plan in plans], up | down


@pytest.mark.parametrize("step", range(MOST))
async def test_a_helper_killed_at_any_step_loses_nothing(step: int, scene: Scene) -> None:
    starts, wanted = two(scene)
    oracle = scene.oracle(wanted)
    admitted = await doomed(scene, step, *starts)
    if "ended" in admitted:
        assert step >= FEWEST
        admitted.remove("ended")
    oracle.at_any_moment()
    async with nothing_leaks(), scene.manager() as transfers:
        oracle.same_list(admitted, transfers)
        for start, name in zip(starts, admitted, strict=False):
            transfer = transfers.get(name)
            if transfer.status is not Status.COMPLETED:
                assert "sign in again" in transfer.error_desc  # the key was in memory only
                await transfers.resume(name, login=start.plan.login)
                await completes(transfers, transfer)
            await oracle.accounted(transfers, transfer, 1)
        # A start whose answer the page never got is sent again; what arrived does no harm.
        for start in starts[len(admitted) :]:
            await completes(transfers, await transfers.submit(scene.request(start.plan.items[0])))
        oracle.at_any_moment()
    oracle.whole()
    oracle.nothing_kept(scene.resume)


async def test_the_steps_are_all_of_them(scene: Scene) -> None:
    starts, wanted = two(scene)
    assert (await doomed(scene, MOST, *starts))[-1] == "ended"
    scene.oracle(wanted).whole()


async def each_step(scene: Scene, fault: Callable[[TransferManager, list[str]], None], size: int) -> int:
    """Transfer upon transfer, the n-th of which meets `fault` at its n-th commit; tells how many did.

    A file that nothing happens to goes on beside them all (8).
    """
    loop = asyncio.get_running_loop()
    content = several(1, size)[0]
    quiet, wanted = scene.upload("quiet", several(1, SIZE)[0])
    oracle, met, due, seen = scene.oracle(wanted), 0, 0, 0

    def commit(_now: int) -> None:
        nonlocal seen, met
        if seen == due:
            met += 1
            loop.call_soon_threadsafe(fault, transfers, [beside.id])
        seen += 1

    async with scene.manager() as transfers:
        beside = await transfers.submit(scene.request(quiet, rate_kbps=1_000))
        await reaches(beside, Status.RUNNING)
        while met == due:
            item, more = (scene.upload if due % 2 else scene.download)(f"{due}", content)
            oracle.expect(more)
            seen = 0
            with faults_at_commits(commit):
                transfer = await transfers.submit(scene.request(item))
                await completes(transfers, transfer)
            oracle.at_any_moment()
            await oracle.accounted(transfers, transfer, 1)
            due += 1
        if beside.status is not Status.COMPLETED:
            await transfers.set_rate(beside.id, None, {})
        await completes(transfers, beside)
    oracle.whole()
    oracle.nothing_kept(scene.resume)
    return met


def kill_workers(transfers: TransferManager, but: list[str]) -> None:
    """Kill every worker, but for those of the transfers named."""
    spared = [transfers._list.find(name, None).worker for name in but]
    for pid in {*transfers._pool.pids} - {worker.pid for worker in spared if worker is not None}:
        os.kill(pid, 9)


@pytest.mark.parametrize("size", [SIZE, SMALL])
async def test_workers_killed_at_every_step_lose_nothing(scene: Scene, size: int) -> None:
    async with nothing_leaks():
        assert await each_step(scene, kill_workers, size) >= 4


@pytest.mark.parametrize("size", [SIZE, SMALL])
async def test_a_server_killed_at_every_step_loses_nothing(scene: Scene, size: int) -> None:
    def crash(_transfers: TransferManager, _but: list[str]) -> None:
        scene.sshd.kill()
        scene.sshd.start()

    async with nothing_leaks():
        assert await each_step(scene, crash, size) >= 4
