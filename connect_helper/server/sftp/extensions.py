"""Requests beyond version 3: limits, copies on the server, digests.

Sources: OpenSSH's PROTOCOL file section 4, draft-ietf-secsh-filexfer-extensions-00 sections 3 and 6.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from connect_helper.server.sftp import digests, packets
from connect_helper.server.sftp.desk import Desk
from connect_helper.server.sftp.digests import Slices, at_once
from connect_helper.server.sftp.files import errno_error
from connect_helper.server.sftp.handle_requests import HandleRequests
from connect_helper.server.sftp.lane import Answer, Long, Other
from connect_helper.server.sftp.open_handles import MOST
from connect_helper.server.sftp.packets import Fields, Status
from connect_helper.storage.docpath import parse

# What the greeting tells, name and version.
OFFERED: Final = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"fsync@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"copy-data", b"1"),
    (b"check-file", b"1"),
)


class Extensions:
    """Each method takes a request's number and fields; raises BadPacket, UnsafePath, OSError."""

    def __init__(self, desk: Desk, handles: HandleRequests) -> None:
        self._desk = desk
        self._handles = handles
        self.by_name: dict[bytes, Callable[[int, Fields], None]] = {
            b"limits@openssh.com": self._limits,
            b"copy-data": self._copy_data,
            b"check-file-name": self._check_name,
            b"check-file-handle": self._check_handle,
        }

    def _limits(self, number: int, _fields: Fields) -> None:
        """The largest packet, read and write in bytes, and how many handles."""
        numbers = (packets.LARGEST_PACKET, packets.LARGEST_DATA, packets.LARGEST_DATA, MOST)
        self._desk.answer(packets.answer(packets.EXTENDED_REPLY, number, b"".join(map(packets.u64, numbers))))

    def _copy_data(self, number: int, fields: Fields) -> None:
        source, start, length = self._handles.lane(fields.string()), fields.u64(), fields.u64()
        target, at = self._handles.lane(fields.string()), fields.u64()
        if source is target or max(start + length, at + length) >= 1 << 63:
            raise errno_error(errno.EINVAL)
        if not source.file.readable or not target.file.writable:
            raise errno_error(errno.EACCES)
        counted = self._handles.counted
        counted.take()
        try:
            handle = os.dup(source.file.handle)  # the client may close the source meanwhile
        except OSError:
            counted.give_back()
            raise

        def act() -> Slices[Answer]:
            copied = yield from digests.copy_data(
                handle,
                start,
                length,
                target.file.handle,
                at,
                check_space=target.check_space,
                stop=self._desk.stop,
            )
            target.file.bytes_written += copied
            return packets.status(number, Status.OK)

        def over() -> None:
            os.close(handle)
            counted.give_back()

        self._handles.put(target, Long(number, act(), over))

    def _check_handle(self, number: int, fields: Fields) -> None:
        lane = self._handles.lane(fields.string())
        wanted = _wanted(fields)

        def act() -> Slices[Answer]:
            if not (lane.file.readable or lane.file.made_here):
                raise errno_error(errno.EACCES)
            return (yield from self._checked(number, lane.file.handle, *wanted))

        algorithm, _start, length, block = wanted
        if digests.is_quick(algorithm, length, block):
            self._handles.put(lane, Other(number, lambda: at_once(act())))
        else:
            self._handles.put(lane, Long(number, act()))

    def _check_name(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        wanted = _wanted(fields)

        def act() -> Slices[Answer]:
            handle = self._desk.files.open_for_digest(path)
            try:
                yield  # what is open may be renamed meanwhile
                return (yield from self._checked(number, handle, *wanted))
            finally:
                os.close(handle)

        counted = self._handles.counted
        counted.take()
        self._desk.long_in_turn(number, [path], act(), counted.give_back)

    def _checked(
        self, number: int, handle: int, algorithm: str, start: int, length: int, block: int
    ) -> Slices[Answer]:
        found = yield from digests.check_file(handle, algorithm, start, length, block, self._desk.stop)
        body = packets.string(b"check-file") + packets.string(algorithm.encode()) + found
        return packets.answer(packets.EXTENDED_REPLY, number, body)


def _wanted(fields: Fields) -> tuple[str, int, int, int]:
    """Algorithm, first byte, bytes (0: up to the end), bytes for each digest (0: one for all)."""
    algorithm = digests.choose(fields.string())
    start, length, block = fields.u64(), fields.u64(), fields.u32()
    if not algorithm:
        raise OSError(errno.ENOTSUP, "none of these digests is known here")
    return algorithm, start, length, block
