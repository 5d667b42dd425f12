"""One folder as root of everything a session may reach.

The folder is opened once and kept; every path is resolved below its descriptor, by the kernel where it can
(openat2 with RESOLVE_BENEATH) and name by name elsewhere, so that no `..`, no link and no swapping of
folders and links leads outside (SEC-14). All methods block: call them in a thread. All raise OSError, with
ENOENT where a link leads outside, since what lies there is nobody's business.

Links: with `follow_links` those that stay inside are followed; without, none is, and a path through one does
not exist. A session with a token must take the second, or a link would lead past the token's paths.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from connect_helper.storage.docpath import DocPath, checked
from connect_helper.storage.kernel import Identity, identity_of, open_beneath, rename_fresh

MODES: Final = 0o777  # no set-user, set-group or sticky bit from outside (SEC-20)
_WRITE_FLAGS: Final = (
    os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
)  # what a caller may ask for
_QUIET: Final = os.O_NONBLOCK | os.O_NOCTTY  # a pipe or terminal must not hold us up
_LOOK: Final = getattr(os, "O_PATH", os.O_RDONLY)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder, with what lstat says about it."""

    name: bytes
    facts: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.facts.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.facts.st_mode)


class Docroot:
    """An open docroot; a context manager. Safe to use from several threads, also while it is closed."""

    def __init__(self, handle: int, *, follow_links: bool) -> None:
        self._handle = handle
        self._links = follow_links
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = True) -> Docroot:
        """Open the folder at `path`; links on the way to it are the operator's and are followed."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), follow_links=follow_links)

    def __enter__(self) -> Docroot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let nothing begin any more; what is under way ends first."""
        with self._lock:
            unused = not self._closed and not self._users
            self._closed = True
        if unused:
            os.close(self._handle)

    @contextmanager
    def _held(self) -> Iterator[int]:
        """The descriptor, which stays open meanwhile: its number may soon be that of another's docroot."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
        try:
            yield self._handle
        finally:
            with self._lock:
                self._users -= 1
                last = self._closed and not self._users
            if last:
                os.close(self._handle)

    # Looking ---------------------------------------------------------------------------------------

    def stat(self, path: DocPath) -> os.stat_result:
        """What is at `path`, links followed as far as this docroot follows them."""
        if not self._links:
            facts = self.lstat(path)
            if stat.S_ISLNK(facts.st_mode):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return facts
        handle = self._open(path, _LOOK)
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)

    def lstat(self, path: DocPath) -> os.stat_result:
        """What is at `path`; a link is described itself."""
        if not path:
            with self._held() as handle:
                return os.fstat(handle)
        with self._parent(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def identity(self, path: DocPath) -> Identity:
        """Which file, folder or link is at `path`; see `identity_of`."""
        with self._parent(path) as (folder, name):
            return identity_of(folder, name)

    def scandir(self, path: DocPath) -> Iterator[Entry]:
        """The entries of a folder in the order of the disk; close the iterator when you stop early."""
        handle = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # removed since
                        yield Entry(os.fsencode(entry.name), entry.stat(follow_symlinks=False))
        finally:
            os.close(handle)

    def readlink(self, path: DocPath) -> bytes:
        """What a link says, whether or not it leads anywhere."""
        with self._parent(path) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    def statvfs(self, path: DocPath) -> os.statvfs_result:
        handle = self._open(path, _LOOK)
        try:
            return os.fstatvfs(handle)
        finally:
            os.close(handle)

    # Files -----------------------------------------------------------------------------------------

    def open_read(self, path: DocPath) -> int:
        """Open a regular file for reading; the caller closes the descriptor."""
        return self._open_file(path, os.O_RDONLY, 0)

    def open_write(self, path: DocPath, flags: int, mode: int = 0o666) -> int:
        """Open or make a regular file; the caller closes the descriptor.

        `flags` are those of os.open about access, creation, truncation and appending, and O_NOFOLLOW, with
        which a link in the last place does not exist; others are dropped.
        """
        return self._open_file(path, flags & _WRITE_FLAGS, mode & MODES)

    def truncate(self, path: DocPath, size: int) -> None:
        handle = self._open_file(path, os.O_WRONLY, 0)
        try:
            os.ftruncate(handle, size)
        finally:
            os.close(handle)

    def fsync(self, path: DocPath) -> None:
        """Make a file's content, or a folder's list of names, durable."""
        handle = self._open_plain(path)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # Names -----------------------------------------------------------------------------------------

    def mkdir(self, path: DocPath, mode: int = 0o777) -> None:
        with self._parent(path) as (folder, name):
            os.mkdir(name, mode & MODES, dir_fd=folder)

    def makedirs(self, path: DocPath) -> None:
        """Make a folder and those above it that are missing; one that exists is no error."""
        for depth in range(1, len(path) + 1):
            with suppress(FileExistsError):
                self.mkdir(path[:depth])
        if not stat.S_ISDIR(self.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def rmdir(self, path: DocPath) -> None:
        with self._parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def unlink(self, path: DocPath) -> None:
        """Remove a file or a link."""
        with self._parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def rename(self, source: DocPath, target: DocPath, *, replace: bool) -> None:
        """Rename in one step. Without `replace`, raises FileExistsError where the new name is taken."""
        with self._parent(source) as (old_folder, old), self._parent(target) as (new_folder, new):
            if replace:
                os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)
            else:
                rename_fresh(old, new, old_folder, new_folder)

    def symlink(self, content: bytes, path: DocPath) -> None:
        """Make a link that says `content`; PermissionError where that leads out of the docroot.

        Only the words are judged here: whoever follows the link later asks the kernel again.
        """
        depth = len(path) - 1
        for part in content.split(b"/"):
            depth += -1 if part == b".." else part not in (b"", b".")
            if depth < 0:
                break
        if depth < 0 or content.startswith(b"/") or not content or b"\0" in content:
            raise PermissionError(errno.EACCES, "the link leads out of the shared folder")
        with self._parent(path) as (folder, name):
            os.symlink(content, name, dir_fd=folder)

    # Properties ------------------------------------------------------------------------------------

    def open_to_change(self, path: DocPath, *, content: bool) -> int:
        """Open a file or folder to set its properties, with `content` a file to cut it too. Changes nothing.

        What the descriptor leads to can be judged first, wherever links led. The caller closes it.
        """
        return self._open_file(path, os.O_WRONLY, 0) if content else self._open_plain(path)

    def utime(self, path: DocPath, accessed_ns: int, modified_ns: int) -> None:
        handle = self._open_plain(path)
        try:
            os.utime(handle, ns=(accessed_ns, modified_ns))
        finally:
            os.close(handle)

    # -------------------------------------------------------------------------------------------------

    def _open_file(self, path: DocPath, flags: int, mode: int) -> int:
        if not path:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle = self._open(path, flags | _QUIET, mode)
        kind = os.fstat(handle).st_mode
        if stat.S_ISREG(kind):
            return handle
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise PermissionError(errno.EACCES, "this is a device, pipe or socket")

    def _open_plain(self, path: DocPath) -> int:
        """A descriptor of a file or folder whose properties can be changed, whatever its permissions let
        us do with the content."""
        try:
            handle = self._open(path, os.O_RDONLY | _QUIET)
        except PermissionError:
            handle = self._open(path, os.O_WRONLY | _QUIET)
        kind = os.fstat(handle).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            return handle
        os.close(handle)
        raise PermissionError(errno.EACCES, "this is a device, pipe or socket")

    def _open(self, path: DocPath, flags: int, mode: int = 0) -> int:
        try:
            with self._held() as handle:
                return open_beneath(handle, checked(path), flags, mode, links=self._links)
        except OSError as error:
            # Outside, a loop, a link where none is followed: for the other side there is nothing.
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
            raise

    @contextmanager
    def _parent(self, path: DocPath) -> Iterator[tuple[int, bytes]]:
        """The open folder a path lies in, and its last name. Raises PermissionError for the docroot."""
        if not path:
            raise PermissionError(errno.EACCES, "the shared folder itself cannot be changed")
        if len(path) == 1:
            checked(path)
            with self._held() as handle:
                yield handle, path[0]
            return
        folder = self._open(path[:-1], _LOOK | os.O_DIRECTORY)
        try:
            yield folder, path[-1]
        finally:
            os.close(folder)
