"""Opens local files that the user gave, and nothing else.

A grant names a file or folder by path, device and inode (SEC-14). It is opened by path and compared;
everything below it is opened relative to its descriptor, by `openat2` where the kernel has it and name
by name elsewhere, never through a link. So a path that means something else by now is refused, however
often somebody swaps folders and links meanwhile. All functions block: run them in a thread.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import stat
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import LinkSkipped, SourceChanged, SourceMissing, SpecialFile
from connect_helper.spec.names import display
from connect_helper.transports.error_map import Side, local_error

if sys.platform != "win32":
    import resource

LINK_LIMIT: Final = 40  # links followed for one name, as the kernel does
CHECK_EVERY: Final = 64 * 1024 * 1024  # bytes read between two looks at whether a source changed (REL-4)

_SAFE: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # non-blocking: a pipe must not hold us up
_FOLDER: Final = _SAFE | os.O_DIRECTORY | os.O_RDONLY

# linux/openat2.h
_SYS_OPENAT2: Final = 437  # the same on every architecture since Linux 5.6
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Granted:
    """A file or folder the user gave: real path, and what was there then."""

    path: bytes
    device: int
    inode: int


def open_granted(granted: Granted, side: Side) -> int:
    """Open the granted file or folder itself for reading; the caller closes the descriptor.

    Raises SourceMissing or TargetMissing when it is gone, SourceChanged when something else is there.
    """
    try:
        handle = os.open(granted.path, _SAFE | os.O_RDONLY)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise changed(granted.path) from error
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise special(granted.path) from error
        raise local_error(error, side, granted.path) from error
    facts = os.fstat(handle)
    if (facts.st_dev, facts.st_ino) != (granted.device, granted.inode):
        os.close(handle)
        raise changed(granted.path)
    return handle


def changed(path: bytes) -> SourceChanged:
    """The error for a name that does not stand for what the user chose."""
    return SourceChanged(f"{display(path)} is not what was chosen any more; choose it again.")


def special(path: bytes) -> SpecialFile:
    """The error for something that is no file, folder or link."""
    return SpecialFile(f"{display(path)} is no regular file (a device, pipe or socket).")


def open_below(folder: int, names: Sequence[bytes], flags: int, mode: int = 0) -> int:
    """Open `names`, one below the other, starting in the open folder `folder`; no link is followed.

    `flags` are those of os.open. Raises OSError: ELOOP or ENOTDIR where a link is in the way.
    """
    if not names:
        return os.open(b".", flags | _SAFE, mode, dir_fd=folder)
    if _openat2 is not None:
        handle = _openat2(folder, b"/".join(names), flags | _SAFE, mode)
        if handle is not None:
            return handle
    return _open_by_name(folder, names, flags, mode)


def _open_by_name(folder: int, names: Sequence[bytes], flags: int, mode: int) -> int:
    if any(name in (b"", b".", b"..") or b"/" in name for name in names):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    current = os.dup(folder)
    try:
        for name in names[:-1]:
            deeper = os.open(name, _FOLDER, dir_fd=current)
            os.close(current)
            current = deeper
        return os.open(names[-1], flags | _SAFE, mode, dir_fd=current)
    finally:
        os.close(current)


class _Openat2:
    """The system call, by ctypes. Calling it gives None where the kernel or a sandbox has none."""

    def __init__(self) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._missing = False

    def __call__(self, folder: int, path: bytes, flags: int, mode: int) -> int | None:
        if self._missing:
            return None
        resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
        how = _OpenHow(flags, mode if flags & os.O_CREAT else 0, resolve)
        size = ctypes.c_size_t(ctypes.sizeof(how))
        handle: int = self._syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path), ctypes.byref(how), size
        )
        if handle >= 0:
            return handle
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):
            # EPERM may also be about this one file; opening by name then says so.
            self._missing = code == errno.ENOSYS
            return None
        if code == errno.EAGAIN:  # a rename elsewhere raced with us
            return None
        raise OSError(code, os.strerror(code))


_openat2: _Openat2 | None = (
    _Openat2() if sys.platform == "linux" and platform.python_implementation() == "CPython" else None
)


def resolve_links(folder: int, root: bytes, names: Sequence[bytes]) -> tuple[bytes, ...]:
    """Names below `folder` that reach the same thing as `names` with every link replaced.

    `root` is the real path of `folder`, for links that are absolute. The answer is for `open_below`,
    which follows nothing: if somebody changes a folder meanwhile, opening fails. Raises LinkSkipped
    for a link that leaves the folder, leads nowhere or in circles; OSError otherwise.
    """
    todo = deque(names)
    done: list[bytes] = []
    links = 0
    while todo:
        name = todo.popleft()
        if name == b"..":
            if not done:
                raise _leaves(names)
            done.pop()
        elif name not in (b"", b"."):
            target = _link_target(folder, done, name)
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > LINK_LIMIT:
                raise LinkSkipped(f"{display(names[-1])} is a link that leads in circles.")
            if target.startswith(b"/"):
                done, target = [], _below_root(target, root, names)
            todo.extendleft(reversed(target.split(b"/")))
    return tuple(done)


def _link_target(folder: int, above: Sequence[bytes], name: bytes) -> bytes | None:
    parent = open_below(folder, above, _FOLDER)
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)


def _below_root(target: bytes, root: bytes, names: Sequence[bytes]) -> bytes:
    wanted = [part for part in root.split(b"/") if part]
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    if parts[: len(wanted)] != wanted:
        raise _leaves(names)
    return b"/".join(parts[len(wanted) :])


def _leaves(names: Sequence[bytes]) -> LinkSkipped:
    return LinkSkipped(f"{display(names[-1])} is a link that leads out of the folder; it was left out.")


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one content of a file from another without reading it (REL-4)."""

    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Identity:
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


class SourceFile:
    """An open regular file that is being sent. See `LocalSource`."""

    def __init__(self, handle: int, path: bytes, facts: os.stat_result) -> None:
        self._handle = handle
        self.path = path
        self.identity = Identity.of(facts)
        self.atime_ns = facts.st_atime_ns  # before anything was read
        self.held: bytes | None = None
        self._unchecked = 0  # bytes read since the last look; about, where several threads read

    @property
    def size(self) -> int:
        return self.identity.size

    def read_at_once(self) -> None:
        """Keep all of a small file, for one trip to the disk instead of four; it is closed by that."""
        content = self.read(0, self.size)
        self.check()
        self.held = content
        self.close()

    def read(self, offset: int, length: int) -> bytes:
        if self.held is not None:
            return self._held(self.held, offset, length)
        self._unchecked += length
        pieces: list[bytes] = []
        while length:
            try:
                piece = os.pread(self._handle, length, offset)
            except OSError as error:
                raise local_error(error, "source", self.path) from error
            if not piece:
                raise self._changed()
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        if self._unchecked >= CHECK_EVERY:
            self._unchecked = 0
            self.check()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _held(self, content: bytes, offset: int, length: int) -> bytes:
        piece = content[offset : offset + length]
        if len(piece) < length:
            raise self._changed()
        return piece

    def check(self) -> None:
        if self.held is not None:
            return  # was done when it was read
        if Identity.of(os.fstat(self._handle)) != self.identity:
            raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"{display(self.path)} changed while it was read; send it again.")

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def open_source(granted: Granted, below: Sequence[bytes], *, quiet: bool = False) -> SourceFile:
    """Open a regular file for sending: the granted one itself, or one below a granted folder.

    `quiet` leaves its access time as it is, where the system lets us (Linux, for the file's owner).

    `below` must hold no links (see `resolve_links`). Raises SourceMissing, SourceDenied, SourceChanged,
    LinkSkipped, SpecialFile.
    """
    path = b"/".join((granted.path.rstrip(b"/"), *below))
    with closing(_Handle(open_granted(granted, "source"))) as top:
        handle = top.take() if not below else _open_file(top.number, below, path)
    facts = os.fstat(handle)
    if stat.S_ISREG(facts.st_mode):
        if quiet:
            _read_quietly(handle)
        return SourceFile(handle, path, facts)
    os.close(handle)
    if stat.S_ISDIR(facts.st_mode):
        raise SourceMissing(f"{display(path)} is a folder now; choose it again.")
    raise special(path)


def _read_quietly(handle: int) -> None:
    flag = getattr(os, "O_NOATIME", 0)
    if flag:
        with suppress(PermissionError):  # somebody else's file
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | flag)


def _open_file(folder: int, below: Sequence[bytes], path: bytes) -> int:
    try:
        return open_below(folder, below, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device without driver
            raise special(path) from error
        raise local_error(error, "source", path) from error


class _Handle:
    """Owns a descriptor until it is taken."""

    def __init__(self, number: int) -> None:
        self.number = number

    def take(self) -> int:
        number, self.number = self.number, -1
        return number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def open_files() -> int:
    """How many files the system lets this process have open."""
    if sys.platform == "win32":
        return 512  # of the C library; the system itself has no such limit
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft > 0 else 1 << 16
