"""Disks that are full, or nearly so, or that fail (REL-10, REL-11)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from connect_helper.errors import DiskFull
from connect_helper.transfers.ledger import Ledger, mark
from connect_helper.transfers.state import Status
from connect_helper.transports.free_space import MIB, Spare
from connect_helper.transports.local_files import Granted
from connect_helper.transports.local_target import CHECKED, open_target_folder
from tests.support.faults import Scene, completes
from tests.support.managing import reaches
from tests.support.oracle import nothing_leaks
from tests.support.sessions import Listener, download, noise, plan_for, run

LIMITED_WORKER = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
from connect_helper.transfers.worker import main
main()
"""


async def test_a_size_limit_of_the_disk_is_named_and_the_transfer_goes_on_elsewhere(scene: Scene) -> None:
    item, wanted = scene.download("film", noise(4_000_000))
    (target,) = wanted
    target.write_bytes(b"older")
    oracle = scene.oracle(wanted)
    async with nothing_leaks():
        async with scene.manager(worker_command=(sys.executable, "-c", LIMITED_WORKER)) as transfers:
            transfer = await transfers.submit(scene.request(item))
            await reaches(transfer, Status.FAILED)
            assert (transfer.error, transfer.error_code) == ("disk_full", 25)
            assert "size limit of the disk" in transfer.error_desc
            assert "bytes are needed" in transfer.error_desc
            await oracle.accounted(transfers, transfer, 1)
            oracle.at_any_moment()
        assert target.read_bytes() == b"older"
        assert target.with_name("film.partial").exists()
        async with scene.manager() as transfers:
            await transfers.resume(transfer.id, login=scene.login)
            await completes(transfers, transfers.get(transfer.id))
    oracle.whole()
    oracle.nothing_kept(scene.resume)


def volume(size: int, free: int) -> os.statvfs_result:
    """A volume of so many bytes."""
    return os.statvfs_result((4096, 4096, size // 4096, free // 4096, free // 4096, 0, 0, 0, 0, 255))


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (1000 * 1024 * MIB, 10 * 1024 * MIB),  # one percent
        (10 * 1024 * MIB, 500 * MIB),
        (2000 * MIB, 500 * MIB),
        (400 * MIB, 100 * MIB),  # a memory stick: a quarter
    ],
)
def test_what_stays_free_by_rule(size: int, kept: int) -> None:
    assert Spare().of(volume(size, size)) == pytest.approx(kept, rel=0.001)
    assert Spare(7).of(volume(size, size)) == 7


def granted(folder: Path) -> Granted:
    facts = folder.stat()
    return Granted(os.fsencode(folder), facts.st_dev, facts.st_ino)


def test_a_disk_that_others_fill_is_left_alone_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_target_folder(granted(tmp_path), (), Spare(100 * MIB))
    partial = folder.create_partial(b"film")
    partial.expected = 40 * MIB
    block, free = bytes(MIB), 1000 * MIB
    monkeypatch.setattr(os, "fstatvfs", lambda _handle: volume(2000 * MIB, free))
    for number in range(8):
        partial.write(number * MIB, [block])
    free = 99 * MIB
    with pytest.raises(DiskFull) as caught:
        partial.write(8 * MIB, [block] * (CHECKED // MIB))
    message = caught.value.user_message
    assert f"{99 * MIB:,} are free, of which {100 * MIB:,} stay free" in message
    assert f"{40 * MIB - partial.size():,} bytes are needed" in message
    partial.overwrite(0, [block])  # what has its place already may still be written
    partial.close()
    folder.close()


async def test_a_download_that_would_leave_too_little_is_not_begun(scene: Scene) -> None:
    item, wanted = scene.download("film", noise(100_000))
    (target,) = wanted
    free = os.statvfs(target.parent)
    async with scene.manager() as transfers:
        transfers._queue._preferences.change({"free_space_mib": 2 * free.f_blocks * free.f_frsize // MIB})
        transfer = await transfers.submit(scene.request(item))
        await reaches(transfer, Status.FAILED)
        assert transfer.error == "disk_full"
        assert "100,000 bytes are needed" in transfer.error_desc
        assert "stay free for other programs" in transfer.error_desc
        assert list(target.parent.iterdir()) == []
        transfers._queue._preferences.change({"free_space_mib": 0})
        await transfers.resume(transfer.id)
        await completes(transfers, transfer)
    scene.oracle(wanted).whole()


def fails_once(name: str, path: Path) -> Callable[[int], None]:
    """A system call that fails once for the file at `path`, as a disk that loses a block does."""
    left, real = [OSError(5, "Input/output error")], getattr(os, name)

    def call(handle: int) -> None:
        if left and path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            if name == "close":
                real(handle)  # the descriptor is gone all the same
            raise left.pop()
        real(handle)

    return call


@pytest.mark.parametrize("name", ["fsync", "close"])
async def test_a_disk_that_fails_while_a_file_is_brought_there_is_not_trusted(
    name: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = scene.far / "film", scene.near / "film"
    source.write_bytes(noise(1_500_000))
    target.write_bytes(b"older")
    oracle = scene.oracle({target: source})
    plan = plan_for(scene.sshd, [download(source, scene.near, "film")], scene.resume)
    partial = target.with_name("film.partial")
    async with nothing_leaks():
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails_once(name, partial))
            ended = await run(plan)
        assert (ended.outcome, ended.code) == ("failed", "target_error")
        oracle.at_any_moment()
        assert target.read_bytes() == b"older"
    again = Listener()
    assert (await run(plan, again)).outcome == "completed"
    first = next(event for event in again.events if event.type == "file" and event.state == "running")
    if name == "fsync":  # nothing of what it would not take is built upon, though reading it back succeeds
        assert first.bytes_written < 1_500_000
    oracle.whole()


FEW: Final = 48  # small files, half of them empty


def small_files(folder: Path) -> None:
    folder.mkdir()
    for number in range(FEW):
        (folder / f"take {number}").write_bytes(b"x" * 100 if number % 2 else b"")


async def test_small_files_share_the_sync_of_their_folder_and_none_counts_as_finished_before_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = scene.far / "takes", scene.near / "takes"
    small_files(source)
    names = {
        mark(os.fsencode(target / one.name), one.stat().st_size, int(one.stat().st_mtime) * 10**9): one.name
        for one in source.iterdir()
    }
    durable, files, folders, early = set[str](), list[int](), list[int](), list[str]()
    real, add = os.fsync, Ledger.add

    def fsync(handle: int) -> None:
        facts = os.fstat(handle)
        if stat.S_ISDIR(facts.st_mode):
            present = os.listdir(handle)
            real(handle)
            durable.update(present)
            folders.append(len(present))
        else:
            files.append(facts.st_size)
            real(handle)

    def note(ledger: Ledger, one: bytes) -> None:
        name = names.pop(one, "")
        if name and name not in durable:
            early.append(name)
        add(ledger, one)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Ledger, "add", note)
    ended = await run(plan_for(scene.sshd, [download(source, scene.near, "takes")], scene.resume))
    assert ended.outcome == "completed", ended.message
    assert (names, early) == ({}, [])
    assert files == [100] * (FEW // 2)  # an empty one is in the folder, or not
    assert len(folders) <= FEW // 2


async def test_a_folder_that_cannot_be_made_durable_fails_all_files_that_go_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = scene.far / "takes", scene.near / "takes"
    small_files(source)
    target.mkdir()
    real, listener = os.fsync, Listener()

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        real(handle)

    plan = plan_for(scene.sshd, [download(source, scene.near, "takes")], scene.resume)
    async with nothing_leaks():
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            ended = await run(plan, listener)
        assert (ended.outcome, ended.code) == ("failed", "target_error")
        states = [one.state for one in listener.events if one.type == "file" and one.state != "running"]
        assert states == ["failed"] * FEW
        assert (await run(plan)).outcome == "completed"
    scene.oracle({target / one.name: one for one in source.iterdir()}).whole()
