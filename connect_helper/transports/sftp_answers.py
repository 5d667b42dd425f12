"""What a server of SFTP version 3 says to a request: cut out of the byte stream, and read.

Protocol: draft-ietf-secsh-filexfer-02. Failures come as the SSH library's SFTP errors, which `error_map`
knows, whether the server reports one or its answer cannot be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket

from connect_helper.wire.writer import Data

VERSION, STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 2, 101, 102, 103, 104, 105, 201
LARGEST_PACKET: Final = 4 * 1024 * 1024 + 1024  # bytes; no honest answer is larger
LARGEST_HANDLE: Final = 256  # bytes (section 6.2)
HAS_SIZE, HAS_IDS, HAS_MODE, HAS_TIMES, HAS_MORE = 1, 2, 4, 8, 0x80000000  # of attributes (section 5)
HAS_USUAL: Final = HAS_SIZE | HAS_IDS | HAS_MODE | HAS_TIMES  # what most servers tell

_I: Final = struct.Struct(">I")
_Q: Final = struct.Struct(">Q")
_TIMES: Final = struct.Struct(">II")
_USUAL: Final = struct.Struct(">IQQIII")  # the flags first

Answer = tuple[int, Data]
"""Kind and body of what the server says to a request."""


@dataclass(frozen=True, slots=True)
class Attrs:
    """What a server says about a file; None where it says nothing. Times in whole seconds."""

    size: int | None = None
    permissions: int | None = None
    mtime: int | None = None
    atime: int | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """One entry of a folder."""

    filename: bytes
    attrs: Attrs


class Packets:
    """Cuts a byte stream into SFTP packets, joining only those that came in several pieces."""

    def __init__(self, whole: Callable[[Data], None]) -> None:
        self._whole = whole
        self._head = b""
        self._missing = 0
        self._pieces: list[memoryview] = []

    def feed(self, data: Data) -> None:
        view = memoryview(data)
        while view:
            if not self._missing:
                view = self._begin(view)
                continue
            piece = view[: self._missing]
            view = view[len(piece) :]
            self._missing -= len(piece)
            if self._missing:
                self._pieces.append(piece)
            elif not self._pieces:
                self._whole(piece)
            else:
                pieces, self._pieces = [*self._pieces, piece], []
                self._whole(memoryview(b"".join(pieces)))

    def _begin(self, view: memoryview) -> memoryview:
        wanted = 4 - len(self._head)
        self._head += view[:wanted]
        if len(self._head) == 4:
            self._missing = int.from_bytes(self._head, "big")
            self._head = b""
            if not 1 <= self._missing <= LARGEST_PACKET:
                raise asyncssh.SFTPBadMessage(f"an answer of {self._missing} bytes")
        return view[wanted:]


def done(answer: Answer) -> None:
    """Check that a request was done. Raises asyncssh.SFTPError."""
    kind, body = answer
    if kind != STATUS:
        raise asyncssh.SFTPBadMessage(f"an answer of kind {kind}")
    if body[:4] != b"\0\0\0\0":
        raise _error_of(body)


def looked(answer: Answer) -> Attrs:
    """What a server says about a file. Raises asyncssh.SFTPError."""
    body = bytes(body_of(answer, ATTRS))
    try:
        return _attrs_at(body, 0)[0]
    except struct.error as error:
        raise asyncssh.SFTPBadMessage(str(error)) from None


def listed(answer: Answer) -> list[Name]:
    """Entries of a folder; [] behind the last. Raises asyncssh.SFTPError."""
    try:
        return names_of(answer)
    except asyncssh.SFTPEOFError:
        return []


def data_of(answer: Answer) -> Data:
    """The bytes read; none at the end of the file. Raises asyncssh.SFTPError."""
    try:
        body = body_of(answer, DATA)
    except asyncssh.SFTPEOFError:
        return b""
    if int.from_bytes(body[:4], "big") != len(body) - 4:
        raise asyncssh.SFTPBadMessage("data of another length than announced")
    return body[4:]


def handle_of(answer: Answer) -> bytes:
    """The handle of a file or folder that was opened. Raises asyncssh.SFTPError."""
    body = body_of(answer, HANDLE)
    handle = bytes(body[4:])
    if len(handle) != int.from_bytes(body[:4], "big") or len(handle) > LARGEST_HANDLE:
        raise asyncssh.SFTPBadMessage("a handle of another length than announced")
    return handle


def digests_of(answer: Answer, algorithm: str) -> bytes:
    """Digests a server computed, one after the other. Raises asyncssh.SFTPError.

    Source of the form: draft-ietf-secsh-filexfer-extensions-00, section 3.
    """
    body = bytes(body_of(answer, EXTENDED_REPLY))
    try:
        _, at = _string_at(body, 0)  # the name of the extension again
        used, at = _string_at(body, at)
    except struct.error as error:
        raise asyncssh.SFTPBadMessage(str(error)) from None
    if used != algorithm.encode("ascii"):
        raise asyncssh.SFTPFailure("a digest of another kind than asked for")
    return body[at:]


def names_of(answer: Answer) -> list[Name]:
    """Names the server tells. Raises asyncssh.SFTPError."""
    body, names = bytes(body_of(answer, NAME)), []
    try:
        (count,), at = _I.unpack_from(body), 4
        for _ in range(count):
            filename, at = _string_at(body, at)
            _, at = _string_at(body, at)  # the line `ls -l` would show
            attrs, at = _attrs_at(body, at)
            names.append(Name(filename, attrs))
    except struct.error as error:
        raise asyncssh.SFTPBadMessage(str(error)) from None
    return names


def body_of(answer: Answer, wanted: int) -> Data:
    """What an answer of the `wanted` kind holds. Raises asyncssh.SFTPError."""
    kind, body = answer
    if kind == wanted:
        return body
    if kind == STATUS:
        raise _error_of(body)
    raise asyncssh.SFTPBadMessage(f"an answer of kind {kind}")


def _error_of(body: Data) -> asyncssh.SFTPError:
    try:
        error = asyncssh.SFTPError.construct(SSHPacket(bytes(body)), "replace")
    except PacketDecodeError as failure:
        return asyncssh.SFTPBadMessage(str(failure))
    if isinstance(error, asyncssh.SFTPBadMessage):
        # The line is sound: OpenSSH says so of a name or path that its disk does not take
        # (ENAMETOOLONG, EINVAL; errno_to_portable in sftp-server.c).
        return asyncssh.SFTPInvalidFilename(error.reason)
    return error or asyncssh.SFTPBadMessage("success where an answer was due")


def _string_at(body: bytes, at: int) -> tuple[bytes, int]:
    """A string, and the place behind it. Raises struct.error where the answer is too short for it."""
    begin = at + 4
    end = begin + _I.unpack_from(body, at)[0]
    if end > len(body):
        raise struct.error("an answer ends within a string")
    return body[begin:end], end


def _attrs_at(body: bytes, at: int) -> tuple[Attrs, int]:
    """Attributes, and the place behind them. Raises struct.error where the answer is too short for them."""
    (flags,) = _I.unpack_from(body, at)
    if flags == HAS_USUAL:
        _, size, _ids, mode, atime, mtime = _USUAL.unpack_from(body, at)
        return Attrs(size, mode, mtime, atime), at + _USUAL.size
    at += 4
    size = mode = atime = mtime = None
    if flags & HAS_SIZE:
        (size,), at = _Q.unpack_from(body, at), at + 8
    if flags & HAS_IDS:
        _, at = _Q.unpack_from(body, at), at + 8  # user and group
    if flags & HAS_MODE:
        (mode,), at = _I.unpack_from(body, at), at + 4
    if flags & HAS_TIMES:
        (atime, mtime), at = _TIMES.unpack_from(body, at), at + 8
    if flags & HAS_MORE:
        (count,), at = _I.unpack_from(body, at), at + 4
        for _ in range(2 * count):  # names and values
            _, at = _string_at(body, at)
    return Attrs(size, mode, mtime, atime), at
