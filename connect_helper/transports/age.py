"""The age file format with a passphrase (age-encryption.org/v1, C2SP specification), with random access.

A file is a header that wraps a file key, a nonce, and the content in chunks of 64 KiB, each sealed by
ChaCha20-Poly1305 under a key made of both and its own number. So any piece of the encrypted form can be made
from the same piece of the plain one, which is what going on with an unfinished upload needs; libraries for
the format give whole files only. Scrypt makes the wrapping key and is slow on purpose: it runs once for all
files that share a salt.

The functions compute for a long time: run them in a thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connect_helper.errors import BadPassphrase, CannotDecrypt

CHUNK: Final = 64 * 1024  # bytes of content sealed together
TAG: Final = 16  # bytes a seal adds
NONCE: Final = 16  # bytes
HEAD_LIMIT: Final = 2_048  # bytes of a file in which header and nonce of a passphrase file lie
WORK_FACTOR: Final = 17  # log2 of scrypt's N: 128 MiB for a moment
WORK_LIMIT: Final = 20  # of files of others: 1 GiB; more is refused, it comes from a stranger
_MEMORY_MARGIN: Final = 64 * 1024 * 1024
_INTRO: Final = b"age-encryption.org/v1\n"
_LABEL: Final = b"age-encryption.org/v1/scrypt"
_STANZA: Final = re.compile(
    rb"-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n([A-Za-z0-9+/]{43})\n--- ([A-Za-z0-9+/]{43})\n"
)
_ZERO: Final = bytes(12)

WrapKey = Callable[[bytes, int], bytes]
"""Gives the wrapping key for a salt and a work factor; remembers those it made."""


def wrap_key(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    """Derive the key that wraps file keys. Slow, and takes 2^work_factor KiB of memory."""
    memory = (1024 << work_factor) + _MEMORY_MARGIN
    return hashlib.scrypt(
        passphrase.encode("utf-8", "surrogatepass"),
        salt=_LABEL + salt,
        n=1 << work_factor,
        r=8,
        p=1,
        maxmem=memory,
        dklen=32,
    )


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """Everything that turns one content into its encrypted form and back. No repr: it holds a key."""

    head: bytes  # header and nonce, as the file begins
    key: bytes

    def sealed_size(self, size: int) -> int:
        """Bytes of the encrypted form of `size` bytes."""
        return len(self.head) + size + TAG * max(1, -(-size // CHUNK))

    def plain_size(self, sealed: int) -> int:
        """Bytes of content in an encrypted form of `sealed` bytes. Raises CannotDecrypt."""
        body = sealed - len(self.head)
        chunks = max(1, -(-body // (CHUNK + TAG)))
        size = body - TAG * chunks
        if size < 0 or self.sealed_size(size) != sealed:
            raise CannotDecrypt("An encrypted file ends in the middle; it is damaged where it is stored.")
        return size

    def close_chunk(self, number: int, content: bytes, *, last: bool) -> bytes:
        return ChaCha20Poly1305(self.key).encrypt(_chunk_nonce(number, last=last), content, None)

    def open_chunk(self, number: int, sealed: bytes, *, last: bool) -> bytes:
        """Raises CannotDecrypt."""
        try:
            return ChaCha20Poly1305(self.key).decrypt(_chunk_nonce(number, last=last), sealed, None)
        except InvalidTag:
            raise CannotDecrypt(
                "An encrypted file is damaged, or was changed where it is stored; nothing of it was kept."
            ) from None


def _chunk_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def new_header(wrap: bytes, salt: bytes, file_key: bytes) -> bytes:
    """The header that lets the passphrase behind `wrap` open files of `file_key` (16 bytes)."""
    body = ChaCha20Poly1305(wrap).encrypt(_ZERO, file_key, None)
    stanza = b"-> scrypt %s %d\n%s\n---" % (_encoded(salt), WORK_FACTOR, _encoded(body))
    return _INTRO + stanza + b" " + _encoded(_mac(file_key, _INTRO + stanza)) + b"\n"


def new_seal(header: bytes, file_key: bytes, nonce: bytes) -> Seal:
    """The seal of one file. `nonce` must never serve for two contents under one file key."""
    return Seal(header + nonce, _derived(file_key, nonce, b"payload"))


def open_head(data: bytes, wrap_keys: WrapKey) -> Seal:
    """Read the beginning of an encrypted file, `HEAD_LIMIT` bytes or the whole of it.

    Raises BadPassphrase, CannotDecrypt for what is no age file, or one for a key instead of a passphrase.
    """
    stanza = _STANZA.match(data, len(_INTRO)) if data.startswith(_INTRO) else None
    if stanza is None:
        raise CannotDecrypt(
            "The file is not encrypted with a passphrase in the age format; fetch it without decrypting."
        )
    salt, body, mac = _decoded(stanza[1]), _decoded(stanza[3]), _decoded(stanza[4])
    work_factor = int(stanza[2])
    if work_factor > WORK_LIMIT:
        raise CannotDecrypt("The file's passphrase was made too costly to check for this program.")
    try:
        file_key = ChaCha20Poly1305(wrap_keys(salt, work_factor)).decrypt(_ZERO, body, None)
    except InvalidTag:
        raise BadPassphrase(
            "The passphrase does not open the file; start again with the right one."
        ) from None
    signed = data[: stanza.start(4) - 1]
    if not hmac.compare_digest(_mac(file_key, signed), mac):
        raise CannotDecrypt("The header of the encrypted file was changed.")
    nonce = data[stanza.end() : stanza.end() + NONCE]
    if len(nonce) < NONCE:
        raise CannotDecrypt("The encrypted file ends in the middle.")
    return new_seal(data[: stanza.end()], file_key, nonce)


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(_derived(file_key, None, b"header"), signed, "sha256")


def _derived(file_key: bytes, salt: bytes | None, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(file_key)


def _encoded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        data = b""
    if _encoded(data) != text:  # the format has one spelling of everything
        raise CannotDecrypt("The header of the encrypted file is damaged.")
    return data


class Sealed:
    """The encrypted form of some content, any piece of it on demand. `read` gives plain bytes, exactly."""

    def __init__(self, read: Callable[[int, int], bytes], plain_size: int, seal: Seal) -> None:
        self._read = read
        self._plain = plain_size
        self._seal = seal
        self.size = seal.sealed_size(plain_size)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, fewer at the end."""
        head, step = self._seal.head, CHUNK + TAG
        end = min(offset + length, self.size)
        pieces = [head[offset:end]] if offset < len(head) else []
        at = max(0, offset - len(head))
        body_end = end - len(head)
        number = at // step
        while number * step < body_end:
            chunk = self._chunk(number)
            pieces.append(chunk[max(0, at - number * step) : body_end - number * step])
            number += 1
        return b"".join(pieces)

    def _chunk(self, number: int) -> bytes:
        start = number * CHUNK
        length = min(CHUNK, self._plain - start)
        return self._seal.close_chunk(number, self._read(start, length), last=start + length >= self._plain)


def unseal_in_place(
    read: Callable[[int, int], bytes], write: Callable[[int, list[bytes]], None], sealed_size: int, seal: Seal
) -> int:
    """Decrypt a file over itself and tell the size of the content, to which the caller cuts it.

    The content is shorter than its encrypted form and each chunk is read before it is written over, so no
    second copy is needed. Raises CannotDecrypt; then the file is of no more use.
    """
    size = seal.plain_size(sealed_size)
    step = CHUNK + TAG
    for number in range(max(1, -(-size // CHUNK))):
        start = number * CHUNK
        last = start + CHUNK >= size
        length = min(step, sealed_size - len(seal.head) - number * step)
        write(start, [seal.open_chunk(number, read(len(seal.head) + number * step, length), last=last)])
    return size
