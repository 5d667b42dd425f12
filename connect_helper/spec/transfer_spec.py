"""The transfer spec: the JSON object that describes one transfer, read once and checked.

Pages send it with words of several generations. `parse_spec` reads every known spelling, refuses what is
wrong or cannot be done, and keeps the object as it came in `raw`, so that unknown keys can come back in
answers (see `connect_helper.spec.echo`). Source: transfer spec reference, sections 0 to 2.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr

from connect_helper.errors import InvalidRequest
from connect_helper.spec import words
from connect_helper.spec.aftermath import Aftermath, parse_aftermath
from connect_helper.spec.fallback import FallbackWish, parse_fallback
from connect_helper.spec.hosts import clean_host
from connect_helper.spec.lenient import as_int, as_text, is_unset
from connect_helper.spec.login import SECRET_LIMIT as SECRET_LIMIT
from connect_helper.spec.login import read_authentication, read_fingerprint, read_secret, read_user
from connect_helper.spec.mirror import check_surplus
from connect_helper.spec.overwrite import Overwrite, Resume
from connect_helper.spec.patterns import EXCLUDE, INCLUDE, read_patterns
from connect_helper.spec.protection import Protection, parse_protection
from connect_helper.spec.sessions import Sessions, parse_count_first, parse_sessions
from connect_helper.spec.support import NEVER
from connect_helper.spec.times import (
    NEWER,
    OLDER,
    Moment,
    Stamps,
    check_moments,
    parse_duration,
    parse_moment,
    parse_stamps,
)
from connect_helper.spec.words import (
    Authentication,
    Checksum,
    Direction,
    Links,
    RatePolicy,
    flag,
    rate,
    word,
)

DEFAULT_SSH_PORT: Final = 33001
TOKEN_USER: Final = "xfer"  # noqa: S105 - the login name that goes with tokens
PATH_LIMIT: Final = 32_768  # characters
_TRANSFER_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class PathPair:
    """One entry of `paths` as it came; a missing destination is None."""

    source: str
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class TransferSpec:
    """A checked transfer spec under canonical names. Rates in kbit/s of 1000 bit; None means not set."""

    direction: Direction
    remote_host: str  # lower case, ASCII
    paths: tuple[PathPair, ...]  # never empty; all with destination, or none
    raw: Mapping[str, Any] = field(repr=False)  # as it came, secrets included: never log or send it
    ignored: tuple[str, ...] = ()  # fields that were set and are never honoured
    ssh_port: int = DEFAULT_SSH_PORT
    remote_user: str | None = None
    remote_password: SecretStr | None = None
    authentication: Authentication = "password"
    token: SecretStr | None = None
    ssh_private_key: SecretStr | None = None
    ssh_private_key_passphrase: SecretStr | None = None
    sshfp: str | None = None
    source_root: str = ""
    destination_root: str = ""
    src_base: str = ""
    create_dir: bool = False
    overwrite: Overwrite = "diff"
    resume_policy: Resume = "sparse_checksum"
    file_checksum: Checksum = "none"
    save_before_overwrite: bool = False  # counts with resume none only
    delete_before_transfer: bool = False
    links: Links = "follow"
    skip_special_files: bool = False
    stamps: Stamps = field(default_factory=Stamps)
    include_patterns: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()
    exclude_newer_than: Moment | None = None
    exclude_older_than: Moment | None = None
    obfuscate_file_names: bool = False  # of an upload
    protection: Protection = field(default_factory=Protection)
    aftermath: Aftermath = field(default_factory=Aftermath)
    sessions: Sessions = field(default_factory=Sessions)
    count_first: bool | None = None  # whether to scan everything before the first byte moves; None: unsaid
    quiet_reading: bool = False  # the access time of sources stays as it is
    skip_duplicate_check: bool = False
    retry_duration_s: float | None = None  # how long to try again after the last progress
    rate_policy: RatePolicy = "fair"
    rate_policy_allowed: RatePolicy | None = None  # the most aggressive one the user may choose
    target_rate_kbps: int | None = None
    target_rate_cap_kbps: int | None = None
    min_rate_kbps: int | None = None
    min_rate_cap_kbps: int | None = None
    fallback: FallbackWish | None = None  # None: only SSH may be used
    cookie: str | None = None
    title: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def pairs(self) -> bool:
        """Whether `paths` are source-destination pairs."""
        return self.paths[0].destination is not None

    @property
    def follow_links(self) -> bool:
        """Whether links stand for what they point to."""
        return self.links == "follow"

    @property
    def preserve_times(self) -> bool:
        """Whether the target gets the source's time of modification."""
        return self.stamps.modification

    @property
    def wants_source_removal(self) -> bool:
        """Whether sources are to be deleted afterwards; without a yes of the user they are kept."""
        return self.aftermath.removes

    @property
    def xfer_id(self) -> str | None:
        """The transfer id the page brought in `tags.aspera.xfer_id`, if it can be used as one."""
        aspera = self.tags.get("aspera")
        value = aspera.get("xfer_id") if isinstance(aspera, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return value if isinstance(value, str) and _TRANSFER_ID.fullmatch(value) else None

    @property
    def login_user(self) -> str | None:
        """The user to log in as; None means the user must be asked."""
        return self.remote_user or (TOKEN_USER if self.authentication == "token" else None)

    @property
    def needs_password(self) -> bool:
        """Whether the user must be asked for a password (reference section 2.12)."""
        return self.authentication == "password" and not (self.remote_password or self.ssh_private_key)


def parse_spec(raw: Mapping[str, Any]) -> TransferSpec:
    """Read a transfer spec.

    Raises InvalidRequest naming the first field that is missing, wrong, or contradicts another one.
    """
    direction = word(raw, words.DIRECTIONS, "direction")
    if direction is None:
        raise InvalidRequest('"direction" is missing: give "send" or "receive".', field="direction")
    resume = word(raw, words.RESUME, "resume_policy", "resume", "resume_level", "resume_check")
    resume = resume or "sparse_checksum"
    words.check_cipher(raw)
    words.check_locks(raw)
    spec = TransferSpec(
        direction=direction,
        remote_host=_host(raw),
        paths=_paths(raw),
        raw=dict(raw),
        ignored=tuple(name for name in raw if name in NEVER and not is_unset(raw[name])),
        ssh_port=as_int(raw.get("ssh_port"), "ssh_port", maximum=65_535) or DEFAULT_SSH_PORT,
        remote_user=read_user(raw),
        remote_password=read_secret(raw, "remote_password"),
        authentication=read_authentication(raw),
        token=read_secret(raw, "token"),
        ssh_private_key=read_secret(raw, "ssh_private_key"),
        ssh_private_key_passphrase=read_secret(raw, "ssh_private_key_passphrase"),
        sshfp=read_fingerprint(raw),
        source_root=_path(raw.get("source_root"), "source_root") or "",
        destination_root=_path(raw.get("destination_root"), "destination_root") or "",
        src_base=_src_base(raw),
        create_dir=flag(raw, "create_dir"),
        overwrite=word(raw, words.OVERWRITE, "overwrite", "overwrite_policy") or "diff",
        resume_policy=resume,
        file_checksum=word(raw, words.CHECKSUMS, "file_checksum") or "none",
        save_before_overwrite=flag(raw, "save_before_overwrite", "save-before-overwrite"),
        delete_before_transfer=flag(raw, "delete_before_transfer"),
        links=word(raw, words.LINKS, "symlink_policy") or "follow",
        skip_special_files=flag(raw, "skip_special_files"),
        stamps=parse_stamps(raw),
        include_patterns=read_patterns(raw, INCLUDE),
        exclude_patterns=read_patterns(raw, EXCLUDE),
        exclude_newer_than=parse_moment(raw, NEWER),
        exclude_older_than=parse_moment(raw, OLDER),
        obfuscate_file_names=flag(raw, "obfuscate_file_names") and direction == "send",
        protection=parse_protection(raw, direction),
        aftermath=parse_aftermath(raw),
        sessions=parse_sessions(raw),
        count_first=parse_count_first(raw),
        quiet_reading=flag(raw, "preserve_source_access_time"),
        skip_duplicate_check=flag(raw, "skip_duplicate_check"),
        retry_duration_s=parse_duration(raw, "retry_duration"),
        rate_policy=word(raw, words.RATE_POLICIES, "rate_policy") or "fair",
        target_rate_kbps=rate(raw, "target_rate_kbps"),
        rate_policy_allowed=word(raw, words.RATE_POLICIES, "rate_policy_allowed"),
        target_rate_cap_kbps=rate(raw, "target_rate_cap_kbps"),
        min_rate_kbps=rate(raw, "min_rate_kbps"),
        min_rate_cap_kbps=rate(raw, "min_rate_cap_kbps"),
        fallback=parse_fallback(raw),
        cookie=read_cookie(raw),
        title=as_text(raw.get("title"), "title"),
        tags=_tags(raw),
    )
    _refuse_contradictions(spec)
    return spec


def _refuse_contradictions(spec: TransferSpec) -> None:
    """Raise InvalidRequest for wishes that are each well-formed but cannot be met together."""
    check_moments(spec.exclude_newer_than, spec.exclude_older_than)
    if spec.delete_before_transfer:
        check_surplus(spec.aftermath, hidden_names=spec.obfuscate_file_names)


def _host(raw: Mapping[str, Any]) -> str:
    text = as_text(raw.get("remote_host"), "remote_host")
    if text is None or not text.strip():
        raise InvalidRequest('"remote_host" is missing: give the name of the server.', field="remote_host")
    return clean_host(text, "remote_host")


def _paths(raw: Mapping[str, Any]) -> tuple[PathPair, ...]:
    entries = raw.get("paths")
    if entries is None or entries == []:
        raise InvalidRequest('"paths" is missing: list at least one file or folder.', field="paths")
    if not isinstance(entries, list):
        raise InvalidRequest('"paths" must be a list of objects with "source".', field="paths")
    pairs = tuple(_pair(entry, index) for index, entry in enumerate(entries))
    if len({pair.destination is None for pair in pairs}) > 1:
        raise InvalidRequest(
            '"paths" mixes entries with and without "destination": give it in all of them or in none.',
            field="paths",
        )
    return pairs


def _pair(entry: Any, index: int) -> PathPair:
    name = f"paths[{index}]"
    if not isinstance(entry, Mapping):
        raise InvalidRequest(f'"{name}" must be an object with "source".', field=name)
    source = _path(entry.get("source"), f"{name}.source")
    if source is None:
        raise InvalidRequest(f'"{name}.source" is missing: give a file or folder.', field=f"{name}.source")
    return PathPair(source, _path(entry.get("destination"), f"{name}.destination"))


def _path(value: Any, name: str) -> str | None:
    return as_text(value, name, limit=PATH_LIMIT, path=True)


def _src_base(raw: Mapping[str, Any]) -> str:
    plain = _path(raw.get("src_base"), "src_base")
    encoded = as_text(raw.get("src_base64"), "src_base64", limit=2 * PATH_LIMIT)
    if plain is not None or encoded is None:
        return plain or ""
    text = _base64(encoded, "src_base64").decode("utf-8", "surrogateescape")
    return _path(text, "src_base64") or ""


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f'"{name}" is not valid base64.', field=name) from None


def read_cookie(raw: Mapping[str, Any]) -> str | None:
    """Read `cookie`: text, or an object, which becomes JSON. Raises InvalidRequest."""
    value = raw.get("cookie")
    if isinstance(value, Mapping):
        value = json.dumps(value)
    return as_text(value, "cookie", limit=SECRET_LIMIT)


def _tags(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read `tags`, or `tags64` (base64 of the same as JSON) when there is none."""
    tags = raw.get("tags")
    if not is_unset(tags):
        return _object(tags, "tags")
    encoded = as_text(raw.get("tags64"), "tags64", limit=SECRET_LIMIT)
    if encoded is None:
        return {}
    try:
        return _object(json.loads(_base64(encoded, "tags64")), "tags64")
    except (ValueError, RecursionError):
        raise InvalidRequest('"tags64" is not the base64 form of a JSON object.', field="tags64") from None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f'"{name}" must be an object.', field=name)
    return value
