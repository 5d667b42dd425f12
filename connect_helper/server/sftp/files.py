"""What a session does with the files of its docroot: each operation checked against its rights, then done.

All methods block and are called in threads. They raise OSError: ENOENT for what the session must not know of,
EACCES for what it may see and not do. What a session made itself it may also write to again, rename and
remove, whatever the account says about replacing and deleting: nothing of anybody else's is touched by that.
An unfinished file it may go on with in a later session too (`unfinished`). Those of others a token can
neither read, compare, change nor remove, even where files may be replaced.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from connect_helper.server.access import Access, Operation
from connect_helper.server.sftp import packets
from connect_helper.server.sftp.packets import Attrs
from connect_helper.server.sftp.unfinished import Makers, has_unfinished_name
from connect_helper.storage.docpath import DocPath, covers
from connect_helper.storage.docroot import MODES, Docroot, Entry
from connect_helper.storage.kernel import Identity, identity_of

OWN_LIMIT: Final = 20_000  # files and folders remembered as made by the session
_NS: Final = 1_000_000_000


def errno_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass(slots=True)
class OpenFile:
    """A file a client has open, and what has passed through it."""

    path: DocPath
    handle: int  # -1 once closed
    readable: bool
    writable: bool
    appending: bool
    facts: os.stat_result | None = None  # when it was opened, for reading only
    bytes_written: int = 0
    looked_at: int | None = None  # bytes that all had written when the free space was looked at for this one
    error: str = ""
    made_here: bool = False  # by this opening, so that its content may be compared whoever may read it
    close_handle: Callable[[int], None] = os.close
    lock: threading.RLock = field(default_factory=threading.RLock)  # held while a thread uses the handle

    def close(self) -> None:
        """Close it once. Raises OSError: what a disk says only now is a failed write (REL-11)."""
        with self.lock:
            handle, self.handle = self.handle, -1
        if handle >= 0:
            self.close_handle(handle)


class Files:
    """The docroot as one session sees it."""

    def __init__(self, docroot: Docroot, access: Access, makers: Makers) -> None:
        self._docroot = docroot
        self._access = access
        self._makers = makers
        self._own: OrderedDict[DocPath, Identity] = OrderedDict()
        self._own_lock = threading.Lock()
        self._together = makers.together(access)

    # Looking ---------------------------------------------------------------------------------------

    def stat(self, path: DocPath) -> os.stat_result:
        self._need(Operation.STAT, path)
        return self._docroot.stat(path)

    def lstat(self, path: DocPath) -> os.stat_result:
        self._need(Operation.STAT, path)
        facts = self._docroot.lstat(path)
        if stat.S_ISLNK(facts.st_mode) and not self._access.follow_links:
            raise errno_error(errno.ENOENT)
        return facts

    def entries(self, path: DocPath) -> Iterator[Entry]:
        """What a folder holds, as far as the session may know; opened at the first step."""
        self._need(Operation.LIST, path)
        links = self._access.follow_links
        for entry in self._docroot.scandir(path):
            hidden = not links and stat.S_ISLNK(entry.facts.st_mode)
            if not hidden and self._access.visible((*path, entry.name)):
                yield entry

    def read_link(self, path: DocPath) -> bytes:
        """What a link says; one with an absolute path is not shown, since it tells of the machine."""
        self._need(Operation.STAT, path)
        if not self._access.follow_links:
            raise errno_error(errno.ENOENT)
        content = self._docroot.readlink(path)
        if content.startswith(b"/"):
            raise errno_error(errno.EACCES)
        return content

    def space(self, path: DocPath) -> os.statvfs_result:
        self._need(Operation.STAT, path)
        return self._docroot.statvfs(path)

    # Content ---------------------------------------------------------------------------------------

    def open(self, path: DocPath, flags: int, mode: int | None) -> OpenFile:
        """Open or make a file; `flags` are those of the protocol."""
        reading = bool(flags & packets.FLAG_READ)
        writing = bool(flags & (packets.FLAG_WRITE | packets.FLAG_APPEND))
        if not reading and not writing:
            raise errno_error(errno.EINVAL)
        if reading:
            self._need(Operation.READ, path)
        if not writing:
            handle = self._docroot.open_read(path)
            return OpenFile(path, handle, True, False, False, facts=os.fstat(handle))
        handle, made = self._open_for_writing(path, flags, 0o666 if mode is None else mode)
        appending = bool(flags & packets.FLAG_APPEND)
        close = self._makers.close
        return OpenFile(path, handle, reading, True, appending, made_here=made, close_handle=close)

    def _open_for_writing(self, path: DocPath, flags: int, mode: int) -> tuple[int, bool]:
        """The open file, and whether it was made now."""
        creating = bool(flags & packets.FLAG_CREAT)
        self._need(Operation.CREATE if creating else Operation.WRITE, path)
        how = os.O_RDWR if flags & packets.FLAG_READ else os.O_WRONLY
        how |= os.O_APPEND if flags & packets.FLAG_APPEND else 0
        if creating:
            making = how & ~os.O_ACCMODE | os.O_RDWR | os.O_CREAT | os.O_EXCL  # read, where it is compared
            try:
                handle = self._docroot.open_write(path, making, mode)
            except FileExistsError:
                if flags & packets.FLAG_EXCL:
                    raise
            else:
                self._made(path, identity_of(handle))
                if has_unfinished_name(path):
                    self._makers.made(handle, self._access)
                return handle, True
        # Opened first, judged as it is open, and cut then: what may not be written to must not be emptied.
        handle = self._docroot.open_write(path, how)
        try:
            self._need_writable(handle, path)
            if has_unfinished_name(path):
                self._makers.reopened(handle)
            if flags & packets.FLAG_TRUNC:
                os.ftruncate(handle, 0)
        except OSError:
            self._makers.close(handle)
            raise
        return handle, False

    def open_for_digest(self, path: DocPath) -> int:
        """Open a file only to compare it: one the session may read, or is bringing itself."""
        readable = self._access.allows(Operation.READ, path)
        if not readable:
            self._need(Operation.WRITE, path)
        handle = self._docroot.open_read(path)
        if not readable and not self._brings(handle, path):
            os.close(handle)
            raise errno_error(errno.EACCES)
        return handle

    def set_attrs(self, path: DocPath, attrs: Attrs) -> None:
        """Set size, permissions and times of what is at `path`."""
        self._need(Operation.WRITE, path)
        # Opened first and judged as it is open: a link of the session's own may lead to what is not.
        handle = self._docroot.open_to_change(path, content=attrs.size is not None)
        try:
            self._need_writable(handle, path)
            if has_unfinished_name(path):
                self._makers.reopened(handle)
            _set_attrs(handle, attrs)
        finally:
            self._makers.close(handle)

    # Names -----------------------------------------------------------------------------------------

    def make_folder(self, path: DocPath, mode: int | None) -> None:
        self._need(Operation.MKDIR, path)
        self._docroot.mkdir(path, 0o777 if mode is None else mode | 0o700)
        self._made(path, self._docroot.identity(path))

    def remove(self, path: DocPath) -> None:
        self._need_own_or(Operation.DELETE, path)
        self._docroot.unlink(path)
        self._removed(path)

    def remove_folder(self, path: DocPath) -> None:
        self._need_own_or(Operation.DELETE, path)
        self._docroot.rmdir(path)
        self._removed(path)

    def rename(self, source: DocPath, target: DocPath, *, replace: bool) -> None:
        """Rename; with `replace`, what has the new name is replaced where the account lets it be."""
        self._need_movable(source)
        self._need(Operation.RENAME_TO, target)
        replace = replace and self._may_replace(target)
        before = self._docroot.identity(source)
        folder = stat.S_ISDIR(self._docroot.lstat(source).st_mode)
        with self._keeping_maker(source, whole=not has_unfinished_name(target)):
            self._docroot.rename(source, target, replace=replace)
        moved = self._forget(source, below=folder)
        self._forget(target)
        if self._docroot.identity(target) == before:
            for path, what in moved.items():
                self._made((*target, *path[len(source) :]), what)
            self._made(target, before)

    def make_link(self, content: bytes, path: DocPath) -> None:
        self._need(Operation.LINK, path)
        self._docroot.symlink(content, path)
        self._made(path, self._docroot.identity(path))

    # -------------------------------------------------------------------------------------------------

    def _need(self, operation: Operation, path: DocPath) -> None:
        if not self._access.allows(operation, path):
            self._refuse(path)

    def _need_own_or(self, operation: Operation, path: DocPath) -> None:
        """What the rights do not allow is done with what the session brings itself."""
        if self._access.allows(operation, path):
            return
        if not (self._access.may_send and self._access.allows(Operation.WRITE, path)):
            self._refuse(path)
        if not (self._is_own(path) or self._brings_at(path)):
            self._refuse(path)

    def _need_movable(self, path: DocPath) -> None:
        """A folder of one's own takes along what is in it.

        Of that nothing may be what others are bringing; nor, with a token, anything that no session with the
        same token made. All that is whole in an account's folder is the account's, whoever brought it.
        What somebody brings there at the very moment of the renaming goes along all the same.
        """
        self._need_own_or(Operation.RENAME_FROM, path)
        if not self._access.allows(Operation.RENAME_FROM, path) and self._holds_foreign(path):
            self._refuse(path)

    def _holds_foreign(self, path: DocPath) -> bool:
        folders = [path] if stat.S_ISDIR(self._docroot.lstat(path).st_mode) else []
        while folders:
            folder = folders.pop()
            for entry in self._docroot.scandir(folder):
                one = (*folder, entry.name)
                if self._is_foreign(one):
                    return True
                if entry.is_folder:
                    folders.append(one)
        return False

    def _is_foreign(self, path: DocPath) -> bool:
        if self._access.token is None:
            return self._others_bring_at(path)
        try:
            return self._docroot.identity(path) not in self._together and not self._brings_at(path)
        except OSError:
            return True

    def _need_writable(self, handle: int, path: DocPath) -> None:
        """What is there already is changed where replacing is allowed, or while the session brings it.

        Unfinished files of others are closed to tokens, whatever may be replaced. Folders have no such names.
        """
        if self._brings(handle, path):
            return
        if self._foreign_unfinished(path) and stat.S_ISREG(os.fstat(handle).st_mode):
            raise PermissionError(errno.EACCES, "somebody else is bringing this file")
        if not self._access.may_overwrite:
            raise PermissionError(errno.EACCES, "a file that is there already may not be changed")

    def _may_replace(self, path: DocPath) -> bool:
        if self._is_own(path):
            return True
        if self._foreign_unfinished(path):
            return self._brings_at(path)
        return self._access.may_overwrite

    def _foreign_unfinished(self, path: DocPath) -> bool:
        """Tell a name that holds what somebody else brings, unless it is found to be the session's own."""
        return self._access.token is not None and has_unfinished_name(path)

    def _brings(self, handle: int, path: DocPath) -> bool:
        made = self._made_at(path)
        if made is not None and made == identity_of(handle):
            return True
        return self._is_itself(handle, path) and self._makers.may_go_on(handle, path, self._access)

    def _is_itself(self, handle: int, path: DocPath) -> bool:
        """Tell that no link led from `path` to the open file: one may be called as unfinished files are, and
        lead to a whole one."""
        if not self._access.follow_links:
            return True
        try:
            return os.path.samestat(self._docroot.lstat(path), os.fstat(handle))
        except OSError:
            return False

    def _brings_at(self, path: DocPath) -> bool:
        handle = self._opened_unfinished(path)
        if handle is None:
            return False
        try:
            return self._makers.may_go_on(handle, path, self._access)
        finally:
            os.close(handle)

    def _others_bring_at(self, path: DocPath) -> bool:
        handle = self._opened_unfinished(path)
        if handle is None:
            return False
        try:
            return self._makers.others_bring(handle, self._access)
        finally:
            os.close(handle)

    @contextmanager
    def _keeping_maker(self, path: DocPath, *, whole: bool = False) -> Iterator[None]:
        """Keep in mind who makes an unfinished file while its change time changes; `whole`: up to then."""
        handle = self._opened_unfinished(path) if self._makers.known else None
        if handle is None:
            yield
            return
        self._makers.reopened(handle)
        try:
            yield
        finally:
            self._makers.close(handle, whole=whole)

    def _opened_unfinished(self, path: DocPath) -> int | None:
        if not has_unfinished_name(path):
            return None
        try:
            handle = self._docroot.open_read(path)
        except OSError:  # a folder, nothing
            return None
        if self._is_itself(handle, path):
            return handle
        os.close(handle)
        return None

    def _refuse(self, path: DocPath) -> NoReturn:
        raise errno_error(errno.EACCES if self._access.visible(path) else errno.ENOENT)

    def _made(self, path: DocPath, what: Identity) -> None:
        self._together.add(what)
        with self._own_lock:
            self._own[path] = what
            if len(self._own) > OWN_LIMIT:
                self._own.popitem(last=False)

    def _made_at(self, path: DocPath) -> Identity | None:
        with self._own_lock:
            return self._own.get(path)

    def _forget(self, path: DocPath, *, below: bool = False) -> dict[DocPath, Identity]:
        """What comes to lie there, or `below`, is somebody else's until it is made here. Returns what was."""
        with self._own_lock:
            gone = [one for one in self._own if covers(path, one)] if below else [path]
            return {one: self._own.pop(one) for one in gone if one in self._own}

    def _removed(self, path: DocPath) -> None:
        for what in self._forget(path).values():
            self._together.remove(what)

    def _is_own(self, path: DocPath) -> bool:
        made = self._made_at(path)
        try:
            return made is not None and made == self._docroot.identity(path)
        except OSError:
            return False


def set_open_attrs(file: OpenFile, attrs: Attrs) -> None:
    """Set size, permissions and times of a file that is open for writing. Raises OSError."""
    if not file.writable:
        raise errno_error(errno.EACCES)
    _set_attrs(file.handle, attrs)


def _set_attrs(handle: int, attrs: Attrs) -> None:
    if attrs.owner is not None:
        _same_owner(os.fstat(handle), attrs.owner)
    if attrs.size is not None:
        os.ftruncate(handle, _signed(attrs.size))
    if attrs.mode is not None:
        os.fchmod(handle, attrs.mode & MODES)
    if attrs.times is not None:
        os.utime(handle, ns=(attrs.times[0] * _NS, attrs.times[1] * _NS))


def _same_owner(facts: os.stat_result, owner: tuple[int, int]) -> None:
    """Files belong to the server's user: only what says so already is accepted."""
    if (facts.st_uid, facts.st_gid) != owner:
        raise PermissionError(errno.EPERM, "owners cannot be changed here")


def _signed(size: int) -> int:
    if size >= 1 << 63:
        raise errno_error(errno.EFBIG)
    return size
