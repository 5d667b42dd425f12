"""Requests about paths: looking, naming, properties (draft-ietf-secsh-filexfer-02, OpenSSH's PROTOCOL)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from connect_helper.errors import UnsafePath
from connect_helper.server.sftp import packets
from connect_helper.server.sftp.desk import Desk, done, space_answer
from connect_helper.server.sftp.files import errno_error
from connect_helper.server.sftp.lane import Answer
from connect_helper.server.sftp.packets import Fields
from connect_helper.storage.docpath import PATH_LIMIT, DocPath, absolute, parse

Act = Callable[[int, Fields], None]


class PathRequests:
    """Each method takes a request's number and fields; raises BadPacket, UnsafePath."""

    def __init__(self, desk: Desk, *, link_first: bool = False) -> None:
        """`link_first`: the client names a link before what it says, as the draft has it."""
        self._desk = desk
        self._files = desk.files
        self._link_first = link_first
        self.by_kind: dict[int, Act] = {
            packets.STAT: self._stat,
            packets.LSTAT: self._lstat,
            packets.SETSTAT: self._setstat,
            packets.REMOVE: self._remove,
            packets.MKDIR: self._mkdir,
            packets.RMDIR: self._rmdir,
            packets.RENAME: self._rename,
            packets.REALPATH: self._realpath,
            packets.READLINK: self._readlink,
            packets.SYMLINK: self._symlink,
        }
        self.by_name: dict[bytes, Act] = {
            b"posix-rename@openssh.com": self._posix_rename,
            b"statvfs@openssh.com": self._statvfs,
        }

    # Looking ---------------------------------------------------------------------------------------

    def _stat(self, number: int, fields: Fields) -> None:
        self._look(number, fields, self._files.stat)

    def _lstat(self, number: int, fields: Fields) -> None:
        self._look(number, fields, self._files.lstat)

    def _look(self, number: int, fields: Fields, look: Callable[[DocPath], os.stat_result]) -> None:
        path = parse(fields.string())

        def run() -> Answer:
            return packets.answer(packets.ATTRS, number, packets.attrs(look(path)))

        self._desk.in_turn(number, [path], run, changes=False)

    def _statvfs(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        self._desk.in_turn(
            number, [path], lambda: space_answer(number, self._files.space(path)), changes=False
        )

    def _readlink(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())

        def run() -> Answer:
            content = self._files.read_link(path)
            return packets.names(number, [packets.name(content, content, packets.NO_ATTRS)])

        self._desk.in_turn(number, [path], run, changes=False)

    def _realpath(self, number: int, fields: Fields) -> None:
        """A matter of words: whether there is such a file is not told."""
        text = fields.string()
        try:
            name = absolute(parse(text))
        except UnsafePath:
            # Going up from the top leads to the top, as in any root folder.
            if set(text.split(b"/")) - {b"", b".", b".."}:
                raise
            name = b"/"
        self._desk.answer(packets.names(number, [packets.name(name, name, packets.NO_ATTRS)]))

    # Changing --------------------------------------------------------------------------------------

    def _change(self, number: int, paths: list[DocPath], act: Callable[[], None]) -> None:
        self._desk.in_turn(number, paths, done(number, act), changes=True)

    def _setstat(self, number: int, fields: Fields) -> None:
        path, attrs = parse(fields.string()), fields.attrs()
        self._change(number, [path], lambda: self._files.set_attrs(path, attrs))

    def _remove(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        self._change(number, [path], lambda: self._files.remove(path))

    def _mkdir(self, number: int, fields: Fields) -> None:
        path, attrs = parse(fields.string()), fields.attrs()
        self._change(number, [path], lambda: self._files.make_folder(path, attrs.mode))

    def _rmdir(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        self._change(number, [path], lambda: self._files.remove_folder(path))

    def _rename(self, number: int, fields: Fields) -> None:
        self._move(number, fields, replace=False)

    def _posix_rename(self, number: int, fields: Fields) -> None:
        self._move(number, fields, replace=True)

    def _move(self, number: int, fields: Fields, *, replace: bool) -> None:
        old, new = parse(fields.string()), parse(fields.string())
        self._change(number, [old, new], lambda: self._files.rename(old, new, replace=replace))

    def _symlink(self, number: int, fields: Fields) -> None:
        # The order of OpenSSH, which nearly all clients follow, is not that of the draft.
        one, other = fields.string(), fields.string()
        content, name = (other, one) if self._link_first else (one, other)
        path = parse(name)
        if len(content) > PATH_LIMIT:
            raise errno_error(errno.ENAMETOOLONG)
        act = done(number, lambda: self._files.make_link(content, path))
        self._desk.in_turn(number, [path], act, changes=True, more=len(content))
