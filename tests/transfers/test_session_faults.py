"""Stops, broken lines, killed servers, full disks: what is kept, what is resumed, what is never wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.session import Session
from tests.support.proxy import FaultProxy
from tests.support.sessions import Listener, download, noise, plan_for, run, upload
from tests.support.sshd import SshServer

SIZE = 20_000_000
KBPS = 40_000  # 5 MB/s: a transfer of SIZE takes four seconds


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
def near(tmp_path: Path) -> Path:
    folder = tmp_path / "near"
    folder.mkdir()
    return folder


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    return tmp_path / "resume"


def case(
    direction: str, sshd: SshServer, near: Path, resume: Path, content: bytes, **changes: object
) -> tuple[SessionPlan, Path, Path]:
    """A plan for one file in `direction`, the path it ends at, and that of its partial file."""
    source, target = (near / "film", sshd.root / "copy")
    if direction == "receive":
        source, target = sshd.root / "film", near / "copy"
    if not source.exists():
        source.write_bytes(content)
    items = [upload(source, target)] if direction == "send" else [download(source, near, "copy")]
    return plan_for(sshd, items, resume, **changes), target, target.with_name("copy.partial")


async def begin(plan: SessionPlan, enough: int = 3_000_000) -> tuple[Session, Listener, asyncio.Task[Ended]]:
    """Start a session and wait until some bytes have arrived."""
    listener = Listener()
    session = Session(plan, listener)
    task = asyncio.create_task(session.run())
    await listener.until(lambda: listener.written() >= enough)
    return session, listener, task


BOTH = pytest.mark.parametrize("direction", ["send", "receive"])


@BOTH
async def test_a_stop_takes_less_than_a_second_and_the_next_run_goes_on(
    direction: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    content = noise(SIZE)
    plan, target, partial = case(direction, sshd, near, resume, content, rate_kbps=KBPS)
    session, listener, task = await begin(plan)
    began = time.monotonic()
    session.stop()
    ended = await task
    assert time.monotonic() - began < 1
    assert ended.outcome == "stopped"
    assert not target.exists()
    kept = listener.written()
    assert partial.stat().st_size >= kept > 0
    again = Listener()
    plan, target, partial = case(direction, sshd, near, resume, content)
    ended = await run(plan, again)
    assert ended.outcome == "completed", ended.message
    assert target.read_bytes() == content
    assert again.written() == SIZE
    first = next(event for event in again.events if event.type == "progress" and event.bytes_written)
    assert first.bytes_written >= kept // 2  # it did not start from nothing
    assert not partial.exists()
    assert list(resume.iterdir()) == []


@BOTH
@pytest.mark.parametrize("level", ["attributes", "sparse_checksum", "full_checksum"])
async def test_a_resumed_transfer_moves_only_the_rest(
    direction: str, level: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    content = noise(SIZE)
    async with FaultProxy(sshd.host, sshd.port, cut_after=SIZE * 3 // 4) as proxy:
        changes = {"port": proxy.port, "policies": {"resume": level}}
        plan, target, _ = case(direction, sshd, near, resume, content, **changes)
        ended = await run(plan)
        assert (ended.outcome, ended.retryable, ended.code) == ("failed", True, "connection_lost")
        assert not target.exists()
        proxy.up = proxy.down = 0
        ended = await run(plan)
        assert ended.outcome == "completed", ended.message
        assert target.read_bytes() == content
        moved = proxy.up if direction == "send" else proxy.down
        assert moved < SIZE * 2 // 3


@BOTH
async def test_without_resume_nothing_is_kept_and_it_starts_over(
    direction: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    content = noise(SIZE)
    changes = {"policies": {"resume": "none"}, "rate_kbps": KBPS}
    plan, target, partial = case(direction, sshd, near, resume, content, **changes)
    session, _, task = await begin(plan)
    session.stop()
    await task
    assert list(resume.glob("*.json")) == []
    if direction == "receive":
        assert not partial.exists()
    plan, target, _ = case(direction, sshd, near, resume, content, policies={"resume": "none"})
    assert (await run(plan)).outcome == "completed"
    assert target.read_bytes() == content
    assert not partial.exists()  # it was known as our own and written over
    assert list(resume.iterdir()) == []


def _edit_partial(source: Path, partial: Path) -> None:
    with partial.open("r+b") as file:
        file.seek(100)
        file.write(b"edited")


def _zero_tail(source: Path, partial: Path) -> None:
    with partial.open("r+b") as file:
        file.seek(-100_000, os.SEEK_END)
        file.write(bytes(100_000))


def _lengthen(source: Path, partial: Path) -> None:
    with partial.open("ab") as file:
        file.write(noise(2 * SIZE, 7))


def _shorten(source: Path, partial: Path) -> None:
    os.truncate(partial, partial.stat().st_size // 2)


def _swap_source(source: Path, partial: Path) -> None:
    facts = source.stat()
    source.write_bytes(noise(SIZE, 9))
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@BOTH
@pytest.mark.parametrize("damage", [_edit_partial, _zero_tail, _lengthen, _shorten, _swap_source])
async def test_what_was_damaged_meanwhile_is_not_built_upon(
    direction: str, damage: Callable[[Path, Path], None], sshd: SshServer, near: Path, resume: Path
) -> None:
    plan, target, partial = case(direction, sshd, near, resume, noise(SIZE), rate_kbps=KBPS)
    session, _, task = await begin(plan)
    session.stop()
    await task
    source = near / "film" if direction == "send" else sshd.root / "film"
    damage(source, partial)
    plan, target, _ = case(direction, sshd, near, resume, b"")
    ended = await run(plan)
    assert ended.outcome == "completed", ended.message
    assert target.read_bytes() == source.read_bytes()


@BOTH
async def test_a_killed_server_leaves_a_partial_file_and_a_retry(
    direction: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    content = noise(SIZE)
    plan, target, partial = case(direction, sshd, near, resume, content, rate_kbps=KBPS)
    _, _, task = await begin(plan)
    sshd.kill()
    async with asyncio.timeout(10):
        ended = await task
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "connection_lost", 16)
    assert ended.retryable
    assert partial.exists()
    assert not target.exists()
    sshd.start()
    plan, target, _ = case(direction, sshd, near, resume, content)
    assert (await run(plan)).outcome == "completed"
    assert target.read_bytes() == content


@BOTH
async def test_a_bit_flipped_on_the_line_never_arrives(
    direction: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    content = noise(3_000_000)
    async with FaultProxy(sshd.host, sshd.port, flip_at=20_000 if direction == "send" else 3_000) as proxy:
        plan, target, _ = case(direction, sshd, near, resume, content, port=proxy.port)
        ended = await run(plan)
        assert (ended.outcome, ended.retryable) == ("failed", True)
        assert not target.exists()


@BOTH
async def test_a_silent_line_is_noticed(
    direction: str, sshd: SshServer, near: Path, resume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transfers.session.IDLE_LIMIT_S", 1.0)
    async with FaultProxy(sshd.host, sshd.port) as proxy:
        plan, target, _ = case(direction, sshd, near, resume, noise(SIZE), port=proxy.port, rate_kbps=KBPS)
        _, _, task = await begin(plan, 1_000_000)
        proxy.silence()
        async with asyncio.timeout(10):
            ended = await task
    assert (ended.outcome, ended.code, ended.retryable) == ("failed", "connection_lost", True)
    assert not target.exists()


async def test_a_source_that_keeps_changing_is_never_published(
    sshd: SshServer, near: Path, resume: Path
) -> None:
    plan, target, _ = case("send", sshd, near, resume, noise(SIZE), rate_kbps=KBPS * 4)
    _, _, task = await begin(plan, 1_000_000)
    while not task.done():
        with (near / "film").open("r+b") as file:
            file.write(os.urandom(8))
        await asyncio.wait([task], timeout=0.2)
    ended = await task
    assert (ended.outcome, ended.code) == ("failed", "source_changed")
    assert not target.exists()


async def test_a_source_that_changed_once_is_sent_again_whole(
    sshd: SshServer, near: Path, resume: Path
) -> None:
    plan, target, _ = case("send", sshd, near, resume, noise(SIZE), rate_kbps=KBPS * 4)
    _, _, task = await begin(plan, 1_000_000)
    with (near / "film").open("r+b") as file:
        file.write(b"the beginning is new")
    ended = await task
    assert ended.outcome == "completed", ended.message
    assert target.read_bytes() == (near / "film").read_bytes()


@BOTH
@pytest.mark.parametrize("change", ["shorter", "longer"])
async def test_a_source_that_changes_size_is_noticed(
    direction: str, change: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    plan, target, _ = case(direction, sshd, near, resume, noise(SIZE), rate_kbps=KBPS * 2)
    _, _, task = await begin(plan, 1_000_000)
    source = near / "film" if direction == "send" else sshd.root / "film"
    if change == "shorter":
        os.truncate(source, 2_000_000)
    else:
        with source.open("ab") as file:
            file.write(b"more")
    ended = await task
    assert ended.outcome == "completed", ended.message  # the second try sent what is there now
    assert target.read_bytes() == source.read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of 4 MiB. Only root can mount one; the README says so where these tests are skipped."""
    as_root = [] if os.getuid() == 0 else ["sudo", "-n"]
    folder = tmp_path / "small"
    folder.mkdir()
    options = f"size=4m,uid={os.getuid()}"
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("a small volume cannot be mounted here: no root, and no sudo without a password")
    yield folder
    subprocess.run([*as_root, "umount", str(folder)], check=True)


async def test_a_full_disk_here_is_named_before_anything_is_fetched(
    sshd: SshServer, small_disk: Path, resume: Path
) -> None:
    (sshd.root / "film").write_bytes(noise(6_000_000))
    (small_disk / "film").write_bytes(b"old")
    listener = Listener()
    ended = await run(plan_for(sshd, [download(sshd.root / "film", small_disk, "film")], resume), listener)
    assert (ended.outcome, ended.code, ended.error_code, ended.retryable) == (
        "failed",
        "disk_full",
        25,
        False,
    )
    assert str(small_disk) in ended.message
    assert "6,000,000 bytes are needed" in ended.message
    assert (small_disk / "film").read_bytes() == b"old"
    assert listener.written() == 0


async def test_a_disk_that_fills_up_on_the_way_is_named_and_the_transfer_goes_on_later(
    sshd: SshServer, small_disk: Path, resume: Path
) -> None:
    content = noise(3_500_000)
    (sshd.root / "film").write_bytes(content)
    item = download(sshd.root / "film", small_disk, "film")
    plan = plan_for(sshd, [item], resume, rate_kbps=16_000, keep_free=0)
    _, _, task = await begin(plan, 500_000)
    with contextlib.suppress(OSError):
        (small_disk / "other").write_bytes(bytes(4 * 1024 * 1024))
    ended = await task
    assert (ended.outcome, ended.code) == ("failed", "disk_full")
    assert not (small_disk / "film").exists()
    assert (small_disk / "film.partial").exists()
    (small_disk / "other").unlink()
    assert (await run(plan)).outcome == "completed"
    assert (small_disk / "film").read_bytes() == content


async def test_a_full_disk_on_the_server_is_named(
    sshd: SshServer, near: Path, small_disk: Path, resume: Path
) -> None:
    (near / "film").write_bytes(noise(6_000_000))
    ended = await run(plan_for(sshd, [upload(near / "film", small_disk / "film")], resume))
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "disk_full", 25)
    assert not (small_disk / "film").exists()


@BOTH
async def test_the_rate_limit_is_held_and_can_be_changed(
    direction: str, sshd: SshServer, near: Path, resume: Path
) -> None:
    plan, _, _ = case(direction, sshd, near, resume, noise(SIZE), rate_kbps=16_000)  # 2 MB/s
    session, listener, task = await begin(plan, 500_000)
    rates: list[float] = []
    while not rates or (rates[-1] < 1_200_000 and len(rates) < 4):  # a busy machine is not always as quick
        before, began = listener.written(), time.monotonic()
        await asyncio.sleep(1.5)
        rates.append((listener.written() - before) / (time.monotonic() - began))
    assert rates[-1] > 1_200_000
    assert max(rates) < 2_700_000
    session.set_rate(None)
    async with asyncio.timeout(10):
        assert (await task).outcome == "completed"


async def test_someone_elses_partial_file_is_left_alone(sshd: SshServer, near: Path, resume: Path) -> None:
    for direction in ("send", "receive"):
        plan, target, partial = case(direction, sshd, near, resume, b"content")
        partial.write_text("not ours")
        assert (await run(plan)).outcome == "completed"
        assert target.read_bytes() == b"content"
        assert partial.read_text() == "not ours"
        assert sorted(path.name for path in target.parent.glob("*.partial")) == ["copy.partial"]


async def test_a_partial_file_that_is_a_link_by_now_is_not_written(
    sshd: SshServer, near: Path, resume: Path, tmp_path: Path
) -> None:
    content = noise(SIZE)
    plan, target, partial = case("receive", sshd, near, resume, content, rate_kbps=KBPS)
    session, _, task = await begin(plan)
    session.stop()
    await task
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    partial.unlink()
    partial.symlink_to(precious)
    plan, target, _ = case("receive", sshd, near, resume, content)
    assert (await run(plan)).outcome == "completed"
    assert target.read_bytes() == content
    assert precious.read_bytes() == b"precious"
    assert partial.is_symlink()


@BOTH
@pytest.mark.parametrize("policies", [{"overwrite": "always"}, {"resume": "none"}, {"existing": "keep_both"}])
async def test_going_on_does_not_redo_finished_files(
    direction: str, policies: dict[str, str], sshd: SshServer, near: Path, resume: Path
) -> None:
    source, target = (near / "s", sshd.root / "t") if direction == "send" else (sshd.root / "s", near / "t")
    source.mkdir()
    target.mkdir()
    for number in range(10):
        # One is done long before the others: a stop just as a file gets its name leaves it unknown which.
        (source / f"{number}").write_bytes(noise(1_000_000 if number else 200_000, number))
    if direction == "receive" and "existing" in policies:
        (target / "0").write_text("an older file of that name")
    item = [upload(source, target)] if direction == "send" else [download(source, near, "t")]
    plan = plan_for(sshd, item, resume, policies=policies, rate_kbps=KBPS)
    listener = Listener()
    session = Session(plan, listener)
    task = asyncio.create_task(session.run())
    await listener.until(lambda: any(report.state == "done" for report in listener.files().values()))
    session.stop()
    await task
    done = {path: path.stat().st_ino for path in target.iterdir() if path.suffix != ".partial"}
    again = Listener()
    assert (await run(plan.model_copy(update={"rate_kbps": None}), again)).outcome == "completed"
    assert {report.state for report in again.files().values()} == {"done"}
    assert {path: path.stat().st_ino for path in done} == done
    assert list(resume.iterdir()) == []
    names = {path.name for path in target.iterdir() if path.suffix != ".partial"}
    assert names - {"0 (1)"} == {str(number) for number in range(10)}
    # As a new transfer it is not the same story: then the policy decides again.
    if "existing" not in policies:
        new = plan.model_copy(update={"rate_kbps": None, "transfer_id": "another"})
        assert (await run(new)).outcome == "completed"
        assert all(path.stat().st_ino != inode for path, inode in done.items())
