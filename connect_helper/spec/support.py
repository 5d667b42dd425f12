"""What becomes of the fields of a transfer spec that do not act as the reference describes them.

Two tables. `NEVER`: fields that would reach into this machine; they are kept out of everything whoever
asks. `WITHOUT_EFFECT`: fields that mean nothing here; they are kept and echoed. Support for a field
deletes its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    "cipher": "SSH always encrypts; it only chooses between HTTPS and HTTP",
    "cipher_allowed": "SSH always encrypts",
    "lock_min_rate_kbps": "our window has no control for it",
    "lock_min_rate": "as lock_min_rate_kbps",
    "target_rate_percentage": "not used by any client",
    "preserve_creation_time": "SFTP version 3 has no creation time",
    "https_fallback": "http_fallback decides, and cipher which of the two it is",
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
