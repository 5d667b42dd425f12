"""A leaner way for data through an established SSH connection, for all its channels together.

The library writes each packet of data to the socket by itself, with an empty one before it, and copies each
byte several times. This takes over the packets of data, only with AES-GCM and between key exchanges; all else
stays with the library, whose sequence numbers, cipher counters and limits are kept exact. It leans on the
library's insides: where one is missing or of another kind (`fits`), the library's way is kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connect_helper.server.sftp.lean_cipher import CHANNEL_DATA, HEADER, TAG, Counter, gcm_of
from connect_helper.server.sftp.lean_reader import LeanReader
from connect_helper.server.sftp.packets import Data
from connect_helper.server.sftp.room import Room

_log = logging.getLogger(__name__)

BURST: Final = 256 * 1024  # bytes in one socket write

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
        cipher = gcm_of(encryption)
        if cipher is None or not all(hasattr(cipher, name) for name in _NEEDED["cipher"]):
            return False
    plain = not (connection._compressor or connection._decompressor)
    return plain and isinstance(connection._transport, asyncio.Transport)


class LeanConnection:
    """Stands between the socket and the library for one connection, once it is established."""

    def __init__(self, connection: Any, room: Room) -> None:
        self._connection = connection
        self.room = room
        self._writers: list[LeanWriter] = []
        self._paused = False
        self._send_counter: Counter | None = None
        transport = connection._transport
        transport.set_write_buffer_limits(room.socket)
        reader = LeanReader(connection, self._writable, room)
        transport.set_protocol(reader)
        reader.start()

    def writer(self, channel: Any, progressed: Callable[[], None]) -> LeanWriter:
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

    def counter(self) -> Counter | None:
        """The counter of the cipher in use; None while the library must send (other cipher, key exchange)."""
        connection = self._connection
        cipher = gcm_of(connection._send_encryption)
        if cipher is None or not connection._kex_complete:
            return None
        if connection._rekey_bytes_sent >= connection._rekey_bytes:
            return None
        if connection._rekey_seconds and time.monotonic() >= connection._rekey_time:
            return None
        if self._send_counter is None or not self._send_counter.of(cipher):
            self._send_counter = Counter(cipher)
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

    def __init__(
        self, lean: LeanConnection, connection: Any, channel: Any, progressed: Callable[[], None]
    ) -> None:
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
        self._flush_later()

    def forget(self) -> None:
        """Drop what has not left: the channel is closed."""
        self._parts.clear()
        self.waiting = 0
        self._lean.forget(self)

    def _flush_later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what the channel's window and the socket take, as far as one turn goes."""
        channel = self._channel
        before = self.waiting
        turn = self._lean.room.turn
        while self._parts and not self._lean.stopped and channel._send_state == "open":
            room = min(channel._send_window, self.waiting)
            if room <= 0 or channel._send_buf:
                break
            if before - self.waiting >= turn:
                self._flush_later()
                break
            counter = self._lean.counter()
            if counter is None:
                self._send_plainly(min(room, channel._send_pktsize))
            else:
                self._connection._transport.write(self._burst(counter, min(room, turn, BURST)))
        if self.waiting < before:
            self._progressed()

    def _send_plainly(self, length: int) -> None:
        """The library starts the key exchange, or keeps the packet until one is over."""
        data = bytearray(length)
        self._fill(memoryview(data))
        self._channel._send_window -= length
        self._channel.send_packet(CHANNEL_DATA, length.to_bytes(4, "big"), bytes(data))

    def _burst(self, counter: Counter, room: int) -> bytearray:
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
