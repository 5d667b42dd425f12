"""Locks between processes, and the places of records they guard."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connect_helper.transports.base import Proof
from connect_helper.transports.file_lock import FileLock
from connect_helper.transports.resume import KEPT_S, Record, RecordStore, SourceId

HOLDER = """
import sys
from pathlib import Path
from connect_helper.transports.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def record(partial: Path) -> Record:
    facts = partial.stat()
    proof = Proof(4, (), "")
    return Record("t", "receive", str(partial), facts.st_dev, facts.st_ino, SourceId(8, 1), proof)


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not FileLock(path).take()
        holder.kill()
        holder.wait()
    lock = FileLock(path)
    assert lock.take()
    lock.release()
    assert not path.exists()


def test_many_threads_never_hold_it_together(tmp_path: Path) -> None:
    path, inside, most, taken = tmp_path / "key.lock", 0, 0, 0
    count = threading.Lock()

    def contend(_: int) -> None:
        nonlocal inside, most, taken
        for _round in range(200):
            lock = FileLock(path)
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
    assert not path.exists()


def test_a_take_that_comes_after_the_release_gets_nothing(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "key.lock")
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


def test_each_gets_a_record_of_its_own_and_goes_on_with_it(tmp_path: Path) -> None:
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


def test_a_place_tells_whether_there_is_something_to_go_on_from(tmp_path: Path) -> None:
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


def test_a_folder_of_records_that_went_away_is_made_again(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "resume")
    first = store.slot("key")
    first.take()
    first.release()
    (tmp_path / "resume").rmdir()
    again = store.slot("key")
    assert again.take() == "key"
    assert again.alone
    again.release()


def test_where_no_lock_can_be_nothing_is_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "resume").write_text("a file is in the way")
    store = RecordStore(tmp_path / "resume")
    one, other = store.slot("key"), store.slot("key")
    assert len({"key", one.take(), other.take()}) == 3
    one.release()
    other.release()


def test_the_sweep_spares_what_is_under_way_and_clears_old_locks(tmp_path: Path) -> None:
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
    assert sorted(path.name for path in (tmp_path / "resume").iterdir()) == ["busy.json", "busy.lock"]
    slot.release()
