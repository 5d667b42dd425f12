"""The way out of one SSH channel past the library (see `connection`)."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from connect_helper.wire.allowance import Allowance
from connect_helper.wire.cipher import CHANNEL_DATA, HEADER, TAG, Counter

BURST: Final = 512 * 1024  # bytes in one socket write
BURST_PACKETS: Final = 128  # in one turn: the other side may want its bytes in packets of any size

Data = bytes | memoryview


class Door(Protocol):
    """What a writer asks of its connection."""

    allowance: Allowance

    @property
    def stopped(self) -> bool: ...

    def counter(self) -> Counter | None: ...

    def forget(self, writer: LeanWriter) -> None: ...


class LeanWriter:
    """Packets of data of one channel, encrypted and written many at a time."""

    def __init__(self, lean: Door, connection: Any, channel: Any, progressed: Callable[[], None]) -> None:
        self._lean = lean
        self._connection = connection
        self._channel = channel
        self._progressed = progressed
        self._loop = asyncio.get_running_loop()
        self._parts: deque[memoryview] = deque()
        self._scheduled = False
        self._size = min(channel._send_pktsize, BURST)  # bytes of data in one packet
        self._plain = bytearray(self._size + 64)
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
        turn = min(self._lean.allowance.turn, BURST_PACKETS * self._size)
        while self._parts and not self._lean.stopped and channel._send_state == "open":
            room = min(channel._send_window, self.waiting)
            if room <= 0 or channel._send_buf:
                break
            if before - self.waiting >= turn:
                self._flush_later()
                break
            counter = self._lean.counter()
            if counter is None:
                self._send_plainly(min(room, self._size))
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
        size, block, extra = self._size, connection._send_blocksize, connection._send_enchdrlen
        count = -(-room // size)
        out = bytearray(room + count * (4 + HEADER + block + 4 + TAG))
        view, plain = memoryview(out), memoryview(self._plain)
        chance = memoryview(os.urandom(count * (block + 4)))  # for the padding of all packets
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
            plain[HEADER + length : packet], chance = chance[:padding], chance[padding:]
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
