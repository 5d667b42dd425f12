"""Three system calls of Linux that Python does not offer: openat2, renameat2 and statx, by ctypes.

Each has a second way for systems (and sandboxes) without it. Source: the manual pages openat2(2),
renameat2(2) and statx(2), linux/openat2.h, linux/stat.h. All functions block.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_SYS_OPENAT2: Final = 437  # the same on every architecture, since Linux 5.6
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08
_RENAME_NOREPLACE: Final = 1
_EMPTY_PATH: Final = 0x1000
_NO_FOLLOW: Final = 0x100
_BIRTH: Final = 0x800  # of the mask that tells what is known
_BIRTH_AT: Final = 80  # bytes into the structure, which is 256 long: seconds (8), nanoseconds (4)
_TRIES: Final = 64  # a rename elsewhere that races with a look-up makes the kernel ask for another try
_LINK_LIMIT: Final = 40  # links followed on one way, as the kernel does
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_C: Final = ctypes.CDLL(None, use_errno=True) if sys.platform != "win32" else None


def open_beneath(folder: int, names: Sequence[bytes], flags: int, mode: int, *, links: bool) -> int:
    """Open `names`, each in the one before, beginning in the open folder `folder`, and never outside it.

    `links`: symbolic links are followed while they stay inside `folder`; without it none is. O_NOFOLLOW in
    `flags` spares the last name either way. Raises OSError, EXDEV or ELOOP where a link is in the way.
    """
    flags |= os.O_CLOEXEC
    if not names:
        return os.open(b".", flags & ~(os.O_CREAT | os.O_EXCL), dir_fd=folder)
    handle = _openat2(folder, b"/".join(names), flags, mode, links=links)
    return open_by_name(folder, names, flags, mode, links=links) if handle is None else handle


def _openat2(folder: int, path: bytes, flags: int, mode: int, *, links: bool) -> int | None:
    """None where the system call does not exist or is forbidden."""
    if _C is None or sys.platform != "linux":
        return None
    how = _OpenHow(
        flags, mode if flags & os.O_CREAT else 0, _BENEATH | _NO_MAGICLINKS | (0 if links else _NO_SYMLINKS)
    )
    size = ctypes.c_size_t(ctypes.sizeof(how))
    code = errno.EAGAIN
    for _ in range(_TRIES):
        handle: int = _C.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path), ctypes.byref(how), size
        )
        if handle >= 0:
            return handle
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code in (errno.ENOSYS, errno.EPERM):  # EPERM may be about this file; the second way says so then
        return None
    raise OSError(code, os.strerror(code))


def open_by_name(folder: int, names: Sequence[bytes], flags: int, mode: int, *, links: bool) -> int:
    """The second way: one name after the other, each relative to the folder before, links read by us.

    The folders on the way stay open, so that a `..` in a link goes back to where we came from, whatever
    has been moved meanwhile.
    """
    todo = list(reversed(names))
    way = [os.dup(folder)]
    followed = 0
    try:
        while True:
            name = todo.pop()
            if name in (b"", b"."):
                if not todo:
                    return os.open(b".", flags & ~(os.O_CREAT | os.O_EXCL), dir_fd=way[-1])
                continue
            if name == b"..":
                if len(way) == 1:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                os.close(way.pop())
                if not todo:
                    return os.open(b".", flags & ~(os.O_CREAT | os.O_EXCL), dir_fd=way[-1])
                continue
            last = not todo
            link = None if last and flags & (os.O_NOFOLLOW | os.O_EXCL) else _link(name, way[-1])
            if link is not None:
                followed += 1
                if not links or followed > _LINK_LIMIT:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                todo.extend(_parts(link))
            elif last:
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=way[-1])
            else:
                way.append(os.open(name, _FOLDER, dir_fd=way[-1]))
    finally:
        for handle in way:
            os.close(handle)


def _link(name: bytes, folder: int) -> bytes | None:
    """What the link of that name says; None for anything else. One call: what it is may change meanwhile."""
    try:
        return os.readlink(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def _parts(link: bytes) -> list[bytes]:
    """The names in a link, last one first. Raises OSError EXDEV for one that begins at the root."""
    if link.startswith(b"/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return link.split(b"/")[::-1]


Identity = tuple[int, int, int]


def identity_of(handle: int, name: bytes = b"") -> Identity:
    """Which file this is: device, inode and when it was made; an inode alone is soon another file's.

    Of the open `handle`, or of what has the `name` in it; a link is told of itself. The time is in
    nanoseconds, 0 where the disk does not keep it. Raises OSError.
    """
    facts = os.stat(name, dir_fd=handle, follow_symlinks=False) if name else os.fstat(handle)
    born_ns = int(getattr(facts, "st_birthtime", 0) * 1e9)  # macOS and BSD
    if _C is not None and hasattr(_C, "statx"):
        found = ctypes.create_string_buffer(256)
        flags = _EMPTY_PATH | _NO_FOLLOW
        done = _C.statx(handle, ctypes.c_char_p(name), flags, ctypes.c_uint(_BIRTH), found)
        if done == 0 and int.from_bytes(found.raw[:4], sys.byteorder) & _BIRTH:
            seconds, nanoseconds = struct.unpack_from("=qI", found, _BIRTH_AT)
            born_ns = seconds * 1_000_000_000 + nanoseconds
    return facts.st_dev, facts.st_ino, born_ns


def rename_fresh(source: bytes, target: bytes, source_folder: int, target_folder: int) -> None:
    """Rename in one step; an entry that has the target's name is never replaced.

    Raises OSError, FileExistsError for that. Where the file system cannot do it, a file is linked under
    its new name and then unlinked, and a folder refused with ENOTSUP.
    """
    if _C is not None and hasattr(_C, "renameat2"):
        done = _C.renameat2(
            ctypes.c_int(source_folder),
            ctypes.c_char_p(source),
            ctypes.c_int(target_folder),
            ctypes.c_char_p(target),
            ctypes.c_uint(_RENAME_NOREPLACE),
        )
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
            raise OSError(code, os.strerror(code))
    _link_and_unlink(source, target, source_folder, target_folder)


def _link_and_unlink(source: bytes, target: bytes, source_folder: int, target_folder: int) -> None:
    facts = os.stat(source, dir_fd=source_folder, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        with suppress(FileNotFoundError):
            os.stat(target, dir_fd=target_folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    os.unlink(source, dir_fd=source_folder)
