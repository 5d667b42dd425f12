"""A connection to an HTTP server for a thread that waits for it, as the standard library has it.

Trusted, named and tokened as every other one of the transport (SEC-22, SEC-23, SEC-26).
"""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import aiohttp

WAIT_S: Final = 60.0  # without a byte from the server
ANSWER_S: Final = 5.0  # for each step until it answers: it has just answered others

Verified = ssl.SSLContext | aiohttp.Fingerprint | None
"""What decides about the server's certificate, see `certificates.trust`; None: no TLS."""


class BlockingLine:
    """One connection, for one question. Its calls block, and raise OSError and http.client.HTTPException."""

    def __init__(
        self,
        host: str,
        port: int,
        addresses: tuple[str, ...],
        verified: Verified,
        headers: Mapping[str, str],
    ) -> None:
        """To no other than `addresses` (numeric), of the server that is called `host`; `headers` go along."""
        self._http = http.client.HTTPConnection(host, port)
        self._http.auto_open = 0
        self._addresses = addresses
        self._verified = verified
        self._headers = headers
        self._sock: socket.socket | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._is_drained = False
        self.is_cut = False

    def ask(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Connect, send GET and return what is answered. `path` is percent-encoded."""
        self._http.sock = self._sock = self._connect()
        self._http.request("GET", path, headers={**self._headers, **headers})
        self._answer = self._http.getresponse()
        self._sock.settimeout(WAIT_S)
        return self._answer

    def read_into(self, room: memoryview) -> int:
        """Read what there is of the body, waiting for a byte at least; 0: the connection has ended.

        Past the library once that has handed on what it read along with the headers: it would wait until all
        of `room` is full.
        """
        if self._answer is None or self._sock is None:
            raise RuntimeError("nothing was asked for")
        if not self._is_drained:
            self._is_drained = True
            along: io.BufferedReader = self._answer.fp
            if count := len(along.peek()):
                return along.readinto1(room[:count])
        return self._sock.recv_into(room)

    def cut(self) -> None:
        """End it at once, whatever thread waits for it: that one hears of the end of the connection."""
        self.is_cut = True
        if self._sock is not None:
            with suppress(OSError):  # it is over already
                # Else a server that waits for room here would hear of the end only after minutes.
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # TLS must not be left for what the system holds back: that would be taken for content.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give it back to the system; no thread may wait for it."""
        self._http.close()
        if self._answer is not None:
            self._answer.close()  # of one that ends the connection, only this does
        if self._sock is not None:
            self._sock.close()

    def _connect(self) -> socket.socket:
        failure: OSError = ConnectionAbortedError("there is no address")
        for address in self._addresses:
            try:
                return self._secured(self._reach(address))
            except OSError as error:  # that of TLS too
                failure = error
                self.close()
        raise failure

    def _reach(self, address: str) -> socket.socket:
        self._sock = sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if self.is_cut:
            raise ConnectionAbortedError("it is not wanted any more")
        sock.settimeout(ANSWER_S)
        sock.connect((address, self._http.port))
        return sock

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._verified is None:
            return sock
        pinned = self._verified if isinstance(self._verified, aiohttp.Fingerprint) else None
        context = _anyone() if isinstance(self._verified, aiohttp.Fingerprint) else self._verified
        self._sock = secured = context.wrap_socket(
            sock, server_hostname=self._http.host, do_handshake_on_connect=False
        )
        if self.is_cut:
            raise ConnectionAbortedError("it is not wanted any more")
        secured.do_handshake()
        shown = secured.getpeercert(binary_form=True) or b""
        if pinned is not None and hashlib.sha256(shown).digest() != pinned.fingerprint:
            raise ssl.SSLCertVerificationError("another certificate is pinned")
        return secured


def _anyone() -> ssl.SSLContext:
    """TLS with a server whose certificate is looked at afterwards."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
