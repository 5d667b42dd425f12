"""The byte stream of one SSH channel: the library's own way, and a leaner one for the same connection.

The library sends an empty packet before each packet of data, one socket write a packet, and copies each
byte several times on its way. `LeanPipe` takes over the two paths that carry data, in an established
connection and only between key exchanges; everything else (keys, windows, requests, other channels, the
end) stays with the library, and its sequence numbers, cipher counters and rekey limits are kept exact.
It knows the library's insides: where one of them is missing or of another kind, `open_pipe` gives the
plain way, which needs nothing but the public interface.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import asyncssh
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connect_helper.transports.early_channel import EarlyChannel

_log = logging.getLogger(__name__)

CHANNEL_DATA: Final = 94  # RFC 4254 section 9
HEADER: Final = 10  # bytes of padding length, type, channel and data length before the data of a packet
TAG: Final = 16  # bytes of an AES-GCM tag
BURST: Final = 512 * 1024  # bytes in one socket write
INPUT: Final = 1024 * 1024  # bytes of input kept for packets that are not whole yet
BUSY_S: Final = 0.01
HIGH_WATER: Final = 1024 * 1024  # bytes waiting for the socket

Data = bytes | memoryview
_NEEDED: Final = {
    "connection": (
        "_transport", "_channels", "_inpbuf", "_kex_complete", "_auth_complete", "_compressor",
        "_decompressor", "_send_seq", "_recv_seq", "_send_encryption", "_recv_encryption", "_send_enchdrlen",
        "_send_blocksize", "_recv_macsize", "_recv_handler", "_recv_pkthdr", "_recv_data",
        "_recv_packet", "_recv_blocksize", "_pktlen",
        "_finish_recv_packet", "_max_recv_pktlen", "_rekey_bytes", "_rekey_bytes_sent", "_rekey_seconds",
        "_rekey_time", "_reset_keepalive_timer", "_strict_kex",
    ),
    "channel": (
        "_send_chan", "_recv_chan", "_send_window", "_send_pktsize", "_recv_window", "_recv_state",
        "_send_state", "_accept_data", "_flush_send_buf", "_send_buf", "send_packet",
    ),
    "cipher": ("_key", "_iv"),
}  # fmt: skip


class Receiver(Protocol):
    """Who gets what arrives."""

    def received(self, data: Data) -> None:
        """Take the next bytes of the stream; they stay valid and unchanged."""
        ...

    def lost(self, reason: Exception | None) -> None:
        """Nothing more will arrive."""
        ...


class Pipe(Protocol):
    """The way out."""

    def send(self, *parts: Data) -> None:
        """Send bytes one after the other; they may be sent later, but in order and unchanged by then."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes given to `send` that have not left."""
        ...


class _Session(asyncssh.SSHClientSession[bytes]):
    """Hands what the library delivers to the receiver."""

    def __init__(self, receiver: Receiver, greeting: bytes) -> None:
        self._receiver = receiver
        self._greeting = greeting

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        if self._greeting:  # behind the request for the subsystem, which the library is about to make
            asyncio.get_running_loop().call_soon(chan.write, self._greeting)

    def data_received(self, data: Data, datatype: int | None) -> None:
        if datatype is None:  # what a server writes to its error stream is no SFTP
            self._receiver.received(data)

    def eof_received(self) -> bool:
        self._receiver.lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.lost(exc)


class PlainPipe:
    """The library's own way."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def send(self, *parts: Data) -> None:
        self._channel.write(b"".join(parts))

    @property
    def waiting(self) -> int:
        return self._channel.get_write_buffer_size()


async def open_pipe(
    connection: asyncssh.SSHClientConnection,
    receiver: Receiver,
    *,
    subsystem: str,
    window: int,
    packet: int,
    greeting: bytes = b"",
    early: bool = False,
    lean: bool = True,
) -> Pipe:
    """Open a channel for `subsystem`. Raises asyncssh.Error, OSError.

    `greeting` is sent without waiting for the subsystem to be there, `early` before the login is over; the
    server has to read in order. `window` and `packet` are bytes the server may send before we confirm, and
    in one packet.
    """
    ahead = EarlyChannel(connection, subsystem, greeting) if early else None
    try:
        channel, _session = await connection.create_session(
            lambda: _Session(receiver, b"" if early else greeting),
            subsystem=subsystem,
            encoding=None,
            window=window,
            max_pktsize=packet,
        )
    finally:
        if ahead is not None:
            ahead.over()
    typed = cast("asyncssh.SSHClientChannel[bytes]", channel)
    if lean and fits(connection, channel):
        return LeanPipe(connection, channel)
    return PlainPipe(typed)


def fits(connection: Any, channel: Any) -> bool:
    """Tell whether the library's insides are those the lean way was written for, with AES-GCM in use."""
    missing = [name for name in _NEEDED["connection"] if not hasattr(connection, name)]
    missing += [name for name in _NEEDED["channel"] if not hasattr(channel, name)]
    if missing or not hasattr(AESGCM, "encrypt_into"):
        _log.info("the plain way through SSH is taken; not found: %s", missing)
        return False
    for encryption in (connection._send_encryption, connection._recv_encryption):
        cipher = getattr(encryption, "_cipher", None)
        if type(encryption) is not GCMEncryption or not all(hasattr(cipher, n) for n in _NEEDED["cipher"]):
            return False
    plain = not (connection._compressor or connection._decompressor)
    return plain and isinstance(connection._transport, asyncio.Transport)


class _Counter:
    """The key of one direction, and its nonce: 4 fixed bytes and a count (RFC 5647 section 7.1)."""

    __slots__ = ("_cipher", "_count", "_fixed", "key")

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self.key = AESGCM(cipher._key)
        self._fixed = bytes(cipher._iv[:4])
        self._count = 0

    def load(self) -> None:
        self._count = int.from_bytes(self._cipher._iv[4:], "big")

    def next(self) -> bytes:
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def store(self) -> None:
        self._cipher._iv = self._fixed + self._count.to_bytes(8, "big")

    def of(self, cipher: object) -> bool:
        return cipher is self._cipher


def _gcm_of(encryption: Any) -> Any:
    """The library's cipher object, None when it is not AES-GCM."""
    return encryption._cipher if type(encryption) is GCMEncryption else None


class LeanPipe:
    """Data packets of one channel straight to and from the socket. Made by `open_pipe`."""

    def __init__(self, connection: Any, channel: Any) -> None:
        self._connection = connection
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._parts: deque[memoryview] = deque()
        self._waiting = 0
        self._scheduled = False
        self._paused = False
        self._counter: _Counter | None = None
        self._plain = bytearray(channel._send_pktsize + 64)
        channel._flush_send_buf = self._window_opened(channel._flush_send_buf)
        transport = connection._transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self._reader = _Reader(connection, self._writable)
        transport.set_protocol(self._reader)
        self._reader.start()

    @property
    def waiting(self) -> int:
        return self._waiting

    def send(self, *parts: Data) -> None:
        for part in parts:
            self._parts.append(memoryview(part))
            self._waiting += len(part)
        if self._waiting >= BURST:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._scheduled = False
        self.flush()

    def _writable(self, writable: bool) -> None:
        self._paused = not writable
        if writable:
            self.flush()

    def _window_opened(self, library: Callable[[], None]) -> Callable[[], None]:
        def flush() -> None:
            library()
            self.flush()

        return flush

    def flush(self) -> None:
        """Send what the channel's window and the socket take."""
        connection, channel = self._connection, self._channel
        while self._parts and not self._paused and connection._transport is not None:
            room = min(channel._send_window, self._waiting)
            if room <= 0 or channel._send_state != "open" or channel._send_buf:
                return
            cipher = _gcm_of(connection._send_encryption)
            if cipher is None or self._exchange_due():
                self._send_plainly(min(room, channel._send_pktsize))
                continue
            if self._counter is None or not self._counter.of(cipher):
                self._counter = _Counter(cipher)
            connection._transport.write(self._burst(self._counter, min(room, BURST)))

    def _exchange_due(self) -> bool:
        connection = self._connection
        if not connection._kex_complete or connection._rekey_bytes_sent >= connection._rekey_bytes:
            return True
        return bool(connection._rekey_seconds) and time.monotonic() >= connection._rekey_time

    def _send_plainly(self, length: int) -> None:
        """The library starts the key exchange, or keeps the packet until one is over."""
        data = bytearray(length)
        self._fill(memoryview(data))
        self._channel._send_window -= length
        self._channel.send_packet(CHANNEL_DATA, length.to_bytes(4, "big"), bytes(data))

    def _burst(self, counter: _Counter, room: int) -> bytearray:
        """Packets with `room` bytes of data, encrypted; all counters moved on."""
        connection, channel = self._connection, self._channel
        size, block, extra = channel._send_pktsize, connection._send_blocksize, connection._send_enchdrlen
        count = -(-room // size)
        out = bytearray(room + count * (4 + HEADER + block + 4 + TAG))
        view, plain = memoryview(out), memoryview(self._plain)
        target = channel._send_chan.to_bytes(4, "big")
        position = sent = 0
        counter.load()
        while sent < room:
            length = min(size, room - sent)
            padding = -(extra + HEADER - 1 + length) % block
            padding += block if padding < 4 else 0
            packet = HEADER + length + padding
            plain[:HEADER] = bytes((padding, CHANNEL_DATA)) + target + length.to_bytes(4, "big")
            self._fill(plain[HEADER : HEADER + length])
            plain[HEADER + length : packet] = os.urandom(padding)
            header = packet.to_bytes(4, "big")
            view[position : position + 4] = header
            end = position + 4 + packet + TAG
            counter.key.encrypt_into(counter.next(), plain[:packet], header, view[position + 4 : end])
            position, sent = end, sent + length
            connection._rekey_bytes_sent += packet
        counter.store()
        connection._send_seq = (connection._send_seq + count) & 0xFFFFFFFF
        channel._send_window -= sent
        view.release()
        del out[position:]
        return out

    def _fill(self, target: memoryview) -> None:
        """Take the next bytes that wait."""
        filled, wanted = 0, len(target)
        while filled < wanted:
            part = self._parts[0]
            piece = part[: wanted - filled]
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
            if len(piece) == len(part):
                self._parts.popleft()
            else:
                self._parts[0] = part[len(piece) :]
        self._waiting -= wanted


class _Opened:
    """Stands in for the cipher while the library handles one packet that is opened already."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet

    def decrypt_header(self, _seq: int, first: bytes, length: int) -> tuple[bytes, bytes]:
        return first, first[:length]

    def decrypt_packet(self, _seq: int, _first: bytes, _rest: bytes, _length: int, _mac: bytes) -> bytes:
        return self._packet


class _Reader(asyncio.BufferedProtocol):
    """Reads the socket into one buffer and opens the packets in it.

    Data of an open channel goes to its session; any other packet, and one that cannot be opened, goes to
    the library, which knows what to do with it.
    """

    def __init__(self, connection: Any, writable: Callable[[bool], None]) -> None:
        self._connection = connection
        self._writable = writable
        self._buffer = bytearray(INPUT)
        self._view = memoryview(self._buffer)
        self._begin = 0  # of what is not handled yet
        self._end = 0
        self._counter: _Counter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._finish = connection._finish_recv_packet

    def start(self) -> None:
        """Take over, with what the library has read and not handled."""
        connection = self._connection
        connection._finish_recv_packet = self._finished
        self._handle()

    def _take_back(self) -> None:
        """What the library has read and not begun to handle comes first."""
        connection = self._connection
        if connection._inpbuf and self._idle():
            waiting = bytes(connection._inpbuf) + bytes(self._view[self._begin : self._end])
            connection._inpbuf = b""
            self._buffer = bytearray(len(waiting) + INPUT)
            self._view = memoryview(self._buffer)
            self._view[: len(waiting)] = waiting
            self._begin, self._end = 0, len(waiting)

    def _handle_later(self) -> None:
        """The library is still busy with a packet it began before we came, and tells us nothing."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BUSY_S, self._timer_over)

    def _timer_over(self) -> None:
        self._timer = None
        self._handle()

    def _idle(self) -> bool:
        """Tell whether the library is between two packets."""
        return bool(self._connection._recv_handler == self._connection._recv_pkthdr)

    def _finished(self, pkttype: int, seq: int, task: object = None, is_async: bool = False) -> None:
        self._finish(pkttype, seq, task, is_async)
        if is_async:
            asyncio.get_running_loop().call_soon(self._handle)

    # The socket ------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._begin and self._end - self._begin <= 64 * 1024:
            rest = bytes(self._view[self._begin : self._end])
            self._view[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        if self._end == len(self._buffer):  # one packet, larger than what is usual, or a slow exchange
            larger = bytearray(2 * (self._end - self._begin) + INPUT)
            larger[: self._end - self._begin] = self._view[self._begin : self._end]
            self._begin, self._end = 0, self._end - self._begin
            self._buffer = larger
            self._view = memoryview(larger)
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        self._connection._reset_keepalive_timer()
        self._handle()

    def eof_received(self) -> bool | None:
        return cast("bool | None", self._connection.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    # Packets ---------------------------------------------------------------------------------------

    def _handle(self) -> None:
        connection = self._connection
        if connection._recv_handler == connection._recv_packet:  # it had begun one before we came
            whole = 4 + connection._pktlen + connection._recv_macsize - connection._recv_blocksize
            missing = whole - len(connection._inpbuf)
            self._give(min(self._end, self._begin + missing))
        self._take_back()
        self._handle_packets()
        busy = not self._idle() or connection._inpbuf
        if busy and connection._transport is not None and connection._recv_handler != connection._recv_packet:
            self._handle_later()

    def _handle_packets(self) -> None:
        connection = self._connection
        while connection._transport is not None and self._end > self._begin and self._idle():
            cipher = _gcm_of(connection._recv_encryption)
            if cipher is None:
                self._give(self._end)
                return
            if self._end - self._begin < 4:
                return
            length = int.from_bytes(self._view[self._begin : self._begin + 4], "big")
            if length > connection._max_recv_pktlen or length < 8:
                self._give(self._end)  # the library ends the connection
                return
            end = self._begin + 4 + length + TAG
            if end > self._end:
                return
            if self._counter is None or not self._counter.of(cipher):
                self._counter = _Counter(cipher)
            self._open(self._counter, end)

    def _open(self, counter: _Counter, end: int) -> None:
        connection = self._connection
        header = self._view[self._begin : self._begin + 4]
        counter.load()
        try:
            packet = counter.key.decrypt(counter.next(), self._view[self._begin + 4 : end], header)
        except InvalidTag:
            self._give(end)
            return
        counter.store()
        if packet[1] == CHANNEL_DATA and self._delivered(packet):
            connection._recv_seq = (connection._recv_seq + 1) & 0xFFFFFFFF
            self._begin = end
            return
        encryption = connection._recv_encryption
        connection._recv_encryption = opened = _Opened(packet)
        try:
            self._give(end)
        finally:
            if connection._recv_encryption is opened:  # else new keys are in use
                connection._recv_encryption = encryption

    def _delivered(self, packet: bytes) -> bool:
        """Hand data to its channel. False when anything about it is unusual: the library judges it."""
        channel = self._connection._channels.get(int.from_bytes(packet[2:6], "big"))
        length = int.from_bytes(packet[6:HEADER], "big")
        if channel is None or not isinstance(channel._session, _Session):
            return False
        if length != len(packet) - HEADER - packet[0] or channel._recv_state != "open":
            return False
        if length > channel._recv_window:
            return False
        channel._accept_data(memoryview(packet)[HEADER : HEADER + length])
        return True

    def _give(self, end: int) -> None:
        """Let the library handle what is read up to `end`."""
        raw = bytes(self._view[self._begin : end])
        self._begin = end
        self._connection._inpbuf += raw
        self._connection._recv_data()
