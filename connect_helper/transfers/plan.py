"""What a session needs to know to do its work: plain data, settled before the session starts.

The plan is made in the process that answers pages, after every question to the user, and travels to
the worker process as one JSON line. Local paths in it were looked up among the caller's grants;
the worker opens them by device and inode, so that a path that means something else by then is refused.

Paths and names are `str` as `os.fsdecode` makes them: lone surrogates stand for bytes that are no UTF-8.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalRef(_Plain):
    """A local file or folder the user gave: the granted path, and the names below it."""

    path: str  # absolute, links resolved, as granted
    device: int  # st_dev of `path` when it was granted
    inode: int  # st_ino of `path`
    below: tuple[str, ...] = ()  # names below `path`, each one component


class Upload(_Plain):
    """One entry of `paths` of a transfer that sends."""

    kind: Literal["upload"] = "upload"
    source: LocalRef
    target: str  # remote path, already joined to destination_root; may be relative to the login folder


class Download(_Plain):
    """One entry of `paths` of a transfer that receives."""

    kind: Literal["download"] = "download"
    source: str  # remote path, already joined to source_root
    root: LocalRef  # existing local folder the user granted, or the download folder
    target: tuple[str, ...]  # names below `root`; missing folders are made, the last is the item's new name


Item = Annotated[Upload | Download, Field(discriminator="kind")]


class Server(_Plain):
    """Where to connect. `addresses` were resolved when the user was asked; no other is used."""

    host: str
    port: int
    addresses: tuple[str, ...]


class Login(_Plain):
    """How to log in. A token is presented as the password (any SSH server of ours takes it so)."""

    user: str
    password: SecretStr | None = None
    private_key: SecretStr | None = None  # PEM or OpenSSH text
    private_key_passphrase: SecretStr | None = None
    token: SecretStr | None = None


class HostKeys(_Plain):
    """What is known of the server's key."""

    trusted: tuple[str, ...] = ()  # public keys, "ssh-ed25519 AAAA..."
    revoked: tuple[str, ...] = ()
    sshfp: str | None = None  # fingerprint demanded by the transfer spec; then `trusted` does not count


Overwrite = Literal["always", "none", "diff", "older", "diff+older"]
Resume = Literal["none", "attributes", "sparse_checksum", "full_checksum"]
Existing = Literal["replace", "keep_both"]


class Policies(_Plain):
    """How files are treated; the meaning of each value stands in `connect_helper.spec`."""

    overwrite: Overwrite = "diff"
    resume: Resume = "sparse_checksum"
    existing: Existing = "replace"  # downloads only: keep_both writes "name (1).ext" instead of replacing
    create_dir: bool = False
    preserve_times: bool = False
    follow_links: bool = True  # only links that stay inside the same granted folder
    skip_special_files: bool = False
    checksum: Literal["none", "md5", "sha1", "sha-256", "sha-384", "sha-512"] = "none"


class SessionPlan(_Plain):
    """One transfer, ready to run."""

    transfer_id: str
    direction: Literal["send", "receive"]
    server: Server
    login: Login
    host_keys: HostKeys
    items: tuple[Item, ...]
    destination: str = (
        ""  # remote destination_root of an upload: made when missing (only if create_dir or a list)
    )
    policies: Policies = Policies()
    rate_kbps: int | None = None  # kbit/s of 1000 bit; None: no limit
    connections: int | None = None  # exactly so many to the server; None: as many as help
    resume_folder: str  # where resume records of partial files are kept, 0700


def trusting(plan: SessionPlan, key: str) -> SessionPlan:
    """Return `plan` with one more key ("type base64") of its server trusted."""
    keys = plan.host_keys
    known = keys.model_copy(update={"trusted": (*keys.trusted, key)})
    return plan.model_copy(update={"host_keys": known})
