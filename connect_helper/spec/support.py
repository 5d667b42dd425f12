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
    "lock_min_rate_kbps": "our window has no control for it",
    "lock_min_rate": "as lock_min_rate_kbps",
    "target_rate_percentage": "not used by any client",
    "preserve_creation_time": "SFTP version 3 has no creation time",
    "http_fallback": "true only permits a fallback; SSH is used",
    "http_fallback_port": "as http_fallback",
    "https_fallback_port": "as http_fallback",
    "https_fallback": "as http_fallback",
    "xfer_max_retries": "retries follow the user's preferences",
    "use_ascp4": "no such engine here",
    "compression": "tuning of another engine",
    "read_threads": "tuning of another engine",
    "write_threads": "tuning of another engine",
    "download_name": "for an HTTP gateway",
    "zip_required": "for an HTTP gateway",
    "paths_count": "an internal form of other clients",
    "paths_datafile": "an internal form of other clients",
}


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One refused behaviour. `matters` gets value and field; it may raise InvalidRequest."""

    fields: tuple[str, ...]  # newest spelling first
    matters: Callable[[Any, str], bool]
    message: str


def _forced(value: Any, field: str) -> bool:
    if isinstance(value, str) and value.strip().lower() == "force":
        return True
    as_bool(value, field)
    return False


UNSUPPORTED: Final[tuple[Unsupported, ...]] = (
    Unsupported(("http_fallback",), _forced, "Transfers over HTTP are not supported yet; only SSH is."),
)


def refuse_unsupported(raw: Mapping[str, Any]) -> None:
    """Raise InvalidRequest, naming the field, for the first unsupported field that would matter."""
    for row in UNSUPPORTED:
        field = next((name for name in row.fields if not is_unset(raw.get(name))), None)
        if field is not None and row.matters(raw[field], field):
            raise InvalidRequest(f'{row.message} Leave out "{field}".', field=field)
