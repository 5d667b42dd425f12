"""What is remembered of unfinished files, so that a later session can go on from them.

One small JSON file per unfinished file, in a folder only the user can read:

    {"version": 1, "transfer_id": "...", "partial": "...", "partial_device": 0, "partial_inode": 0,
     "source": {"size": 0, "mtime_ns": 0, "inode": 0, "etag": ""}, "offset": 0, "blocks": ["hex", ...],
     "tail": "hex", "algorithm": "xxh128", "direction": "receive"}

An upload over HTTP leaves something else on the server than one over SSH, so it has a record of its own.

Who works on one holds its lock, which is a byte of the file `<folder>.locks`, or where the system has no such
locks a file beside the record.

A record proves nothing by itself (REL-5): whoever goes on compares the source's identity and hashes
again what is there. Records without an algorithm are of SHA-256. All functions block: run them in a thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from connect_helper.settings import write_private
from connect_helper.spec.block_hash import BLOCK_HASH, SHA256, new_hash
from connect_helper.spec.names import display
from connect_helper.transports import byte_locks, file_lock
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Proof
from connect_helper.transports.byte_locks import ByteLock, LockFile
from connect_helper.transports.file_lock import FileLock

_log = logging.getLogger(__name__)

VERSION: Final = 1
KEPT_S: Final = 7 * 24 * 3600.0  # seconds an unfinished file is kept without being touched
SUFFIX: Final = ".json"
LOCKS: Final = ".locks"  # added to the folder's name: the file beside it that its locks are in
OVER_HTTP: Final = "-http"  # added to the key of an upload that goes over HTTP
SLOTS: Final = 100  # transfers to one target at a time that can all be gone on with


@dataclass(frozen=True, slots=True)
class SourceId:
    """Which content the partial file was begun from; `inode` 0, `etag` "": the far side has none."""

    size: int
    mtime_ns: int
    inode: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One unfinished file. `partial` is its path as text; device and inode are 0 on the far side."""

    transfer_id: str
    direction: Literal["send", "receive"]
    partial: str
    partial_device: int
    partial_inode: int
    source: SourceId
    proof: Proof


class RecordStore:
    """Keeps the records of one folder, each under a name made from what it is about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._within = os.path.join(folder, "")  # noqa: PTH118 - text, for what is done for each file
        self._locks = LockFile(os.fspath(folder) + LOCKS)

    @staticmethod
    def key(direction: str, host: str, port: int, user: str, target: bytes) -> str:
        """The name of a record: the same target on the same server has the same one."""
        parts = [os.fsencode(part) for part in (direction, host.lower(), str(port), user)]
        return hashlib.sha256(b"\0".join([*parts, target])).hexdigest()

    def save(self, key: str, record: Record) -> None:
        """Write or replace a record. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = asdict(record)
        content |= {**content.pop("proof"), "version": VERSION}
        if not record.proof.chained:
            del content["chained"]
        write_private(self._path(key), json.dumps(content))

    def load(self, key: str) -> Record | None:
        """The record, None when there is none or it cannot be understood."""
        try:
            return _parse(self._path(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("resume record %s is not usable: %s", key, error)
            return None

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def slot(self, key: str) -> Slot:
        """A place for the record of one file that gets under way."""
        return Slot(self, key)

    def lock(self, key: str) -> ByteLock | FileLock | BothLocks:
        """The lock that whoever works on a record's partial file holds. Raises OSError."""
        path = self._within + key + file_lock.SUFFIX
        if not byte_locks.are_known(os.fspath(self._folder.parent)):
            return FileLock(path)
        lock = self._locks.lock(key)
        # A version from before there were locks of bytes may still run, while it is replaced.
        return BothLocks(lock, FileLock(path)) if os.path.exists(path) else lock  # noqa: PTH110 - as in `has`

    def sort_out(self, key: str) -> None:
        """Move what earlier versions noted of uploads over HTTP to keys of their own, if any is here.

        These versions had one key for both ways. Raises OSError.
        """
        plain = key.removesuffix(OVER_HTTP)
        for number in range(SLOTS):
            one = _numbered(plain, number)
            if not self.has(one):
                return
            lock = self.lock(one)
            try:
                if lock.take() and (record := self.load(one)) is not None and record.proof.chained:
                    self._move(one, plain + OVER_HTTP)
            finally:
                lock.release()

    def _move(self, key: str, to: str) -> None:
        for number in range(SLOTS):
            other = _numbered(to, number)
            lock = self.lock(other)
            try:
                if lock.take() and not self.has(other):
                    self._path(key).rename(self._path(other))
                    return
            finally:
                lock.release()

    def has(self, key: str) -> bool:
        """Tell whether there is a record, readable or not."""
        return os.path.exists(self._within + key + SUFFIX)  # noqa: PTH110 - see `_within`

    def _path(self, key: str) -> Path:
        return self._folder / (key + SUFFIX)

    def sweep(self, *, now: float | None = None) -> int:
        """Remove records untouched for `KEPT_S`, with the local partial files that are still ours.

        Partial files on a server stay: nobody is logged in there. Tells how many records went.
        """
        limit = (time.time() if now is None else now) - KEPT_S
        removed = 0
        for path in self._folder.glob("*" + SUFFIX):
            if path.stat().st_mtime < limit:
                removed += self._forget(path.stem)
        for path in self._folder.glob("*.done"):  # of transfers nobody came back to
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
        self._sweep_locks(limit)
        return removed

    def _forget(self, key: str) -> bool:
        lock = self.lock(key)
        if not lock.take():
            return False  # slow, or waiting: it is under way
        try:
            record = self.load(key)
            if record is not None and record.direction == "receive":
                _remove_partial(record)
            self.remove(key)
        finally:
            lock.release()
        return True

    def _sweep_locks(self, limit: float) -> None:
        """Remove the files of locks whose holders were killed."""
        for path in self._folder.glob("*" + file_lock.SUFFIX):
            lock = FileLock(path)
            try:
                if path.stat().st_mtime < limit:
                    lock.take()
            except FileNotFoundError:
                continue  # released meanwhile
            finally:
                lock.release()


class BothLocks:
    """Two locks held as one. Taken and released once."""

    def __init__(self, first: ByteLock, second: FileLock) -> None:
        self._first = first
        self._second = second

    def take(self) -> bool:
        """Take both or none. Raises OSError."""
        try:
            both = self._first.take() and self._second.take()
        except BaseException:
            self.release()
            raise
        if not both:
            self.release()
        return both

    def release(self) -> None:
        """Let them go, if they are held."""
        self._second.release()
        self._first.release()


class Slot:
    """Where the record of a file under way is kept, and the right to it.

    Two transfers to one target, in this process or in any other of the user, never get the same: each has
    a record and a partial file of its own, and so both end whole.
    """

    def __init__(self, store: RecordStore, key: str) -> None:
        self._store = store
        self._base = key
        self._lock: ByteLock | FileLock | BothLocks | None = None
        self._mutex = threading.Lock()
        self._over = False
        self._number = 0
        self.key = ""  # of the record, once taken
        self.noted = False  # there was a record when it was taken

    def take(self) -> str:
        """Find a record nobody works on, or a place for a new one; return its key. Again: the same one.

        Where no lock can be had the key is one that has no record: nothing can be gone on from then.
        """
        with self._mutex:
            if not self.key and not self._over:
                try:
                    self.key = self._find_sorted()
                except OSError as error:
                    _log.warning("unfinished files cannot be noted: %s", error)
            self.key = self.key or f"{self._base}-{secrets.token_hex(8)}"
            return self.key

    def pass_on(self) -> bool:
        """Leave the record to whose it is, and take the next one, or a place for a new one.

        False: there is no other place, and nothing changes.
        """
        with self._mutex:
            before, lock = (self.key, self.noted), self._lock
            if lock is None or self._over:
                return False
            try:
                self.key = self._find(self._number + 1)
            except OSError as error:
                _log.warning("unfinished files cannot be noted: %s", error)
                self.key = ""
            if not self.key:
                self.key, self.noted = before
                return False
            lock.release()
            return True

    @property
    def alone(self) -> bool:
        """Whether nobody else on this machine has a file of the same target under way."""
        return self.key == self._base and self._lock is not None

    def release(self) -> None:
        """The file is no longer under way."""
        with self._mutex:
            self._over = True
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _find_sorted(self) -> str:
        """As `_find`, after earlier versions' records were sorted out; a place without any takes no look."""
        if not self._base.endswith(OVER_HTTP):
            key = self._find()
            if self._lock is None or not self.noted:
                return key
            self._lock.release()
            self._lock = None
        self._store.sort_out(self._base)
        return self._find()

    def _find(self, begin: int = 0) -> str:
        for number in range(begin, SLOTS):
            key = _numbered(self._base, number)
            lock = self._store.lock(key)
            if not lock.take():
                continue
            self.noted = self._store.has(key)
            # One without a record is passed over for one that has something to go on from.
            if not self.noted and self._store.has(_numbered(self._base, number + 1)):
                lock.release()
                continue
            self._lock, self._number = lock, number
            return key
        return ""


def _numbered(key: str, number: int) -> str:
    return f"{key}-{number}" if number else key


def _remove_partial(record: Record) -> None:
    path = Path(record.partial)
    try:
        facts = path.lstat()
        if (facts.st_dev, facts.st_ino) == (record.partial_device, record.partial_inode):
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("the unfinished file %s cannot be removed: %s", display(record.partial), error)


def _parse(text: str) -> Record:
    content = json.loads(text)
    if content["version"] != VERSION:
        raise ValueError(f"version {content['version']}")
    source = SourceId(**content["source"])
    algorithm = content.get("algorithm", SHA256)
    if algorithm not in (SHA256, BLOCK_HASH):
        raise ValueError(f"hashes of {algorithm}")
    proof = Proof(
        int(content["offset"]),
        tuple(map(str, content["blocks"])),
        str(content["tail"]),
        chained=content.get("chained") is True,
        algorithm=algorithm,
    )
    return Record(
        str(content["transfer_id"]),
        content["direction"],
        str(content["partial"]),
        int(content["partial_device"]),
        int(content["partial_inode"]),
        source,
        proof,
    )


def proven(read: Callable[[int, int], bytes], proof: Proof, hashes: BlockHashes) -> int:
    """How many leading bytes of a file are those `proof` was made of: whole blocks, or all of them.

    Reads them, and feeds exactly the proven ones to `hashes`. `read(offset, length)` may return less at
    the end of the file.
    """
    offset, digest = 0, new_hash(proof.algorithm)
    for expected in (*proof.blocks, *((proof.tail,) if proof.tail else ())):
        length = min(RECORD_BLOCK, proof.offset - offset)
        data = read(offset, length)
        digest.update(data)
        if len(data) < length or digest.hexdigest() != expected:
            break
        if not proof.chained:
            digest = new_hash(proof.algorithm)
        hashes.feed(data)
        offset += length
    return offset
