"""Whose an unfinished file is: noted with the file itself, so that it holds over reconnects and restarts.

A name that ends like an unfinished file's says nothing about who brings it, and many people may hold tokens
for one folder. So each such file gets, when it is made, an extended attribute with the mark of its maker: the
token, or the account where there was none. The attribute follows the file through renames and dies with it,
and no client can set it.

Where a disk keeps no such attributes (some network disks, older memory disks, macOS as Python sees it) the
mark is kept here: in memory as long as somebody has the file open, since then its inode is nobody else's, and
in a record when the last one has closed it (`maker_records`).

All functions block.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import stat
import threading
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from connect_helper.server.access import UNFINISHED, Access
from connect_helper.server.publishing import partial_path
from connect_helper.server.sftp.made_together import MadeTogether
from connect_helper.server.sftp.maker_records import MakerRecords
from connect_helper.storage.attributes import attribute, set_attribute
from connect_helper.storage.docpath import DocPath

_log = logging.getLogger(__name__)
_ATTRIBUTE: Final = "user.connect-helper.maker"
_File = tuple[int, int]  # device and inode


def has_unfinished_name(path: DocPath) -> bool:
    """Tell whether clients name a file so while it is not whole."""
    return bool(path) and path[-1].endswith(UNFINISHED)


@dataclass(slots=True)
class _Open:
    """A file without attributes that somebody has open for writing."""

    mark: bytes
    handles: int = 0


class Makers:
    """Who began which unfinished file, for all sessions. Safe to use from several threads."""

    def __init__(self, records: MakerRecords) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._open: dict[_File, _Open] = {}
        self._held: dict[int, _File] = {}  # by handle
        self._together = WeakValueDictionary[bytes, MadeTogether]()  # by mark, as long as a session lasts

    def together(self, access: Access) -> MadeTogether:
        """What all sessions with the token of `access`, or of its account without one, made between them."""
        with self._lock:
            return self._together.setdefault(_mark(access), MadeTogether())

    def made(self, handle: int, access: Access) -> None:
        """Write down that the session with `access` made this open file; `close` is to close it."""
        mark = _mark(access)
        if not set_attribute(handle, _ATTRIBUTE, mark):
            with self._lock:
                self._hold(handle, mark)

    def reopened(self, handle: int) -> None:
        """Keep in mind whose the file is while it is written to; `close` is to close it."""
        if _attribute(handle) is None:
            with self._lock:
                mark = self._known(os.fstat(handle))
                if mark is not None:
                    self._hold(handle, mark)

    @property
    def known(self) -> bool:
        """Whether the maker of any file is known here, and not by its attribute."""
        return bool(self._open) or not self._records.empty

    def close(self, handle: int, *, whole: bool = False) -> None:
        """Close a file that `made` or `reopened` was told of; `whole`: it is not unfinished any more.

        Raises OSError: what the disk says only now.
        """
        with self._lock:
            file = self._held.pop(handle, None)
        if file is None:
            os.close(handle)
            return
        still = -1
        try:
            still = os.dup(handle)  # closing may write what a network disk held back, and change the time
        finally:
            try:
                os.close(handle)
            finally:
                self._let_go(file, still, whole=whole)

    def _hold(self, handle: int, mark: bytes) -> None:
        facts = os.fstat(handle)
        file = (facts.st_dev, facts.st_ino)
        self._open.setdefault(file, _Open(mark)).handles += 1
        self._held[handle] = file

    def _let_go(self, file: _File, handle: int, *, whole: bool) -> None:
        """One handle less; `handle` is another one of the same file, -1 where none could be had."""
        with self._lock:
            one = self._open[file]
            one.handles -= 1
            if not one.handles:
                del self._open[file]
                if handle >= 0:
                    self._note(os.fstat(handle), None if whole else one.mark)
        if handle >= 0:
            os.close(handle)

    def _note(self, facts: os.stat_result, mark: bytes | None) -> None:
        try:
            if mark is not None and facts.st_nlink:
                self._records.put(facts, mark)
            else:
                self._records.remove(facts)
        except sqlite3.Error as error:
            _log.warning("the maker of an unfinished file cannot be noted: %s", error)

    def may_go_on(self, handle: int, path: DocPath, access: Access) -> bool:
        """Tell whether the open file at `path` is an unfinished one that `access` made or was given by name.

        A token for exact destinations names their unfinished files too, whoever began those. Never a folder.
        """
        if not has_unfinished_name(path) or not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        named = access.token.destinations if access.token is not None else ()
        if any(one and path in (one, partial_path(one)) for one in named):
            return True
        return self._mark_of(handle) == _mark(access)

    def others_bring(self, handle: int, access: Access) -> bool:
        """Tell whether somebody else is known to have made the open file, named as unfinished ones are."""
        return self._mark_of(handle) not in (None, _mark(access))

    def _mark_of(self, handle: int) -> bytes | None:
        mark = _attribute(handle)
        if mark is None:
            with self._lock:
                mark = self._known(os.fstat(handle))
        return mark

    def _known(self, facts: os.stat_result) -> bytes | None:
        one = self._open.get((facts.st_dev, facts.st_ino))
        if one is not None:
            return one.mark
        try:
            return self._records.get(facts)
        except sqlite3.Error as error:
            _log.warning("the maker of an unfinished file cannot be looked up: %s", error)
            return None


def _attribute(handle: int) -> bytes | None:
    """The mark on the file itself; None where there is none."""
    return attribute(handle, _ATTRIBUTE) or None


def _mark(access: Access) -> bytes:
    kind, name = ("account", "") if access.token is None else ("token", access.token.id)
    return hashlib.sha256("\0".join((kind, access.account.name, name)).encode()).hexdigest().encode()
