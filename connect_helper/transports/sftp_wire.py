"""SFTP version 3 requests over one channel, any number of them on their way.

Protocol: draft-ietf-secsh-filexfer-02, and of OpenSSH's extensions limits, posix-rename, fsync and
statvfs (its PROTOCOL file, section 4). Lean on purpose: a request is a few bytes and one future, the data of
a write goes out from where it lies, the data of a read comes in as it was decrypted. Paths are bytes.
Failures come as the SSH library's SFTP errors, which `error_map` knows; how answers are read stands in
`sftp_answers`.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket

from connect_helper.spec.block_hash import BLOCK_HASH
from connect_helper.transports.pipe import Pipe, open_pipe
from connect_helper.transports.quick_login import reads_in_order
from connect_helper.transports.sftp_answers import (
    EXTENDED_REPLY,
    HANDLE,
    HAS_SIZE,
    HAS_TIMES,
    VERSION,
    Answer,
    Attrs,
    Packets,
    body_of,
    data_of,
    digests_of,
    done,
    handle_of,
    looked,
    names_of,
)
from connect_helper.wire.writer import Data

_log = logging.getLogger(__name__)

INIT, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = 1, 3, 4, 5, 6, 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, REALPATH, STAT, RENAME = 11, 12, 13, 14, 16, 17, 18
READLINK, SYMLINK = 19, 20
RMDIR: Final = 15
EXTENDED: Final = 200
WINDOW: Final = 32 * 1024 * 1024  # bytes the server may send before we confirm
PACKET: Final = 256 * 1024

_BY_THE_DRAFT: Final = ("AsyncSSH", "mod_sftp")  # servers that do not read SYMLINK as OpenSSH does

_OURS: Final = "ConnectHelper"

# Servers that answer the requests about one file in the order they came. Others may look at a file while an
# earlier write to it is still under way.
_IN_ORDER: Final = ("OpenSSH", _OURS)

_HEAD: Final = struct.Struct(">IBI")
_READ: Final = struct.Struct(">QI")
_Q: Final = struct.Struct(">Q")
_I: Final = struct.Struct(">I")
_GREETING: Final = _I.pack(5) + bytes((INIT,)) + _I.pack(3)
_ASK_LIMITS: Final = _I.pack(18) + b"limits@openssh.com"
_FSYNC: Final = b"fsync@openssh.com"
_CHECK: Final = b"check-file"
_PART: Final = struct.Struct(">QQI")
_FIRST: Final = _HEAD.pack(5 + len(_ASK_LIMITS), EXTENDED, 1) + _ASK_LIMITS  # as request number 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes in one request, in bytes; 0 where it does not say."""

    read: int = 0
    write: int = 0


@dataclass(frozen=True, slots=True)
class Space:
    """Free space where a file lies, in bytes, for an ordinary user."""

    free: int


class SftpWire:
    """One SFTP session. Open it with `open`; `on_answer` is called for each answer of the server."""

    def __init__(self) -> None:
        self._pipe: Pipe | None = None
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._long: set[int] = set()  # of those, the ones that may take minutes
        self._greeting: asyncio.Future[Data] = asyncio.get_running_loop().create_future()
        self._last = 0
        self._input = Packets(self._packet)
        self._lost: Exception | None = None
        self._extensions: dict[bytes, bytes] = {}
        self._swaps_links = True
        self._in_order = False
        self.tells_digests = False  # while a file is on its way, at no cost worth mentioning
        self.limits = Limits()
        self.on_answer: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None

    @classmethod
    async def open(
        cls, connection: asyncssh.SSHClientConnection, *, early: bool = False, lean: bool = True
    ) -> SftpWire:
        """Start SFTP on a connection. Raises asyncssh.Error, OSError.

        A server that reads in order gets the request for SFTP, the greeting and the question for its limits
        together, and `early` right behind the login.
        """
        wire = cls()
        software = str(connection.get_extra_info("server_version", ""))
        wire._in_order = any(name in software for name in _IN_ORDER)
        wire._swaps_links = not any(name in software for name in _BY_THE_DRAFT)
        together = reads_in_order(connection)
        limits = wire._expect() if together else None
        wire._pipe = await open_pipe(
            connection,
            wire,
            subsystem="sftp",
            window=WINDOW,
            packet=PACKET,
            greeting=_GREETING + _FIRST if together else b"",
            early=early and together,
            lean=lean,
        )
        if limits is None:
            wire._pipe.send(_GREETING)
        wire._greet(await wire._greeting)
        wire.tells_digests = _OURS in software and _CHECK in wire._extensions
        if limits is None and b"limits@openssh.com" in wire._extensions:
            limits = wire.ask(EXTENDED, _ASK_LIMITS)
        if limits is not None:
            wire.limits = await wire._limits(limits)
        return wire

    def _expect(self) -> asyncio.Future[Answer]:
        """The answer to the first request, which is sent by itself."""
        self._last = 1
        self._pending[1] = answer = asyncio.get_running_loop().create_future()
        return answer

    def _greet(self, body: Data) -> None:
        packet = SSHPacket(bytes(body))
        try:
            version = packet.get_uint32()
            while packet:
                name = packet.get_string()
                self._extensions[name] = packet.get_string()
        except PacketDecodeError as error:
            raise asyncssh.SFTPBadMessage(str(error)) from None
        if version != 3:
            raise asyncssh.SFTPBadMessage(f"the server speaks version {version}")

    async def _limits(self, answer: asyncio.Future[Answer]) -> Limits:
        try:
            packet = SSHPacket(bytes(body_of(await answer, EXTENDED_REPLY)))
            packet.get_uint64()
            return Limits(packet.get_uint64(), packet.get_uint64())
        except (asyncssh.SFTPError, PacketDecodeError) as error:
            _log.info("the server does not tell its limits: %s", error)
            return Limits()

    def ping(self) -> asyncio.Future[Answer]:
        """Ask something that touches no disk; any answer will do."""
        return self.ask(EXTENDED, _ASK_LIMITS)

    @property
    def is_lost(self) -> bool:
        """Tell whether the connection is gone."""
        return self._lost is not None

    @property
    def keeps_order(self) -> bool:
        """Tell whether what is asked later is answered as of later."""
        return self._in_order

    @property
    def owed(self) -> int:
        """Answers the server owes, but for those that may take long."""
        return len(self._pending) - len(self._long)

    @property
    def waiting(self) -> int:
        """Bytes that have not left for the server."""
        return self._pipe.waiting if self._pipe is not None else 0

    # What arrives ----------------------------------------------------------------------------------

    def received(self, data: Data) -> None:
        try:
            self._input.feed(data)
        except asyncssh.SFTPError as error:
            self.lost(error)

    def lost(self, reason: Exception | None) -> None:
        if self._lost is None:
            self._lost = asyncssh.SFTPConnectionLost(str(reason or "the connection was closed"))
        if not self._greeting.done():
            self._greeting.set_exception(self._lost)
        pending, self._pending = self._pending, {}
        self._long.clear()
        for answer in pending.values():
            if not answer.done():
                answer.set_exception(self._lost)
                answer.exception()  # of requests sent together only the first failure is looked at
        self.on_lost()

    def _packet(self, body: Data) -> None:
        kind = body[0]
        if kind == VERSION and not self._greeting.done():
            self._greeting.set_result(body[1:])
            return
        if len(body) < 5:
            raise asyncssh.SFTPBadMessage("an answer is too short")
        number = int.from_bytes(body[1:5], "big")
        answer = self._pending.pop(number, None)
        if answer is None:
            raise asyncssh.SFTPBadMessage("an answer belongs to no request")
        self._long.discard(number)
        self.on_answer()
        if not answer.done():
            answer.set_result((kind, body[5:]))
        elif kind == HANDLE:  # nobody waits any more for what is open now
            with suppress(asyncssh.SFTPError):
                self.close_soon(handle_of((kind, body[5:])))

    # Requests --------------------------------------------------------------------------------------

    def ask(self, kind: int, *parts: Data) -> asyncio.Future[Answer]:
        """Send a request at once; its answer comes as kind and body. Raises SFTPConnectionLost."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._lost is not None or self._pipe is None:
            raise self._lost or asyncssh.SFTPNoConnection("not connected")
        self._last = number = (self._last + 1) & 0xFFFFFFFF
        self._pending[number] = answer
        length = 5
        for part in parts:
            length += len(part)
        self._pipe.send(_HEAD.pack(length, kind, number), *parts)
        return answer

    async def _done(self, kind: int, *parts: Data) -> None:
        done(await self.ask(kind, *parts))

    def _ask_long(self, kind: int, *parts: Data) -> asyncio.Future[Answer]:
        """As `ask`, for what a good server may work on for minutes: it is no sign of a dead one."""
        answer = self.ask(kind, *parts)
        self._long.add(self._last)
        return answer

    async def _extended(self, name: bytes, body: bytes) -> SSHPacket:
        answer = await self.ask(EXTENDED, _string(name), body)
        return SSHPacket(bytes(body_of(answer, EXTENDED_REPLY)))

    def _offers(self, name: bytes) -> None:
        if name not in self._extensions:
            raise asyncssh.SFTPOpUnsupported(f"{name.decode()} is not supported")

    async def stat(self, path: bytes, *, follow: bool) -> Attrs:
        return looked(await self.ask(STAT if follow else LSTAT, _string(path)))

    def start_look_at(self, path: bytes) -> asyncio.Future[Answer]:
        """Ask what the server says about what is at a path; see `looked`."""
        return self.ask(LSTAT, _string(path))

    async def fstat(self, handle: bytes) -> Attrs:
        return looked(await self.start_look(handle))

    async def open_file(self, path: bytes, flags: int) -> bytes:
        """The handle of a file. `flags` are asyncssh.FXF_*."""
        return handle_of(await self.start_open(path, flags))

    def start_open(self, path: bytes, flags: int) -> asyncio.Future[Answer]:
        """Ask for the handle of a file; see `handle_of`."""
        return self.ask(OPEN, *opening(path, flags))

    async def close(self, handle: bytes) -> None:
        await self._done(CLOSE, _string(handle))

    def close_soon(self, handle: bytes) -> None:
        """Close a file that was only read, without waiting for the answer."""
        try:
            closing = self.ask(CLOSE, _string(handle))
        except asyncssh.Error:
            return  # the connection is gone, and the handle with it
        closing.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    @property
    def makes_durable(self) -> bool:
        """Tell whether the server can be asked to have a file on its disk."""
        return _FSYNC in self._extensions

    def start_sync(self, handle: bytes) -> asyncio.Future[Answer]:
        """Have what was written to a file on the server's disk; see `done`."""
        return self.ask(EXTENDED, _string(_FSYNC), _string(handle))

    def start_look(self, handle: bytes) -> asyncio.Future[Answer]:
        """Ask what the server says about an open file; see `looked`."""
        return self.ask(FSTAT, _string(handle))

    def start_read(self, handle: bytes, offset: int, length: int) -> asyncio.Future[Answer]:
        return self.ask(READ, _string(handle), _READ.pack(offset, length))

    def start_write(self, handle: bytes, offset: int, data: Data) -> asyncio.Future[Answer]:
        return self.ask(WRITE, _string(handle), _READ.pack(offset, len(data)), data)

    async def write_out(
        self, handle: bytes, data: Data, times: tuple[int, int] | None = None, *, checks: bool = False
    ) -> tuple[Attrs, bytes]:
        """Write a whole file, then `settle` it, all asked for at once where the server keeps the order.

        Tells what `settle` tells, and with `checks` the hash (see `spec.block_hash`) of what the server has;
        empty where it tells none.
        """
        writing = self.start_write(handle, 0, data) if data else None
        if writing is not None and not self._in_order:
            done(await writing)
            writing = None
        checking = self._start_check(handle, len(data)) if checks and data and self.tells_digests else None
        attrs = await self.settle(handle, writing, times=times, durable=bool(data))
        return attrs, await _checked(checking)

    async def settle(
        self,
        handle: bytes,
        writing: asyncio.Future[Answer] | None = None,
        *,
        times: tuple[int, int] | None = None,
        durable: bool = True,
    ) -> Attrs:
        """Set a file's times, make it durable where the server can, and close it, all asked for at once.

        `times` of access and modification in whole seconds; a server that cannot set them is no error. Tells
        what the server says about the file before it is closed.
        """
        timing = self.ask(FSETSTAT, _string(handle), *_times(*times)) if times is not None else None
        syncing = self.start_sync(handle) if durable and self.makes_durable else None
        looking = self.start_look(handle)
        closing = self.ask(CLOSE, _string(handle))
        answers = [one for one in (writing, syncing, closing) if one is not None]
        await _all_there(*answers, looking, *([timing] if timing is not None else []))
        for answer in answers:
            done(answer.result())
        if timing is not None:
            _told(timing)
        return looked(looking.result())

    async def read_in(
        self, handle: bytes, length: int, *, checks: int = 0
    ) -> tuple[Attrs, Data, Attrs, bytes]:
        """Read the first `length` bytes of a file and close it, all asked for at once.

        Tells what the server says about it before and after; the bytes are fewer where the file ends, or
        where the server answers with fewer. Then comes the hash (see `spec.block_hash`) of the first `checks`
        bytes; empty where the server tells none.
        """
        before = self.start_look(handle)
        reading = self.start_read(handle, 0, length)
        if not self._in_order:
            await _all_there(before, reading)
        checking = self._start_check(handle, checks) if checks and self.tells_digests else None
        after = self.start_look(handle)
        closing = self.ask(CLOSE, _string(handle))
        await _all_there(before, reading, after, closing)
        done(closing.result())
        first, last = (looked(one.result()) for one in (before, after))
        return first, data_of(reading.result()), last, await _checked(checking)

    async def look_behind(self, handle: bytes, size: int) -> tuple[Attrs, Data]:
        """What the server says about a file that was read, and a byte behind its end; then close it."""
        reading = self.start_read(handle, size, 1)
        looking = self.start_look(handle)
        closing = self.ask(CLOSE, _string(handle))
        await _all_there(reading, looking, closing)
        done(closing.result())
        return looked(looking.result()), data_of(reading.result())

    async def resize(self, handle: bytes, size: int) -> None:
        await self._done(FSETSTAT, _string(handle), _I.pack(HAS_SIZE), _Q.pack(size))

    async def truncate(self, path: bytes, size: int) -> None:
        await self._done(SETSTAT, _string(path), _I.pack(HAS_SIZE), _Q.pack(size))

    async def set_times(self, path: bytes, access_s: int, modification_s: int) -> None:
        await self._done(SETSTAT, _string(path), *_times(access_s, modification_s))

    async def mkdir(self, path: bytes) -> None:
        await self._done(MKDIR, _string(path), _I.pack(0))

    async def remove(self, path: bytes) -> None:
        await self._done(REMOVE, _string(path))

    async def rmdir(self, path: bytes) -> None:
        await self._done(RMDIR, _string(path))

    async def rename(self, old: bytes, new: bytes) -> None:
        await self._done(RENAME, _string(old), _string(new))

    async def posix_rename(self, old: bytes, new: bytes) -> None:
        self._offers(b"posix-rename@openssh.com")
        await self._done(EXTENDED, _string(b"posix-rename@openssh.com"), _string(old), _string(new))

    async def real_path(self, path: bytes) -> bytes:
        names = names_of(await self.ask(REALPATH, _string(path)))
        if len(names) != 1:
            raise asyncssh.SFTPBadMessage("a path has one name")
        return names[0].filename

    async def read_link(self, path: bytes) -> bytes:
        """What a link says."""
        names = names_of(await self.ask(READLINK, _string(path)))
        if len(names) != 1:
            raise asyncssh.SFTPBadMessage("a link says one thing")
        return names[0].filename

    async def symlink(self, content: bytes, path: bytes) -> None:
        """Make a link. OpenSSH and those after it take the two in the other order than the draft."""
        order = (content, path) if self._swaps_links else (path, content)
        await self._done(SYMLINK, *map(_string, order))

    async def space(self, path: bytes) -> Space:
        self._offers(b"statvfs@openssh.com")
        packet = await self._extended(b"statvfs@openssh.com", _string(path))
        try:
            fields = [packet.get_uint64() for _ in range(5)]
        except PacketDecodeError as error:
            raise asyncssh.SFTPBadMessage(str(error)) from None
        return Space(fields[1] * fields[4])

    async def check_file(
        self, path: bytes, algorithm: str, start: int = 0, length: int = 0, block: int = 0
    ) -> bytes:
        """Digests of a file's bytes from `start`, computed by the server, which may take minutes.

        `length` in bytes, 0 is up to the end; `block` in bytes for each digest, 0 is one for all. Source:
        draft-ietf-secsh-filexfer-extensions-00, section 3. The names of algorithms are those of
        `spec.block_hash`.
        """
        self._offers(_CHECK)
        what = _string(path) + _string(algorithm.encode("ascii")) + _PART.pack(start, length, block)
        return digests_of(await self._ask_long(EXTENDED, _string(b"check-file-name"), what), algorithm)

    def _start_check(self, handle: bytes, length: int) -> asyncio.Future[Answer]:
        """Ask for the hash of the first bytes of a small open file; see `digests_of`."""
        what = _string(handle) + _string(BLOCK_HASH.encode("ascii")) + _PART.pack(0, length, 0)
        answer = self.ask(EXTENDED, _string(b"check-file-handle"), what)
        answer.add_done_callback(lambda one: one.cancelled() or one.exception())  # it is no must
        return answer

    async def open_folder(self, path: bytes) -> bytes:
        return handle_of(await self.ask(OPENDIR, _string(path)))

    def start_listing(self, handle: bytes) -> asyncio.Future[Answer]:
        """Ask for the next entries of a folder; see `listed`."""
        return self.ask(READDIR, _string(handle))


async def _all_there(*answers: asyncio.Future[Answer]) -> None:
    """Wait for all of them. Raises SFTPConnectionLost.

    The last one first: with a server that answers in order, no other need be waited for by then.
    """
    for answer in reversed(answers):
        if not answer.done():
            await answer


async def _checked(checking: asyncio.Future[Answer] | None) -> bytes:
    """The digest that was asked for; empty where the server tells none. Raises SFTPConnectionLost."""
    if checking is None:
        return b""
    try:
        return digests_of(await checking, BLOCK_HASH)
    except asyncssh.SFTPConnectionLost:
        raise
    except asyncssh.SFTPError as error:
        _log.debug("no digest by the server: %s", error)
        return b""


def opening(path: bytes, flags: int) -> tuple[bytes, ...]:
    """The body of an OPEN request."""
    return _string(path), struct.pack(">II", flags, 0)


def _times(access_s: int, modification_s: int) -> list[bytes]:
    """Attributes that hold nothing but times."""
    times = (access_s, modification_s)
    return [_I.pack(HAS_TIMES), *(_I.pack(min(max(one, 0), 0xFFFFFFFF)) for one in times)]


def _told(timing: asyncio.Future[Answer]) -> None:
    try:
        done(timing.result())
    except asyncssh.SFTPConnectionLost:
        raise
    except asyncssh.SFTPError as error:
        _log.info("a file keeps its own time: %s", error)


def _string(data: bytes) -> bytes:
    return _I.pack(len(data)) + data
