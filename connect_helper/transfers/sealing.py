"""Encryption at rest for one session: the passphrase, the keys made of it, and sources seen through them."""

from __future__ import annotations

import hmac
import threading

from connect_helper.errors import BadPassphrase
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transports.age import (
    NONCE,
    WORK_FACTOR,
    Seal,
    Sealed,
    new_header,
    new_seal,
    open_head,
    wrap_key,
)
from connect_helper.transports.local_files import SourceFile

FILE_KEY = 16  # bytes


class Vault:
    """Makes and opens seals with the passphrase of one plan. All methods block, the first for long."""

    def __init__(self, passphrase: str, salt: bytes) -> None:
        self._passphrase = passphrase
        self._salt = salt
        self._lock = threading.Lock()  # scrypt takes much memory: one at a time
        self._wrap_keys: dict[tuple[bytes, int], bytes] = {}
        self._header = b""
        self._file_key = b""

    @classmethod
    def of(cls, plan: SessionPlan) -> Vault | None:
        """The vault of a plan; None when nothing is encrypted. Raises BadPassphrase when it is missing."""
        if plan.protect is None:
            return None
        secret = plan.login.file_passphrase
        if secret is None:
            raise BadPassphrase("The passphrase of the files is missing; start again and give it.")
        return cls(secret.get_secret_value(), bytes.fromhex(plan.protect.salt))

    def _wrap_key(self, salt: bytes, work_factor: int) -> bytes:
        with self._lock:
            known = self._wrap_keys.get((salt, work_factor))
            if known is None:
                known = wrap_key(self._passphrase, salt, work_factor)
                self._wrap_keys[salt, work_factor] = known
            return known

    def new_seal(self, target: bytes, source: SourceFile) -> Seal:
        """The seal of one content under one target: the same again for a retry, another for any change.

        All files of a transfer share a file key, made of passphrase and salt, since a header of its own
        would cost each file a second of scrypt. What must differ is the nonce: it is made of the target and
        of what tells one content of the source from another, its time of change among it, which no program
        can set back.
        """
        wrap = self._wrap_key(self._salt, WORK_FACTOR)
        if not self._header:
            file_key = hmac.digest(wrap, b"connect-helper: file key", "sha256")[:FILE_KEY]
            self._header, self._file_key = new_header(wrap, self._salt, file_key), file_key
        identity = source.identity
        facts = f"{identity.size} {identity.mtime_ns} {identity.ctime_ns} {identity.inode} {identity.device} "
        text = b"connect-helper: nonce " + facts.encode("ascii") + target
        nonce = hmac.digest(wrap, text, "sha256")[:NONCE]
        return new_seal(self._header, self._file_key, nonce)

    def open(self, head: bytes) -> Seal:
        """Read the beginning of an encrypted file. Raises BadPassphrase, CannotDecrypt."""
        return open_head(head, self._wrap_key)


class SealedSource(SourceFile):
    """A source in its encrypted form; `identity` is that of the file itself."""

    def __init__(self, plain: SourceFile, seal: Seal) -> None:
        self._file = plain
        self._sealed = Sealed(plain.read, plain.size, seal)
        self.path = plain.path
        self.identity = plain.identity
        self.atime_ns = plain.atime_ns
        self.held = None

    @property
    def plain(self) -> SourceFile:
        return self._file

    @property
    def size(self) -> int:
        return self._sealed.size

    def read(self, offset: int, length: int) -> bytes:
        return self._sealed.read(offset, length)

    def check(self) -> None:
        self._file.check()

    def close(self) -> None:
        self._file.close()
