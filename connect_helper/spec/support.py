"""What becomes of the fields of a transfer spec that do not act as the reference describes them.

Three tables. `NEVER`: fields that would reach into this machine; they are kept out of everything
whoever asks. `WITHOUT_EFFECT`: fields that mean nothing over SSH; they are kept and echoed. `UNSUPPORTED`:
fields whose behaviour this program does not have; set to a value that matters they are refused, since a
transfer that quietly does less than was asked is worse than none. Support for a field deletes its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, is_unset
from connect_helper.spec.protection import read_action
from connect_helper.spec.words import Direction

NEVER: Final[Mapping[str, str]] = {
    "ssh_args": "arguments of a local program",
    "use_system_ssh": "starts a local program",
    "ssh_private_key_path": "names a local file",
    "proxy": "sends the connection and its secrets elsewhere",
    "fasp_proxy": "sends the connection and its secrets elsewhere",
    "apply_local_docroot": "changes which local files are meant",
    "preserve_acls": "takes access rights from the other side",
    "preserve_remote_acls": "takes access rights from the other side",
    "preserve_extended_attrs": "takes attributes from the other side",
    "preserve_remote_extended_attrs": "takes attributes from the other side",
    "preserve_file_owner_uid": "takes an owner from the other side",
    "preserve_file_owner_gid": "takes a group from the other side",
    "password": "a local account's password",
    "icos": "settings of a local storage driver",
    "keepalive": "would keep a session open for nobody",
}

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "fasp_port": "no UDP data connection",
    "dgram_size": "no UDP data connection",
    "wss_enabled": "SSH stays valid beside it",
    "wss_port": "SSH stays valid beside it",
    "fasp_url": "a server product's own field",
    "remote_access_key": "belongs to the token, which is passed as it is",
    "source_root_id": "belongs to the token",
    "destination_root_id": "belongs to the token",
    "cipher": "SSH always encrypts; the value is checked and echoed",
    "cipher_allowed": "SSH always encrypts",
    "rate_policy": "SSH runs over TCP, which shares bandwidth by itself; checked and echoed",
    "rate_policy_allowed": "as rate_policy",
    "min_rate_kbps": "TCP has no guaranteed rate",
    "min_rate_cap_kbps": "as min_rate_kbps",
    "lock_rate_policy": "our window has no control for it",
    "lock_policy": "as lock_rate_policy",
    "lock_min_rate_kbps": "our window has no control for it",
    "lock_min_rate": "as lock_min_rate_kbps",
    "target_rate_percentage": "not used by any client",
    "multi_session": "one session is always correct",
    "multi_session_threshold": "as multi_session",
    "skip_duplicate_check": "there is no such check to skip",
    "fail_bad_filepass": "belongs to content protection",
    "preserve_creation_time": "SFTP version 3 has no creation time",
    "preserve_source_access_time": "reading through SFTP or a plain open leaves that to the system",
    "precalculate_job_size": "sources are always scanned while the first files move",
    "http_fallback": "true only permits a fallback; SSH is used",
    "http_fallback_port": "as http_fallback",
    "https_fallback_port": "as http_fallback",
    "https_fallback": "as http_fallback",
    "retry_duration": "retries follow the user's preferences",
    "xfer_max_retries": "retries follow the user's preferences",
    "use_ascp4": "no such engine here",
    "compression": "tuning of another engine",
    "read_threads": "tuning of another engine",
    "write_threads": "tuning of another engine",
    "download_name": "for an HTTP gateway",
    "zip_required": "for an HTTP gateway",
    "paths_count": "an internal form of other clients",
    "paths_datafile": "an internal form of other clients",
    "remove_skipped": "means nothing while sources are kept",
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides whether an unsupported field would matter at all."""

    direction: Direction
    resume: str  # canonical resume policy
    keeps_times: bool  # access and modification time are kept


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One refused behaviour. `matters` gets value, field and circumstances; it may raise InvalidRequest."""

    fields: tuple[str, ...]  # newest spelling first
    matters: Callable[[Any, str, Circumstances], bool]
    message: str


def _on(value: Any, field: str, _: Circumstances) -> bool:
    return as_bool(value, field) is True


def _on_for_uploads(value: Any, field: str, around: Circumstances) -> bool:
    return as_bool(value, field) is True and around.direction == "send"


def _on_without_resume(value: Any, field: str, around: Circumstances) -> bool:
    return as_bool(value, field) is True and around.resume == "none"


def _on_without_times(value: Any, field: str, around: Circumstances) -> bool:
    return as_bool(value, field) is True and not around.keeps_times


def _present(value: Any, _: str, __: Circumstances) -> bool:
    return not is_unset(value)


def _not_empty(value: Any, field: str, _: Circumstances) -> bool:
    if is_unset(value):
        return False
    if not isinstance(value, list):
        raise InvalidRequest(f'"{field}" must be a list of patterns.', field=field)
    return bool(value)


def _forced(value: Any, field: str, _: Circumstances) -> bool:
    if isinstance(value, str) and value.strip().lower() == "force":
        return True
    as_bool(value, field)
    return False


def _protects(value: Any, field: str, around: Circumstances) -> bool:
    return read_action(value, field, around.direction) is not None


def _copies_links(value: Any, _: str, __: Circumstances) -> bool:
    return value in ("copy", "copy+force")


UNSUPPORTED: Final[tuple[Unsupported, ...]] = (
    Unsupported(("content_protection",), _protects, "Encrypting files at rest is not supported yet."),
    Unsupported(("obfuscate_file_names",), _on_for_uploads, "Hiding file names is not supported yet."),
    Unsupported(("delete_before_transfer",), _on, "Deleting at the destination is not supported yet."),
    Unsupported(("move_after_transfer",), _present, "Moving source files afterwards is not supported yet."),
    Unsupported(
        ("include_patterns", "inclusion_patterns"),
        _not_empty,
        "Choosing files by pattern is not supported yet.",
    ),
    Unsupported(
        ("exclude_patterns", "exclusion_patterns"),
        _not_empty,
        "Choosing files by pattern is not supported yet.",
    ),
    Unsupported(("exclude_newer_than",), _present, "Choosing files by time is not supported yet."),
    Unsupported(("exclude_older_than",), _present, "Choosing files by time is not supported yet."),
    Unsupported(
        ("save_before_overwrite", "save-before-overwrite"),
        _on_without_resume,
        "Keeping a copy of replaced files is not supported yet.",
    ),
    Unsupported(("http_fallback",), _forced, "Transfers over HTTP are not supported yet; only SSH is."),
    Unsupported(("symlink_policy",), _copies_links, "Copying links as links is not supported yet."),
    Unsupported(
        ("preserve_access_time",),
        _on_without_times,
        'Keeping the access time alone is not supported; use "preserve_times".',
    ),
)


def refuse_unsupported(raw: Mapping[str, Any], around: Circumstances) -> None:
    """Raise InvalidRequest, naming the field, for the first unsupported field that would matter."""
    for row in UNSUPPORTED:
        field = next((name for name in row.fields if not is_unset(raw.get(name))), None)
        if field is not None and row.matters(raw[field], field, around):
            raise InvalidRequest(f'{row.message} Leave out "{field}".', field=field)
