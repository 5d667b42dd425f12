"""Locks between processes, of both kinds, and the places of records they guard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from connect_helper.transports import byte_locks
from connect_helper.transports.base import Proof
from connect_helper.transports.byte_locks import ByteLock, LockFile
from connect_helper.transports.file_lock import FileLock
from connect_helper.transports.resume import KEPT_S, Record, RecordStore, SourceId

HOLDER = """
import sys
from pathlib import Path
from connect_helper.transports.byte_locks import LockFile
from connect_helper.transports.file_lock import FileLock
kind, path = sys.argv[1:]
lock = FileLock(Path(path)) if kind == "files" else LockFile(path).lock("key")
print(lock.take(), flush=True)
sys.stdin.read()
"""

needs_bytes = pytest.mark.skipif(sys.platform != "linux", reason="only Linux locks bytes this way")


@pytest.fixture(params=[pytest.param("bytes", marks=needs_bytes), "files"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which locks record stores use."""
    name = str(request.param)
    monkeypatch.setattr(byte_locks, "are_known", lambda _folder: name == "bytes")
    return name


def locks_of(kind: str, path: Path) -> Callable[[], ByteLock | FileLock]:
    """Makes the same lock each time; those of one file come as from one program."""
    if kind == "files":
        return lambda: FileLock(path)
    file = LockFile(str(path))
    return lambda: file.lock("key")


def record(partial: Path) -> Record:
    facts = partial.stat()
    proof = Proof(4, (), "")
    return Record("t", "receive", str(partial), facts.st_dev, facts.st_ino, SourceId(8, 1), proof)


def test_another_process_holds_it_until_it_dies(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.lock"
    command = [sys.executable, "-c", HOLDER, kind, str(path)]
    new = locks_of(kind, path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not new().take()
        holder.kill()
        holder.wait()
    lock = new()
    assert lock.take()
    lock.release()
    assert path.exists() == (kind == "bytes")


def test_many_threads_never_hold_it_together(tmp_path: Path, kind: str) -> None:
    inside, most, taken = 0, 0, 0
    new, count = locks_of(kind, tmp_path / "key.lock"), threading.Lock()

    def contend(_: int) -> None:
        nonlocal inside, most, taken
        for _round in range(200):
            lock = new()
            if lock.take():
                with count:
                    inside, taken = inside + 1, taken + 1
                    most = max(most, inside)
                with count:
                    inside -= 1
                lock.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(contend, range(4)))
    assert (most, inside) == (1, 0)
    assert taken > 0


def test_a_take_that_comes_after_the_release_gets_nothing(tmp_path: Path, kind: str) -> None:
    lock = locks_of(kind, tmp_path / "key.lock")()
    lock.release()
    assert not lock.take()
    slot = RecordStore(tmp_path).slot("key")
    slot.release()
    assert slot.take().startswith("key-")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_somebody_removed_leaves_that_of_another_alone(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "one.lock"), FileLock(tmp_path / "one.lock")
    assert first.take()
    (tmp_path / "one.lock").unlink()
    assert second.take()
    first.release()
    third = FileLock(tmp_path / "one.lock")
    assert not third.take()
    second.release()
    assert third.take()
    third.release()
    assert list(tmp_path.iterdir()) == []


@needs_bytes
def test_many_locks_of_one_file_keep_only_their_equals_away(tmp_path: Path) -> None:
    mine, theirs = LockFile(str(tmp_path / "locks")), LockFile(str(tmp_path / "locks"))
    names = [f"key {number}" for number in range(300)]
    locks = {name: mine.lock(name) for name in names}
    assert all(lock.take() for lock in locks.values())
    locks["key 7"].release()
    assert [name for name in names if theirs.lock(name).take()] == ["key 7"]
    assert not mine.lock("key 8").take()  # the same program, though the system would not mind
    for lock in locks.values():
        lock.release()
    assert theirs.lock("key 8").take()
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]


@needs_bytes
def test_a_file_of_locks_is_open_only_while_one_is_held(tmp_path: Path) -> None:
    file = LockFile(str(tmp_path / "locks"))
    before = psutil.Process().num_fds()
    first, second, third = (file.lock(name) for name in ("one", "two", "one"))
    assert first.take()
    assert second.take()
    assert not third.take()
    assert psutil.Process().num_fds() == before + 1
    first.release()
    assert psutil.Process().num_fds() == before + 1
    second.release()
    assert psutil.Process().num_fds() == before


@needs_bytes
def test_a_file_of_locks_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "locks"
    mine, theirs = LockFile(str(path)), LockFile(str(path))
    old = mine.lock("old")
    assert old.take()
    path.unlink()
    new = mine.lock("new")
    assert new.take()
    assert not theirs.lock("new").take()  # it is in the file that has the name now
    assert not mine.lock("old").take()
    old.release()
    assert mine.lock("old").take()
    new.release()


def test_each_gets_a_record_of_its_own_and_goes_on_with_it(tmp_path: Path, kind: str) -> None:
    store, partial = RecordStore(tmp_path / "resume"), tmp_path / "film.partial"
    partial.write_bytes(b"half")
    first, second = store.slot("key"), store.slot("key")
    assert first.take() == first.take() == "key"
    own = second.take()
    assert own != "key"
    store.save(own, record(partial))
    first.release()
    second.release()
    again, another = store.slot("key"), store.slot("key")
    assert (again.take(), store.load(again.key)) == (own, record(partial))
    store.remove(own)
    assert another.take() == "key"
    again.release()
    another.release()
    assert list((tmp_path / "resume").iterdir()) == []


def test_a_place_tells_whether_there_is_something_to_go_on_from(tmp_path: Path, kind: str) -> None:
    store, partial = RecordStore(tmp_path / "resume"), tmp_path / "film.partial"
    partial.write_bytes(b"half")
    slot = store.slot("key")
    slot.take()
    assert not slot.noted
    store.save("key", record(partial))
    slot.release()
    again = store.slot("key")
    again.take()
    assert again.noted
    again.release()


def test_a_folder_of_records_that_went_away_is_made_again(tmp_path: Path, kind: str) -> None:
    store = RecordStore(tmp_path / "state" / "resume")
    first = store.slot("key")
    first.take()
    first.release()
    shutil.rmtree(tmp_path / "state")
    again = store.slot("key")
    assert again.take() == "key"
    assert again.alone
    again.release()


def test_where_no_lock_can_be_nothing_is_gone_on_from(tmp_path: Path, kind: str) -> None:
    (tmp_path / "resume").write_text("a file is in the way")
    (tmp_path / "resume.locks").mkdir()
    store = RecordStore(tmp_path / "resume")
    one, other = store.slot("key"), store.slot("key")
    assert len({"key", one.take(), other.take()}) == 3
    one.release()
    other.release()


def test_the_sweep_spares_what_is_under_way_and_clears_old_locks(tmp_path: Path, kind: str) -> None:
    store = RecordStore(tmp_path / "resume")
    partials = {name: tmp_path / f"{name}.partial" for name in ("busy", "left")}
    for name, partial in partials.items():
        partial.write_bytes(b"half")
        store.save(name, record(partial))
    slot = store.slot("busy")
    assert slot.take() == "busy"
    (tmp_path / "resume" / "killed.lock").touch()
    assert store.sweep(now=time.time() + KEPT_S + 60) == 1
    assert partials["busy"].exists()
    assert not partials["left"].exists()
    kept = {"bytes": ["busy.json"], "files": ["busy.json", "busy.lock"]}
    assert sorted(path.name for path in (tmp_path / "resume").iterdir()) == kept[kind]
    slot.release()


def refuse(*_: object) -> None:
    raise OSError(22, "Invalid argument")


@needs_bytes
def test_where_bytes_can_be_locked_is_asked_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.delattr(
        os, "memfd_create", raising=False
    )  # so it is where Python was built for older systems
    monkeypatch.delattr("fcntl.F_OFD_SETLK", raising=False)
    store = RecordStore(state / "resume")
    assert isinstance(store.lock("key"), ByteLock)
    assert list(state.iterdir()) == []  # asking leaves nothing
    other = tmp_path / "other"
    monkeypatch.setattr(byte_locks, "_change", refuse)
    assert isinstance(RecordStore(other / "resume").lock("key"), FileLock)


@needs_bytes
def test_a_lock_that_cannot_be_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_locks, "_change", refuse)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(OSError, match="Invalid"):
            LockFile(str(tmp_path / "locks")).lock("key").take()
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


@needs_bytes
def test_a_file_of_locks_that_was_moved_away_counts_no_more(tmp_path: Path) -> None:
    path = tmp_path / "locks"
    mine = LockFile(str(path))
    first = mine.lock("one")
    assert first.take()
    path.rename(tmp_path / "moved")
    assert mine.lock("key").take()
    assert not LockFile(str(path)).lock("key").take()
    first.release()


@needs_bytes
def test_a_version_that_locks_whole_files_is_respected(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "resume")
    old = FileLock(tmp_path / "resume" / "key.lock")
    assert old.take()
    assert not store.lock("key").take()
    assert store.lock("other").take()
    old.release()
    lock = store.lock("key")
    assert lock.take()
    assert not store.lock("key").take()
    lock.release()
    (tmp_path / "resume" / "key.lock").touch()  # left by one that was killed
    both = store.lock("key")
    assert both.take()
    assert not FileLock(tmp_path / "resume" / "key.lock").take()
    both.release()
    assert store.lock("key").take()
