"""The words of SFTP version 3 as a server reads and writes them. Pure.

Protocol: draft-ietf-secsh-filexfer-02. Numbers are big-endian, strings carry their length in 4 bytes, paths
are bytes. Everything read comes from the other side: `Fields` raises BadPacket where it does not fit.
"""

from __future__ import annotations

import stat
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from os import stat_result
from typing import Final

Data = bytes | memoryview

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME = 11, 12, 13, 14, 15, 16, 17, 18
READLINK, SYMLINK, EXTENDED = 19, 20, 200
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201

FLAG_READ, FLAG_WRITE, FLAG_APPEND, FLAG_CREAT, FLAG_TRUNC, FLAG_EXCL = 1, 2, 4, 8, 16, 32
ATTR_SIZE, ATTR_IDS, ATTR_MODE, ATTR_TIMES, ATTR_MORE = 1, 2, 4, 8, 0x80000000

LARGEST_DATA: Final = 1024 * 1024  # bytes read or written by one request
LARGEST_PACKET: Final = LARGEST_DATA + 4096  # room for the handle and numbers of a WRITE
LARGEST_OTHER: Final = 64 * 1024  # bytes of any request but a WRITE: two paths, and room to spare
MOST_EXTENDED: Final = 64  # further attributes in one request, all of them of no use here
_PIECEWISE: Final = 4096  # bytes; shorter pieces are joined, a longer WRITE is handed on in pieces

_I: Final = struct.Struct(">I")
_Q: Final = struct.Struct(">Q")
_QQQQ: Final = struct.Struct(">QQQQ")
_HEAD: Final = struct.Struct(">IBI")
_DATA_HEAD: Final = struct.Struct(">IBII")
_ATTRS: Final = struct.Struct(">IQIIIII")
_HALF_YEAR_S: Final = 182 * 86_400


class Status(IntEnum):
    """Answers of draft 02, section 7, with the words a person may see."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


SENTENCES: Final = {
    Status.OK: "Done",
    Status.EOF: "End of file",
    Status.NO_SUCH_FILE: "No such file",
    Status.PERMISSION_DENIED: "Permission denied",
    Status.FAILURE: "Failure",
    Status.BAD_MESSAGE: "The request cannot be read",
    Status.OP_UNSUPPORTED: "This server does not do that",
}


class BadPacket(Exception):
    """What arrived is no packet of the protocol."""


@dataclass(frozen=True, slots=True)
class Attrs:
    """The properties of a file a client wants to set; None where it says nothing. Times in whole seconds."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None  # accessed, modified


class Fields:
    """Reads the fields of one packet in their order."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: Data) -> None:
        self._data = memoryview(data)
        self._at = 0

    def u32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self._take(8), "big")

    def string(self) -> bytes:
        return bytes(self._take(self.u32()))

    def attrs(self) -> Attrs:
        flags = self.u32()
        size = self.u64() if flags & ATTR_SIZE else None
        owner = (self.u32(), self.u32()) if flags & ATTR_IDS else None
        mode = self.u32() if flags & ATTR_MODE else None
        times = (self.u32(), self.u32()) if flags & ATTR_TIMES else None
        if flags & ATTR_MORE:
            count = self.u32()
            if count > MOST_EXTENDED:
                raise BadPacket(f"{count} further attributes")
            for _ in range(count):
                self.string()
                self.string()
        return Attrs(size, owner, mode, times)

    def _take(self, length: int) -> memoryview:
        end = self._at + length
        if end > len(self._data):
            raise BadPacket("a packet is too short")
        part = self._data[self._at : end]
        self._at = end
        return part


@dataclass(frozen=True, slots=True)
class Request:
    """One packet of a client. `data` are the pieces of a WRITE's bytes, empty for any other kind."""

    kind: int
    number: int
    fields: Fields
    data: tuple[Data, ...] = ()
    size: int = 0  # bytes of `data`


class Packets:
    """Cuts the byte stream into requests; the bytes of a large WRITE are not copied."""

    def __init__(self, whole: Callable[[Request], None]) -> None:
        self._whole = whole
        self._head = b""
        self._missing = 0
        self._pieces: list[memoryview | bytearray] = []

    def feed(self, data: Data) -> None:
        """Take what arrived. Raises BadPacket; nothing may be fed after that."""
        view = memoryview(data)
        while view:
            if not self._missing:
                wanted = 4 - len(self._head)
                self._head += view[:wanted]
                view = view[wanted:]
                if len(self._head) == 4:
                    self._begin()
                continue
            if not self._pieces and self._missing > LARGEST_OTHER and view[0] != WRITE:
                raise BadPacket(f"a request of kind {view[0]} with {self._missing} bytes")
            piece = view[: self._missing]
            view = view[len(piece) :]
            self._missing -= len(piece)
            self._keep(piece)
            if not self._missing:
                pieces, self._pieces = self._pieces, []
                self._whole(_request([memoryview(one) for one in pieces]))

    def _keep(self, piece: memoryview) -> None:
        """Kept by itself, a piece of a few bytes takes a hundred times its memory."""
        last = self._pieces[-1] if self._pieces else None
        if len(piece) >= _PIECEWISE or (last is None and not self._missing):
            self._pieces.append(piece)
        elif isinstance(last, bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def _begin(self) -> None:
        self._missing = int.from_bytes(self._head, "big")
        self._head = b""
        if not 1 <= self._missing <= LARGEST_PACKET:
            raise BadPacket(f"a request of {self._missing} bytes")


def _request(pieces: list[memoryview]) -> Request:
    first = pieces[0]
    if first[0] == WRITE and len(first) >= _PIECEWISE:
        return _write(first, pieces[1:])
    body = first if len(pieces) == 1 else memoryview(b"".join(pieces))
    if body[0] == INIT:
        return Request(INIT, 0, Fields(body[1:]))
    if len(body) < 5:
        raise BadPacket("a request is too short")
    if body[0] == WRITE:
        return _write(body, [])
    return Request(body[0], int.from_bytes(body[1:5], "big"), Fields(body[5:]))


def _write(first: memoryview, rest: list[memoryview]) -> Request:
    """A WRITE whose handle and numbers lie in its first piece.

    What comes behind the announced bytes is dropped: a common Go library sends its whole buffer.
    """
    handle = 9 + int.from_bytes(first[5:9], "big")
    begin = handle + 12
    size = int.from_bytes(first[handle + 8 : begin], "big")
    pieces = [first[begin:], *rest]
    surplus = sum(map(len, pieces)) - size
    if len(first) < begin or surplus < 0:
        raise BadPacket("less data than announced")
    while surplus > 0:
        last = pieces.pop()
        if len(last) > surplus:
            pieces.append(last[: len(last) - surplus])
        surplus -= len(last)
    fields = Fields(first[5:begin])
    return Request(WRITE, int.from_bytes(first[1:5], "big"), fields, tuple(pieces), size)


# Answers -------------------------------------------------------------------------------------------


def u32(number: int) -> bytes:
    return _I.pack(number)


def u64(number: int) -> bytes:
    return _Q.pack(number & 0xFFFFFFFFFFFFFFFF)


def string(data: bytes) -> bytes:
    return _I.pack(len(data)) + data


def answer(kind: int, number: int, body: bytes) -> tuple[Data, ...]:
    return (_HEAD.pack(5 + len(body), kind, number) + body,)


def status(number: int, code: Status, message: str = "") -> tuple[Data, ...]:
    text = (message or SENTENCES[code]).encode("utf-8", "backslashreplace")
    return answer(STATUS, number, u32(code) + string(text) + string(b"en"))


def data(number: int, content: Data) -> tuple[Data, ...]:
    """The bytes read, not copied."""
    return (_DATA_HEAD.pack(9 + len(content), DATA, number, len(content)), content)


def attrs(facts: stat_result) -> bytes:
    """What a file is, in the form of section 5."""
    return _ATTRS.pack(
        ATTR_SIZE | ATTR_IDS | ATTR_MODE | ATTR_TIMES,
        facts.st_size,
        facts.st_uid & 0xFFFFFFFF,
        facts.st_gid & 0xFFFFFFFF,
        facts.st_mode,
        _seconds(facts.st_atime_ns),
        _seconds(facts.st_mtime_ns),
    )


def _seconds(time_ns: int) -> int:
    """Whole seconds as the protocol can say them: from 1970 to 2106."""
    return min(max(time_ns // 1_000_000_000, 0), 0xFFFFFFFF)


def names(number: int, entries: Sequence[bytes]) -> tuple[Data, ...]:
    """A NAME answer of entries made by `name`."""
    return answer(NAME, number, u32(len(entries)) + b"".join(entries))


def name(filename: bytes, line: bytes, properties: bytes) -> bytes:
    return string(filename) + string(line) + properties


NO_ATTRS: Final = b"\0\0\0\0"


def long_line(filename: bytes, facts: stat_result, owner: bytes, now_s: float) -> bytes:
    """The line `ls -l` would show, which clients print as it is; times are UTC."""
    moment = time.gmtime(_seconds(facts.st_mtime_ns))
    recent = 0 <= now_s - _seconds(facts.st_mtime_ns) < _HALF_YEAR_S
    when = time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", moment)
    text = f"{stat.filemode(facts.st_mode)} {facts.st_nlink:4} "
    return (
        text.encode()
        + owner.ljust(8)
        + b" "
        + owner.ljust(8)
        + f" {facts.st_size:8} {when} ".encode()
        + filename
    )


def space(numbers: Sequence[int]) -> bytes:
    """The eleven numbers of statvfs@openssh.com."""
    return b"".join(map(u64, numbers))
