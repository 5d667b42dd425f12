"""Writes received files below a granted folder: aside first, under the final name only when whole.

Everything happens relative to descriptors of folders, so nothing can be led elsewhere by a link. A file
gets the modes the user's umask gives and nothing else from the far side (SEC-20). All functions block:
run them in a thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import AlreadyExists, TargetIsFolder, TransferError
from connect_helper.spec.names import display, numbered_name, partial_name
from connect_helper.transports.base import Facts, Publish
from connect_helper.transports.error_map import local_error
from connect_helper.transports.free_space import BY_RULE, Spare, check_space, disk_full, is_full
from connect_helper.transports.local_files import Granted, open_below, open_granted

NUMBERS: Final = 10_000  # tries for a free "name (1)"
CHECKED: Final = 4 * 1024 * 1024  # bytes a file may grow before it is looked again what is free
_VECTOR: Final = 512  # blocks in one write; the system allows 1024
_RENAME_NOREPLACE: Final = 1  # linux/fs.h


@dataclass(frozen=True, slots=True)
class FileId:
    """Which file a descriptor or name stands for on this machine."""

    device: int
    inode: int

    @classmethod
    def of(cls, facts: os.stat_result) -> FileId:
        return cls(facts.st_dev, facts.st_ino)


class TargetFolder:
    """An open folder to receive into. `path` is for messages and records only."""

    def __init__(self, handle: int, path: bytes, spare: Spare = BY_RULE) -> None:
        self._handle = handle
        self.path = path
        self.spare = spare
        self._identity: FileId | None = None
        self._room = -1  # bytes there is certainly room for, since it was last looked
        self._users = 1
        self._counting = threading.Lock()

    def share(self) -> TargetFolder:
        """The same folder, for one more user, who has to close it too; while it is open."""
        with self._counting:
            self._users += 1
        return self

    @property
    def identity(self) -> FileId:
        """Which folder it is, whatever its path."""
        if self._identity is None:
            self._identity = FileId.of(os.fstat(self._handle))
        return self._identity

    def close(self) -> None:
        """Each user once: with the last one it is closed."""
        with self._counting:
            self._users -= 1
            if self._users > 0 or self._handle < 0:
                return
            handle, self._handle = self._handle, -1
        os.close(handle)

    def facts(self, name: bytes) -> Facts | None:
        """What is at `name`, links told apart; None when there is nothing."""
        try:
            found = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise local_error(error, "target", self.path_of(name)) from error
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            return Facts("folder", 0, found.st_mtime_ns, found.st_atime_ns)
        kind = "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "special"
        return Facts(kind, found.st_size, found.st_mtime_ns, found.st_atime_ns)  # type: ignore[arg-type] # the words of Kind

    def path_of(self, name: bytes) -> bytes:
        return self.path.rstrip(b"/") + b"/" + name

    def read_ranges(self, name: bytes, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (offset, length) of the file `name`, shorter where it ends."""
        try:
            handle = open_below(self._handle, (name,), os.O_RDONLY)
            try:
                return [_pread(handle, offset, length) for offset, length in ranges]
            finally:
                os.close(handle)
        except OSError as error:
            raise local_error(error, "target", self.path_of(name)) from error

    def need_space(self, amount: int) -> None:
        """Raise DiskFull when `amount` bytes more would leave less free on the volume than is to stay.

        For small files it is looked once for many.
        """
        with self._counting:
            if amount > self._room:
                self._room = min(check_space(self._handle, self.path, amount, self.spare), CHECKED)
            else:
                self._room -= amount

    def create_partial(self, name: bytes) -> PartialFile:
        """Make a new partial file for `name`. One that exists is not ours: the next number is taken."""
        for number in range(NUMBERS):
            partial = partial_name(numbered_name(name, number) if number else name)
            try:
                handle = open_below(self._handle, (partial,), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                raise local_error(error, "target", self.path_of(name)) from error
            return PartialFile(self, handle, partial, untouched=True)
        raise AlreadyExists(f"{display(self.path_of(name))}: too many unfinished files of that name.")

    def adopt_partial(self, name: bytes, ours: Callable[[bytes, FileId], bool]) -> PartialFile | None:
        """Open the partial file for `name` and empty it, if `ours` knows its path and identity."""
        partial = partial_name(name)
        try:
            found = FileId.of(os.stat(partial, dir_fd=self._handle, follow_symlinks=False))
        except OSError:
            return None
        adopted = self.reopen_partial(partial, found) if ours(self.path_of(partial), found) else None
        if adopted is not None:
            adopted.truncate(0)
        return adopted

    def reopen_partial(self, partial: bytes, identity: FileId) -> PartialFile | None:
        """Open a partial file of an earlier run; None when it is gone or not the same file any more."""
        try:
            handle = open_below(self._handle, (partial,), os.O_RDWR)
        except OSError:
            return None
        facts = os.fstat(handle)
        if FileId.of(facts) != identity or not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            os.close(handle)
            return None
        return PartialFile(self, handle, partial)

    def publish(self, partial: PartialFile, name: bytes, how: Publish, *, durable: bool = True) -> bytes:
        """Bring a whole, synced partial file under `name`, in one step; returns the name.

        A link at `name` is replaced itself. Without `durable`, it takes `sync` for the name to stay.
        Raises TargetIsFolder, AlreadyExists (`how` is "fresh").
        """
        path = self.path_of(name)
        try:
            if how == "replace":
                os.rename(partial.name, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
            else:
                _rename_fresh(self._handle, partial.name, name)
            if durable:
                os.fsync(self._handle)
        except FileExistsError as error:
            raise AlreadyExists(f"{display(path)} exists already.") from error
        except IsADirectoryError as error:
            raise TargetIsFolder(
                f"{display(path)} cannot be written: a folder of that name is in the way."
            ) from error
        except OSError as error:
            raise local_error(error, "target", path) from error
        return name

    def sync(self) -> None:
        """Make all names that files were given here so far durable."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise local_error(error, "target", self.path) from error

    def publish_numbered(self, partial: PartialFile, name: bytes) -> bytes:
        """As `publish`, under the first free one of "name", "name (1)", "name (2)"; returns it."""
        for number in range(NUMBERS):
            try:
                return self.publish(partial, numbered_name(name, number) if number else name, "fresh")
            except AlreadyExists:
                continue
        raise AlreadyExists(f"{display(self.path_of(name))}: too many files of that name.")

    def remove_partial(self, partial: PartialFile) -> None:
        """Remove a partial file, if the name still stands for it."""
        try:
            facts = os.stat(partial.name, dir_fd=self._handle, follow_symlinks=False)
            if FileId.of(facts) == partial.identity:
                os.unlink(partial.name, dir_fd=self._handle)
        except FileNotFoundError:
            return
        except OSError as error:
            raise local_error(error, "target", partial.path) from error

    def set_times(self, atime_ns: int, mtime_ns: int) -> None:
        """Set the folder's own times of access and modification. Raises TargetError."""
        try:
            os.utime(self._handle, ns=(atime_ns, mtime_ns))
        except OSError as error:
            raise local_error(error, "target", self.path) from error

    def keep_as(self, name: bytes, saved: bytes) -> None:
        """Give a file another name of this folder. Raises AlreadyExists when that is taken."""
        try:
            _rename_fresh(self._handle, name, saved)
        except OSError as error:
            raise local_error(error, "target", self.path_of(saved)) from error

    def make_link(self, name: bytes, content: bytes) -> None:
        """Make a symbolic link. Raises AlreadyExists when the name is taken."""
        try:
            os.symlink(content, name, dir_fd=self._handle)
            os.fsync(self._handle)
        except OSError as error:
            raise local_error(error, "target", self.path_of(name)) from error

    def replace_by_link(self, name: bytes, content: bytes, aside: bytes) -> None:
        """Put a symbolic link in the place of a file or link; it is called `aside` first.

        Raises AlreadyExists when that name is taken.
        """
        self.make_link(aside, content)
        try:
            os.rename(aside, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
            os.fsync(self._handle)
        except OSError as error:
            with suppress(TransferError):
                self.remove(aside)
            raise local_error(error, "target", self.path_of(name)) from error

    def remove(self, name: bytes) -> None:
        """Remove a file or a link. Raises TargetError."""
        try:
            os.unlink(name, dir_fd=self._handle)
        except OSError as error:
            raise local_error(error, "target", self.path_of(name)) from error

    def leads_to_folder(self, name: bytes) -> bool:
        """Tell whether a link of this folder leads to a folder, wherever that is."""
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=self._handle).st_mode)
        except OSError:
            return False


def move_fresh(folder: int, name: bytes, to: TargetFolder, target: bytes) -> None:
    """Move an entry of the open folder `folder` into another one. Raises OSError: EEXIST, EXDEV, ..."""
    _rename_fresh(folder, name, target, to._handle)


def open_target_folder(granted: Granted, names: Sequence[bytes], spare: Spare = BY_RULE) -> TargetFolder:
    """Open the folder `names` below a granted one; missing ones are made. Files in it respect `spare`.

    Raises TargetMissing, TargetDenied, TargetNotFolder (a file or a link is in the way), SourceChanged
    when the granted folder itself is another one now.
    """
    current = open_granted(granted, "target")
    path = granted.path
    try:
        for name in names:
            path = path.rstrip(b"/") + b"/" + name
            deeper = _enter(current, name)
            os.close(current)
            current = deeper
    except OSError as error:
        os.close(current)
        raise local_error(error, "target", path) from error
    return TargetFolder(current, path, spare)


def _enter(folder: int, name: bytes) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        return open_below(folder, (name,), flags)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o777, dir_fd=folder)
    except FileExistsError:
        pass  # another file of the transfer was quicker; or it is a link, which opening refuses
    else:
        os.fsync(folder)
    return open_below(folder, (name,), flags)


class PartialFile:
    """An open file that is being received. See `LocalTarget`. Only one thread writes at a time."""

    def __init__(self, folder: TargetFolder, handle: int, name: bytes, *, untouched: bool = False) -> None:
        """`untouched`: it was just made, and is empty."""
        self._folder = folder
        self._handle = handle
        self.name = name
        facts = os.fstat(handle)
        self.identity = FileId.of(facts)
        self.expected = 0  # bytes it is to hold, for the message when they do not fit
        self._unchecked = 0  # bytes written since it was last looked what is free
        self._is_untouched = untouched
        self._sync_failure: TransferError | None = None
        self._closing = threading.Lock()  # syncing and closing come from different threads

    @property
    def path(self) -> bytes:
        return self._folder.path_of(self.name)

    @property
    def is_open(self) -> bool:
        return self._handle >= 0

    def size(self) -> int:
        return os.fstat(self._handle).st_size

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        self._leave_some(sum(map(len, data)))
        self.overwrite(offset, data)

    def _leave_some(self, amount: int) -> None:
        """Now and then, raise DiskFull when less is free on the volume than is to stay."""
        self._unchecked += amount
        if self._unchecked >= CHECKED:
            self._unchecked = 0
            missing = max(self.expected - self.size(), amount)
            check_space(self._handle, self._folder.path, 0, self._folder.spare, missing=missing)

    def overwrite(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        """Write where the file has its place on the disk already."""
        self._is_untouched = False
        todo = [memoryview(block) for block in data]
        try:
            while todo:
                written = os.pwritev(self._handle, todo[:_VECTOR], offset)
                offset += written
                todo = _after(todo, written)
        except OSError as error:
            raise self._error(error, sum(map(len, todo))) from error

    def sync(self) -> None:
        """Bring what was written to the disk.

        Once it failed it fails for good: the system may call the next try a success although the data
        is gone (REL-11). A closed file was brought there before. Of a new file that nothing was written to
        there is nothing to bring: it comes there with the name that syncing the folder makes durable.
        """
        if self._sync_failure is not None:
            raise self._sync_failure
        if self._is_untouched:
            return
        with self._closing:
            if self._handle < 0:
                return
            try:
                self._guard(os.fsync)
            except TransferError as error:
                self._sync_failure = error
                raise

    def truncate(self, length: int) -> None:
        self._is_untouched = False
        self._guard(lambda handle: os.ftruncate(handle, length))

    def set_times(self, atime_ns: int, mtime_ns: int) -> None:
        self._guard(lambda handle: os.utime(handle, ns=(atime_ns, mtime_ns)))

    def _guard(self, call: Callable[[int], None]) -> None:
        try:
            call(self._handle)
        except OSError as error:
            raise self._error(error, 0) from error

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there, fewer at the end."""
        try:
            return _pread(self._handle, offset, length)
        except OSError as error:
            raise local_error(error, "target", self.path) from error

    def close(self) -> None:
        """Close the file; an error of closing is an error of writing."""
        with self._closing:
            handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            os.close(handle)
        except OSError as error:
            raise self._error(error, 0) from error

    def _error(self, error: OSError, missing: int) -> TransferError:
        if not is_full(error):
            return local_error(error, "target", self.path)
        if self._handle < 0:
            return disk_full(self._folder.path, missing, 0, reason=error)
        volume = os.fstatvfs(self._handle)
        missing = max(self.expected - self.size(), missing)
        return disk_full(self._folder.path, missing, volume.f_bavail * volume.f_frsize, reason=error)


def _pread(handle: int, offset: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length:
        piece = os.pread(handle, length, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


def _after(blocks: list[memoryview], written: int) -> list[memoryview]:
    """What is left of `blocks` when their first `written` bytes are gone."""
    for index, block in enumerate(blocks):
        if written < len(block):
            return [block[written:], *blocks[index + 1 :]]
        written -= len(block)
    return []


def _rename_fresh(folder: int, source: bytes, target: bytes, to: int | None = None) -> None:
    """Rename within a folder or into the folder `to`. Raises FileExistsError when the target exists."""
    to = folder if to is None else to
    if _renameat2 is not None:
        result = _renameat2(folder, source, to, target, _RENAME_NOREPLACE)
        code = ctypes.get_errno() if result else 0
        if not result:
            return
        if code not in (errno.ENOSYS, errno.EINVAL):  # a file system that cannot do it
            raise OSError(code, os.strerror(code))
    os.link(source, target, src_dir_fd=folder, dst_dir_fd=to, follow_symlinks=False)
    os.unlink(source, dir_fd=folder)


_renameat2 = (
    getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
)
