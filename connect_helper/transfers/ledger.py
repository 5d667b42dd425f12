"""Which files of one transfer are finished, so that going on after a lost line does not redo them.

A file of 16-byte marks, appended to as files get their final names; a mark says which source content went
to which target. It is named by the transfer and goes with its completion. All functions block.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Final

from connect_helper.transfers.marks import MARK, Marks

_log = logging.getLogger(__name__)

SUFFIX: Final = ".done"
SECOND: Final = 1_000_000_000  # ns


def mark(target: bytes, size: int, mtime_ns: int, inode: int = 0) -> bytes:
    """The mark of one source content under one target."""
    text = f"{size} {mtime_ns} {inode} ".encode("ascii")
    return hashlib.blake2b(text + target, digest_size=MARK).digest()


def rounded(target: bytes, size: int, mtime_ns: int) -> bytes:
    """The mark of a content whose time is known exactly, for who hears of it in whole seconds only."""
    text = f"rounded {size} {mtime_ns // SECOND} ".encode("ascii")
    return hashlib.blake2b(text + target, digest_size=MARK).digest()


def sent(target: bytes) -> bytes:
    """The mark of a target on the far side that got its name, whatever its content."""
    return hashlib.blake2b(b"sent " + target, digest_size=MARK).digest()


def link_made(target: bytes, content: bytes) -> bytes:
    """The mark of a target that got its name as a link which says `content`."""
    return hashlib.blake2b(b"link %d " % len(content) + content + target, digest_size=MARK).digest()


def gone(path: bytes) -> bytes:
    """The mark of a source that was removed or moved afterwards."""
    return hashlib.blake2b(b"gone " + path, digest_size=MARK).digest()


def begun(partial: bytes, device: int = 0, inode: int = 0, *, named: bool = True) -> bytes:
    """The mark of a partial file this transfer made; device and inode are 0 on the far side.

    Whoever is killed leaves no record of one that is young: by its mark the next session knows its own.
    Not `named` is what the far side has under no such name: a file that has it is somebody else's.
    """
    what = b"begun" if named else b"begun apart"
    return hashlib.blake2b(what + b" %d %d " % (device, inode) + partial, digest_size=MARK).digest()


def link_begun(partial: bytes) -> bytes:
    """The mark of a link this transfer made under a partial file's name: a file must not be written there.

    It would be written through the link.
    """
    return hashlib.blake2b(b"link begun " + partial, digest_size=MARK).digest()


def foreign(partial: bytes) -> bytes:
    """The mark of a partial file that was to be made, but somebody else had made it."""
    return hashlib.blake2b(b"foreign " + partial, digest_size=MARK).digest()


def twin(target: bytes) -> bytes:
    """The mark of a target that differs from another one of the transfer in case or composition only."""
    return hashlib.blake2b(b"twin " + target, digest_size=MARK).digest()


def _time_of(target: bytes, what: bytes) -> bytes:
    """How the mark begins that ends in a time of a folder of the source, in ns: it holds half a digest."""
    return hashlib.blake2b(what + b" of " + target, digest_size=MARK // 2).digest()


def mirrored() -> bytes:
    """The mark of a destination from which everything surplus was deleted: that happens once."""
    return hashlib.blake2b(b"mirrored", digest_size=MARK).digest()


class Ledger:
    """The finished files of one transfer. Safe to add to from several threads."""

    def __init__(self, folder: Path, transfer_id: str) -> None:
        # The id may come from a page: it is no file name.
        name = hashlib.sha256(transfer_id.encode("utf-8", "surrogatepass")).hexdigest()
        self._path = folder / (name + SUFFIX)
        self._handle = -1
        self._known = Marks()

    def open(self) -> None:
        """Read what earlier sessions finished.

        Where that cannot be kept, the transfer goes on without: at worst something is compared again.
        """
        try:
            self._open()
        except OSError as error:
            _log.warning("finished files cannot be noted: %s", error)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        self._handle = os.open(self._path, flags, 0o600)
        data = self._path.read_bytes()
        # A mark cut short by a crash is cut off, or all later ones would be shifted.
        whole = len(data) - len(data) % MARK
        os.ftruncate(self._handle, whole)
        self._known = Marks(data[at : at + MARK] for at in range(0, whole, MARK))

    @property
    def is_new(self) -> bool:
        """Tell whether no earlier session left anything."""
        return not self._known

    def knows(self, one: bytes) -> bool:
        """Tell whether an earlier session finished this file."""
        return one in self._known

    def left(self, partial: bytes, target: bytes, *, named: bool) -> bool:
        """Tell whether an earlier session made a partial file (see `begun`) and did not finish it.

        One that was finished is gone from there. What has its name now, after the target was taken away, is
        somebody else's: rather one of ours stays than that one of theirs is written over. Or it is another
        file of the transfer that is called so.
        """
        others = self.knows(foreign(partial)) or self.knows(link_begun(partial))
        return self.knows(begun(partial, named=named)) and not others and not self._came(target, partial)

    def left_link(self, partial: bytes, target: bytes) -> bool:
        """As `left`, of a link under a partial file's name (see `link_begun`)."""
        return self.knows(link_begun(partial)) and not self._came(target, partial)

    def _came(self, *targets: bytes) -> bool:
        return any(self.knows(sent(one)) for one in targets)

    def first_times(self, target: bytes, *, atime_ns: int, mtime_ns: int) -> tuple[int, int]:
        """The times of a folder of the source (of access, of modification) as an earlier session saw them.

        Where none did, these are noted and returned.
        """
        return self._first_time(_time_of(target, b"access"), atime_ns), self._first_time(
            _time_of(target, b"change"), mtime_ns
        )

    def _first_time(self, start: bytes, now_ns: int) -> int:
        known = self._known.beginning(start)
        if known is not None:
            return int.from_bytes(known[len(start) :], "big", signed=True)
        try:
            self.add(start + now_ns.to_bytes(MARK - len(start), "big", signed=True))
        except OverflowError:  # made up: three centuries from now
            _log.info("a time of %s ns is not noted", now_ns)
        return now_ns

    def add(self, one: bytes) -> None:
        """Note that a file has its final name. `one` may be several marks, one after the other."""
        if self._handle < 0:
            return
        try:
            os.write(self._handle, one)
        except OSError as error:
            _log.warning("a finished file cannot be noted: %s", error)

    def discard(self) -> None:
        """Forget the transfer. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def close(self, *, completed: bool) -> None:
        """End it; a completed transfer needs none any more."""
        if self._handle < 0:
            return
        empty = os.fstat(self._handle).st_size == 0
        os.close(self._handle)
        self._handle = -1
        if completed or empty:
            self._path.unlink(missing_ok=True)
