"""Names that hide the real ones, for `obfuscate_file_names` of uploads (transfer spec reference, 1.2)."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

KEY_BYTES: Final = 32  # random bytes a key must have at least
_DIGEST: Final = 20  # bytes, which make 32 letters and digits without padding


def hidden_name(key: bytes, source: int, names: tuple[str, ...]) -> str:
    """Return the name under which a file is stored: 32 small letters and digits, without an extension.

    `key` are random bytes made once for the transfer: another transfer gives other names, while a retry of
    this one finds its unfinished files. Without the key nothing leads back to the real name. `source` is
    the index in `paths` and `names` lead from the source to the file, so that files of one name stay apart.
    Folders keep their names. Raises ValueError for a key that is too short.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"the key of hidden names must have {KEY_BYTES} bytes")
    digest = hashlib.blake2b(key=key[:64], digest_size=_DIGEST)
    digest.update(b"%d" % source)
    for name in names:
        digest.update(b"\0" + name.encode("utf-8", "surrogateescape"))
    return base64.b32encode(digest.digest()).decode("ascii").lower()
