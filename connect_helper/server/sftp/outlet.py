"""How bytes get from an SSH channel to its SFTP service and back: the library's way, or a leaner one.

The library writes each packet of data to the socket by itself, with an empty one before it, and copies each
byte several times. The lean way takes over the packets of data of one established connection, all its
channels together and only with AES-GCM and between key exchanges; all else stays with the library, whose
sequence numbers, cipher counters and limits are kept exact. It leans on the library's insides: where one is
missing or of another kind, the plain way is taken, which needs nothing but the public interface.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from typing import Any, Final, cast

import asyncssh
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connect_helper.server.sftp.packets import Data

_log = logging.getLogger(__name__)

CHANNEL_DATA: Final = 94  # RFC 4254 section 9
HEADER: Final = 10  # bytes of padding length, type, channel and data length before the data of a packet
TAG: Final = 16  # bytes of an AES-GCM tag
BURST: Final = 256 * 1024  # bytes in one socket write
INPUT: Final = 512 * 1024  # bytes of input kept for packets that are not whole yet
HIGH_WATER: Final = 1024 * 1024  # bytes waiting for the socket
RETRY_S: Final = 0.005

_NEEDED: Final = {
    "connection": (
        "_transport", "_channels", "_inpbuf", "_kex_complete", "_auth_complete", "_compressor",
        "_decompressor", "_send_seq", "_recv_seq", "_send_encryption", "_recv_encryption", "_send_enchdrlen",
        "_send_blocksize", "_recv_macsize", "_recv_handler", "_recv_pkthdr", "_recv_data", "_recv_packet",
        "_recv_blocksize", "_pktlen", "_finish_recv_packet", "_max_recv_pktlen", "_rekey_bytes",
        "_rekey_bytes_sent", "_rekey_seconds", "_rekey_time", "_reset_keepalive_timer", "_strict_kex",
    ),
    "channel": (
        "_send_chan", "_recv_chan", "_send_window", "_send_pktsize", "_recv_window", "_recv_state",
        "_send_state", "_accept_data", "_flush_send_buf", "_send_buf", "send_packet", "_session",
    ),
    "cipher": ("_key", "_iv"),
}  # fmt: skip


def fits(connection: Any, channel: Any) -> bool:
    """Tell whether the library's insides are those the lean way was written for, with AES-GCM in use."""
    missing = [name for name in _NEEDED["connection"] if not hasattr(connection, name)]
    missing += [name for name in _NEEDED["channel"] if not hasattr(channel, name)]
    if missing or not hasattr(AESGCM, "encrypt_into"):
        _log.info("the plain way through SSH is taken; not found: %s", missing)
        return False
    for encryption in (connection._send_encryption, connection._recv_encryption):
        cipher = _gcm_of(encryption)
        if cipher is None or not all(hasattr(cipher, name) for name in _NEEDED["cipher"]):
            return False
    plain = not (connection._compressor or connection._decompressor)
    return plain and isinstance(connection._transport, asyncio.Transport)


class ChannelOutlet:
    """The way out of one channel; plain until `go_lean`. Made and fed by the channel's session."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel
        self._lean: LeanWriter | None = None
        self._gone = False
        self._roomier = asyncio.Event()

    def go_lean(self, lean: LeanConnection) -> None:
        """Use the lean way from now on; what was sent so far has gone to the library."""
        self._lean = lean.writer(self._channel, self._roomier.set)

    def send(self, *parts: Data) -> None:
        if self._gone:
            return
        if self._lean is not None:
            self._lean.send(*parts)
        else:
            self._channel.write(b"".join(parts))

    @property
    def waiting(self) -> int:
        """Bytes that have not left."""
        library: int = self._channel.get_write_buffer_size()
        return library if self._lean is None else library + self._lean.waiting

    async def room(self, limit: int) -> None:
        """Wait until at most `limit` bytes wait, or the client is gone."""
        while not self._gone and self.waiting > limit:
            self._roomier.clear()
            await self._roomier.wait()

    def progressed(self) -> None:
        """Some bytes have left."""
        self._roomier.set()

    def gone(self) -> None:
        """The channel is closed: nothing more can be sent, and nobody needs to wait."""
        self._gone = True
        self._roomier.set()
        if self._lean is not None:
            self._lean.forget()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        # Not from within: the library would deliver what it kept while a request is being handled.
        asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._gone:
            self._channel.resume_reading()


class LeanConnection:
    """Stands between the socket and the library for one connection, once it is established."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._writers: list[LeanWriter] = []
        self._paused = False
        self._send_counter: _Counter | None = None
        transport = connection._transport
        transport.set_write_buffer_limits(HIGH_WATER)
        reader = _Reader(connection, self._writable)
        transport.set_protocol(reader)
        reader.start()

    def writer(self, channel: Any, progressed: Any) -> LeanWriter:
        """The lean way out for one channel; `progressed` is called when bytes have left."""
        writer = LeanWriter(self, self._connection, channel, progressed)
        self._writers.append(writer)
        return writer

    def forget(self, writer: LeanWriter) -> None:
        if writer in self._writers:
            self._writers.remove(writer)

    @property
    def stopped(self) -> bool:
        """Tell whether the socket takes nothing now."""
        return self._paused or self._connection._transport is None

    def counter(self) -> _Counter | None:
        """The counter of the cipher in use; None while the library must send (other cipher, key exchange)."""
        connection = self._connection
        cipher = _gcm_of(connection._send_encryption)
        if cipher is None or not connection._kex_complete:
            return None
        if connection._rekey_bytes_sent >= connection._rekey_bytes:
            return None
        if connection._rekey_seconds and time.monotonic() >= connection._rekey_time:
            return None
        if self._send_counter is None or not self._send_counter.of(cipher):
            self._send_counter = _Counter(cipher)
        return self._send_counter

    def _writable(self, writable: bool) -> None:
        self._paused = not writable
        if writable:
            # Whoever was first last time is last now, so that channels share the socket.
            self._writers = self._writers[1:] + self._writers[:1]
            for writer in tuple(self._writers):
                writer.flush()


class LeanWriter:
    """Packets of data of one channel, encrypted and written many at a time."""

    def __init__(self, lean: LeanConnection, connection: Any, channel: Any, progressed: Any) -> None:
        self._lean = lean
        self._connection = connection
        self._channel = channel
        self._progressed = progressed
        self._loop = asyncio.get_running_loop()
        self._parts: deque[memoryview] = deque()
        self._scheduled = False
        self._plain = bytearray(channel._send_pktsize + 64)
        self.waiting = 0
        library = channel._flush_send_buf

        def window_opened() -> None:
            library()
            self.flush()

        channel._flush_send_buf = window_opened

    def send(self, *parts: Data) -> None:
        for part in parts:
            self._parts.append(memoryview(part))
            self.waiting += len(part)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_soon)

    def forget(self) -> None:
        """Drop what has not left: the channel is closed."""
        self._parts.clear()
        self.waiting = 0
        self._lean.forget(self)

    def _flush_soon(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what the channel's window and the socket take."""
        channel = self._channel
        before = self.waiting
        while self._parts and not self._lean.stopped and channel._send_state == "open":
            room = min(channel._send_window, self.waiting)
            if room <= 0 or channel._send_buf:
                break
            counter = self._lean.counter()
            if counter is None:
                self._send_plainly(min(room, channel._send_pktsize))
            else:
                self._connection._transport.write(self._burst(counter, min(room, BURST)))
        if self.waiting < before:
            self._progressed()

    def _send_plainly(self, length: int) -> None:
        """The library starts the key exchange, or keeps the packet until one is over."""
        data = bytearray(length)
        self._fill(memoryview(data))
        self._channel._send_window -= length
        self._channel.send_packet(CHANNEL_DATA, length.to_bytes(4, "big"), bytes(data))

    def _burst(self, counter: _Counter, room: int) -> bytearray:
        """Packets with `room` bytes of data, encrypted (RFC 4253 section 6); all counters moved on."""
        connection, channel = self._connection, self._channel
        size, block, extra = channel._send_pktsize, connection._send_blocksize, connection._send_enchdrlen
        count = -(-room // size)
        out = bytearray(room + count * (4 + HEADER + block + 4 + TAG))
        view, plain = memoryview(out), memoryview(self._plain)
        start = bytes((CHANNEL_DATA,)) + channel._send_chan.to_bytes(4, "big")
        position = sent = 0
        counter.load()
        while sent < room:
            length = min(size, room - sent)
            padding = -(extra + HEADER - 1 + length) % block
            padding += block if padding < 4 else 0
            packet = HEADER + length + padding
            plain[:HEADER] = bytes((padding,)) + start + length.to_bytes(4, "big")
            self._fill(plain[HEADER : HEADER + length])
            plain[HEADER + length : packet] = os.urandom(padding)
            header = packet.to_bytes(4, "big")
            end = position + 4 + packet + TAG
            view[position : position + 4] = header
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
            length = min(len(part), wanted - filled)
            target[filled : filled + length] = part[:length]
            filled += length
            if length == len(part):
                self._parts.popleft()
            else:
                self._parts[0] = part[length:]
        self.waiting -= wanted


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

    def __init__(self, connection: Any, writable: Any) -> None:
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
        self._connection._finish_recv_packet = self._finished
        self._handle()

    def _finished(self, pkttype: int, seq: int, task: object = None, is_async: bool = False) -> None:
        self._finish(pkttype, seq, task, is_async)
        if is_async:
            asyncio.get_running_loop().call_soon(self._handle)

    def _idle(self) -> bool:
        """Tell whether the library is between two packets."""
        return bool(self._connection._recv_handler == self._connection._recv_pkthdr)

    # The socket ------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin and self._end - self._begin <= 64 * 1024:
            self._move(self._buffer)
        if self._end == len(self._buffer):  # one packet, larger than what is usual, or a slow exchange
            self._move(bytearray(2 * (self._end - self._begin) + INPUT))
        return self._view[self._end :]

    def _move(self, target: bytearray) -> None:
        rest = bytes(self._view[self._begin : self._end])
        if target is not self._buffer:
            self._buffer = target
            self._view = memoryview(target)
        self._view[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        self._connection._reset_keepalive_timer()
        self._handle()

    def eof_received(self) -> bool | None:
        return cast("bool | None", self._connection.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    # Packets ---------------------------------------------------------------------------------------

    def _handle(self) -> None:
        connection = self._connection
        if connection._transport is None:
            return
        if connection._recv_handler == connection._recv_packet:  # it had begun one before we came
            whole = 4 + connection._pktlen + connection._recv_macsize - connection._recv_blocksize
            self._give(min(self._end, self._begin + whole - len(connection._inpbuf)))
        self._take_back()
        self._handle_packets()
        if connection._transport is None or connection._recv_handler == connection._recv_packet:
            return
        if (not self._idle() or connection._inpbuf) and self._timer is None:
            # The library is busy with a packet it began before we came, and tells us nothing.
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._timer_over)

    def _timer_over(self) -> None:
        self._timer = None
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
        if channel is None or channel._session is None:
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
