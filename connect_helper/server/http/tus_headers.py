"""The headers of tus 1.0.0 (tus.io/protocols/resumable-upload), parsed strictly. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from connect_helper.spec.block_hash import BLOCK_HASH, SHA256

TUS_VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "termination",
    "checksum",
    "concatenation",
    "expiration",
    "whole-sha256",  # ours: `sha256` in the metadata is compared, and told in the answer
    "whole-xxh128",  # ours: `xxh128` as well
    "target",  # ours: `target` in the metadata, `from_docroot` where folders are made
)
CHECKSUM_ALGORITHMS: Final = {"sha1": 20, "sha256": 32}  # name -> bytes of a digest
METADATA_LIMIT: Final = 8192  # characters of the header
PARTS_LIMIT: Final = 256  # partial uploads joined into one file
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_KEY: Final = re.compile(r"[!-+\--~]{1,100}")  # printable ASCII, no space, no comma
_ID: Final = re.compile(r"[0-9a-f]{32}")
_MTIME: Final = re.compile(r"-?[0-9]{1,10}(?:\.[0-9]{1,9})?|-?[0-9]{11,19}", re.ASCII)
WHOLE_ALGORITHMS: Final = {SHA256: 32, BLOCK_HASH: 16}  # of a whole file; name -> bytes of a digest
_HEX: Final = re.compile(r"[0-9a-fA-F]*")

Part = Literal["partial", "final"]


class BadHeader(Exception):
    """A header breaks the protocol; its text is a sentence that names the header."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The digest that one PATCH body, or a whole file, must have."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a client says about a file it is going to send."""

    path: bytes | None  # relative to the token's destination or to the docroot, not checked yet
    from_docroot: bool
    mtime_ns: int | None
    expected: Checksum | None  # of the whole file
    values: Mapping[str, bytes]  # everything, for the answer to HEAD


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Whether an upload is a part, or which parts, by id, it is made of."""

    kind: Part
    parts: tuple[str, ...] = ()


def number(name: str, text: str) -> int:
    """A length or offset in bytes. Raises BadHeader."""
    if _NUMBER.fullmatch(text) is None or int(text) > 2**63 - 1:
        raise BadHeader(f"The {name} header must be a whole number of bytes.")
    return int(text)


def is_upload_id(text: str) -> bool:
    """Whether a word out of an address has the form of our ids."""
    return _ID.fullmatch(text) is not None


def metadata(header: str | None) -> Metadata:
    """Parse Upload-Metadata: `key base64, key base64`. Raises BadHeader.

    `target` names the file from the docroot, `path` from the token's destination; clients that know nothing
    of either send `filename` or `name`. `mtime` is decimal, in seconds or (more than ten digits) nanoseconds.
    `sha256` or `xxh128` is hexadecimal.
    """
    values = _pairs(header or "")
    naming = next((key for key in ("target", "path", "filename", "name") if values.get(key)), None)
    mtime = values.get("mtime")
    return Metadata(
        path=None if naming is None else values[naming],
        from_docroot=naming == "target",
        mtime_ns=None if mtime is None else _mtime_ns(mtime),
        expected=_expected(values),
        values=values,
    )


def _pairs(header: str) -> dict[str, bytes]:
    if len(header) > METADATA_LIMIT:
        raise BadHeader(f"The Upload-Metadata header is longer than {METADATA_LIMIT} characters.")
    values: dict[str, bytes] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, encoded = pair.strip().partition(" ")
        if _KEY.fullmatch(key) is None or key in values:
            raise BadHeader("The Upload-Metadata header has a key that is empty, malformed or given twice.")
        values[key] = _decoded("Upload-Metadata", encoded.strip())
    return values


def metadata_header(values: Mapping[str, bytes]) -> str:
    """Write the pairs as a header again, for the answer to HEAD."""
    return ",".join(f"{key} {base64.b64encode(value).decode()}".strip() for key, value in values.items())


def _decoded(name: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadHeader(f"The {name} header holds a value that is not base64.") from None


def _mtime_ns(value: bytes) -> int:
    text = value.decode("ascii", "replace")
    if _MTIME.fullmatch(text) is None:
        raise BadHeader("The mtime of Upload-Metadata must be decimal seconds or nanoseconds.")
    whole, _, fraction = text.partition(".")
    mtime_ns = int(whole)
    if len(whole.lstrip("-")) <= 10:
        nanoseconds = int((fraction + "0" * 9)[:9])
        mtime_ns = mtime_ns * 10**9 + (-nanoseconds if whole.startswith("-") else nanoseconds)
    return min(max(mtime_ns, -(2**63)), 2**63 - 1)


def _expected(values: Mapping[str, bytes]) -> Checksum | None:
    given = [name for name in WHOLE_ALGORITHMS if name in values]
    if not given:
        return None
    if len(given) > 1:
        raise BadHeader(f"Upload-Metadata must hold only one of {' and '.join(given)}.")
    (name,) = given
    text, digits = values[name].decode("ascii", "replace"), 2 * WHOLE_ALGORITHMS[name]
    if len(text) != digits or _HEX.fullmatch(text) is None:
        raise BadHeader(f"The {name} of Upload-Metadata must be {digits} hexadecimal digits.")
    return Checksum(name, bytes.fromhex(text))


def checksum(header: str | None) -> Checksum | None:
    """Parse Upload-Checksum: `algorithm base64`. Raises BadHeader, also for an algorithm not offered."""
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise BadHeader("The Upload-Checksum header names an algorithm other than sha1 or sha256.")
    digest = _decoded("Upload-Checksum", encoded.strip())
    if len(digest) != CHECKSUM_ALGORITHMS[algorithm]:
        raise BadHeader("The Upload-Checksum header holds a digest of the wrong length.")
    return Checksum(algorithm, digest)


def concatenation(header: str | None, uploads_path: str) -> Concatenation | None:
    """Parse Upload-Concat: `partial`, or `final;` and addresses with spaces between. Raises BadHeader.

    Addresses may be absolute or paths; only their last part counts, which must be an id of ours right
    below `uploads_path`.
    """
    if header is None:
        return None
    kind, _, addresses = header.strip().partition(";")
    if kind == "partial" and not addresses:
        return Concatenation("partial")
    if kind != "final":
        raise BadHeader('The Upload-Concat header must be "partial" or "final;" and a list of uploads.')
    parts = tuple(_id_of(address, uploads_path) for address in addresses.split())
    if not 1 <= len(parts) <= PARTS_LIMIT or len(set(parts)) != len(parts):
        raise BadHeader(f"The Upload-Concat header must name 1 to {PARTS_LIMIT} uploads, each once.")
    return Concatenation("final", parts)


def _id_of(address: str, uploads_path: str) -> str:
    folder, _, word = address.rpartition("/")
    if not folder.endswith(uploads_path) or not is_upload_id(word):
        raise BadHeader("The Upload-Concat header names something that is no upload of this server.")
    return word
