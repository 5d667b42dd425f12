"""A leaner way for data through an established SSH connection, for all its channels together.

The library writes each packet of data to the socket by itself, with an empty one before it, and copies each
byte several times. This takes over the packets of data, only with AES-GCM and between key exchanges; all else
stays with the library, whose sequence numbers, cipher counters and limits are kept exact. It leans on the
library's insides: where one is missing or of another kind (`fits`), the library's way is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connect_helper.wire.allowance import Allowance
from connect_helper.wire.cipher import Counter, gcm_of
from connect_helper.wire.reader import LeanReader
from connect_helper.wire.writer import LeanWriter

_log = logging.getLogger(__name__)

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

    def __init__(
        self,
        connection: Any,
        allowance: Allowance,
        takes: Callable[[Any], bool] = lambda session: session is not None,
    ) -> None:
        """`takes` tells which channels' sessions get their data this way; see `LeanReader`."""
        self._connection = connection
        self.allowance = allowance
        self._writers: list[LeanWriter] = []
        self._paused = False
        self._send_counter: Counter | None = None
        transport = connection._transport
        transport.set_write_buffer_limits(allowance.socket)
        reader = LeanReader(connection, self._writable, takes, allowance)
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
