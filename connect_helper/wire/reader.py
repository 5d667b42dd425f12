"""Reads the socket of an SSH connection past the library, where it carries data (see `connection`)."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from cryptography.exceptions import InvalidTag

from connect_helper.wire.allowance import Allowance
from connect_helper.wire.cipher import CHANNEL_DATA, HEADER, TAG, WINDOW_ADJUST, Counter, gcm_of

PACKET: Final = 64 * 1024  # bytes; room for a packet that is not whole yet, beside what one turn reads
RETRY_S: Final = 0.005
ALIVE_S: Final = 1.0  # between two notes that the other end is there
OPEN_TO_SEND: Final = ("open", "eof_pending", "eof")  # how far a channel is read that may still be sent to
MOST: Final = 32 * 1024  # bytes to wait for: a very slow line has to show that it lives
WORTH: Final = 4096  # bytes to wait for; for fewer it is not worth telling the system


_WAKES_LATE: Final = sys.platform == "linux"  # where it is known what happens at the end of a connection


class _Opened:
    """Stands in for the cipher while the library handles one packet that is opened already."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet

    def decrypt_header(self, _seq: int, first: bytes, length: int) -> tuple[bytes, bytes]:
        return first, first[:length]

    def decrypt_packet(self, _seq: int, _first: bytes, _rest: bytes, _length: int, _mac: bytes) -> bytes:
        return self._packet


class LeanReader(asyncio.BufferedProtocol):
    """Reads the socket into one buffer and opens the packets in it.

    Data of an open channel goes to its session, and its window is widened; any other packet, and one that
    cannot be opened, goes to the library, which knows what to do with it.
    """

    def __init__(
        self,
        connection: Any,
        writable: Callable[[bool], None],
        takes: Callable[[Any], bool],
        allowance: Allowance,
    ) -> None:
        """`takes` tells whether a channel's session is one that data may be handed to past the library."""
        self._connection = connection
        self._takes = takes
        self._allowance = allowance
        self._writable = writable
        self._buffer = bytearray(self._room)
        self._view = memoryview(self._buffer)
        self._begin = 0  # of what is not handled yet
        self._end = 0
        self._counter: Counter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wider: list[Any] = []  # channels that may send more
        self._alive_at = 0.0
        self._missing = 1  # bytes, without which there is nothing to do
        self._wakes_at = 1
        self._finish = connection._finish_recv_packet

    @property
    def _room(self) -> int:
        return self._allowance.turn + PACKET

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
            self._move(bytearray(2 * (self._end - self._begin) + self._room))
        return self._view[self._end : self._end + self._allowance.turn]

    def _move(self, target: bytearray) -> None:
        rest = bytes(self._view[self._begin : self._end])
        if target is not self._buffer:
            self._buffer = target
            self._view = memoryview(target)
        self._view[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        now = asyncio.get_running_loop().time()
        if now - self._alive_at >= ALIVE_S:
            self._alive_at = now
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
        self._missing = 1
        self._handle_all()
        self._wake_at(min(self._missing, MOST) if self._missing >= WORTH and _WAKES_LATE else 1)

    def _wake_at(self, count: int) -> None:
        """Hear of the socket again when so many bytes are there, or its end: the rest of one packet.

        A slow connection brings a packet in twenty pieces, of which only the last is of use.
        """
        if count == self._wakes_at or self._connection._transport is None:
            return
        self._wakes_at = count
        sock = self._connection._transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # it is gone, or no socket
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def _handle_all(self) -> None:
        connection = self._connection
        if connection._transport is None:
            return
        if connection._recv_handler == connection._recv_packet:  # it had begun one before we came
            whole = 4 + connection._pktlen + connection._recv_macsize - connection._recv_blocksize
            self._give(min(self._end, self._begin + whole - len(connection._inpbuf)))
        self._take_back()
        self._handle_packets()
        self._send_on()
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
            self._buffer = bytearray(len(waiting) + self._room)
            self._view = memoryview(self._buffer)
            self._view[: len(waiting)] = waiting
            self._begin, self._end = 0, len(waiting)

    def _handle_packets(self) -> None:
        connection = self._connection
        while connection._transport is not None and self._end > self._begin and self._idle():
            cipher = gcm_of(connection._recv_encryption)
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
                self._missing = end - self._end
                return
            if self._counter is None or not self._counter.of(cipher):
                self._counter = Counter(cipher)
            self._open(self._counter, end)

    def _open(self, counter: Counter, end: int) -> None:
        connection = self._connection
        header = self._view[self._begin : self._begin + 4]
        counter.load()
        try:
            packet = counter.key.decrypt(counter.next(), self._view[self._begin + 4 : end], header)
        except InvalidTag:
            self._give(end)
            return
        counter.store()
        kind = packet[1]
        if (kind == CHANNEL_DATA and self._delivered(packet)) or (
            kind == WINDOW_ADJUST and self._widened(packet)
        ):
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
        if channel is None or not self._takes(channel._session):
            return False
        if length != len(packet) - HEADER - packet[0] or channel._recv_state != "open":
            return False
        if length > channel._recv_window:
            return False
        channel._accept_data(memoryview(packet)[HEADER : HEADER + length])
        return True

    def _widened(self, packet: bytes) -> bool:
        """Note that the other end takes more data of a channel. False when the library is to judge it."""
        channel = self._connection._channels.get(int.from_bytes(packet[2:6], "big"))
        if channel is None or not self._takes(channel._session):
            return False
        if len(packet) != HEADER + packet[0] or channel._recv_state != "open":
            return False
        channel._send_window += int.from_bytes(packet[6:HEADER], "big")
        if channel not in self._wider:
            self._wider.append(channel)
        return True

    def _send_on(self) -> None:
        """Channels that may send more do so, once for all packets of one turn."""
        channels, self._wider = self._wider, []
        for channel in channels:
            if channel._recv_state in OPEN_TO_SEND:
                channel._flush_send_buf()

    def _give(self, end: int) -> None:
        """Let the library handle what is read up to `end`."""
        raw = bytes(self._view[self._begin : end])
        self._begin = end
        self._connection._inpbuf += raw
        self._connection._recv_data()
