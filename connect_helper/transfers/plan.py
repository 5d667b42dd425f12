"""What a session needs to know to do its work: plain data, settled before the session starts.

The plan is made in the process that answers pages, after every question to the user, and travels to
the worker process as one JSON line. Local paths in it were looked up among the caller's grants;
the worker opens them by device and inode, so that a path that means something else by then is refused.

Paths and names are `str` as `os.fsdecode` makes them: lone surrogates stand for bytes that are no UTF-8.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connect_helper.spec.aftermath import Aftermath
from connect_helper.spec.protection import SALT_BYTES, Protection
from connect_helper.spec.words import Links


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
    set_names: tuple[str, ...] = ()  # from the root of the transferred set; (): the source's own name
    base: int = 0  # how many of the last names of `source` lie below src_base; 0: there is no src_base
    linked: bool = False  # the user named a link; `source` is what it leads to, which is not to be removed

    @property
    def source_path(self) -> str:
        """The full path of the source, to show and to note."""
        return "/".join((self.source.path.rstrip("/"), *self.source.below))


class Download(_Plain):
    """One entry of `paths` of a transfer that receives."""

    kind: Literal["download"] = "download"
    source: str  # remote path, already joined to source_root
    root: LocalRef  # existing local folder the user granted, or the download folder
    target: tuple[str, ...]  # names below `root`; missing folders are made, the last is the item's new name
    granted: bool = True  # `root` was given in a dialog and can be taken back; False: the download folder
    set_names: tuple[str, ...] = ()  # as in Upload
    base: int = 0

    @property
    def source_path(self) -> str:
        return self.source


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
    file_passphrase: SecretStr | None = None  # of content protection: as secret as the rest


class Fallback(_Plain):
    """Where to go on over HTTP when SSH cannot connect; the login's token opens it."""

    port: int
    tls: bool = True
    forced: bool = False  # at once, without trying SSH
    plain_allowed: bool = False  # by the user's preferences, when the session starts; counts without TLS
    ca_file: str = ""  # PEM; certificates the user trusts beside the system's
    pinned: str = ""  # SHA-256 of the only certificate the user accepts there, in hex


class HostKeys(_Plain):
    """What is known of the server's key."""

    trusted: tuple[str, ...] = ()  # public keys, "ssh-ed25519 AAAA..."
    revoked: tuple[str, ...] = ()
    sshfp: str | None = None  # fingerprint demanded by the transfer spec; then `trusted` does not count


Overwrite = Literal["always", "none", "diff", "older", "diff+older"]
Resume = Literal["none", "attributes", "sparse_checksum", "full_checksum"]
Existing = Literal["replace", "keep_both"]
CountFirst = Literal["no", "briefly", "yes"]  # briefly: as far as a moment goes


class Policies(_Plain):
    """How files are treated; the meaning of each value stands in `connect_helper.spec`."""

    overwrite: Overwrite = "diff"
    resume: Resume = "sparse_checksum"
    existing: Existing = "replace"  # downloads only: keep_both writes "name (1).ext" instead of replacing
    create_dir: bool = False
    save_first: bool = False  # a replaced file is kept under a dated name; counts with resume none
    preserve_times: bool = False  # of modification
    preserve_access_times: bool = False
    quiet_reading: bool = False  # uploads: the access time of sources stays as it is, where the system can
    links: Links = "follow"  # only those that stay inside the same granted folder are followed or copied
    skip_special_files: bool = False
    last_duplicate_wins: bool = False  # two sources with one target: not an error, the last one stays
    include_patterns: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()
    newer_than_s: float | None = None  # files changed after this moment are left out; since the epoch
    older_than_s: float | None = None  # and those changed before this one
    count_first: CountFirst = "no"
    delete_first: bool = False  # what the source has no name for goes from the destination; agreed to
    checksum: Literal["none", "md5", "sha1", "sha-256", "sha-384", "sha-512"] = "none"


class Afterwards(_Plain):
    """What becomes of the sources, as far as the user agreed; see `connect_helper.spec.aftermath`."""

    remove_files: bool = False
    remove_skipped: bool = False
    remove_empty_folders: bool = False
    remove_source_folders: bool = False
    move_to: str = ""  # folder on the server, for a transfer that receives
    move_root: LocalRef | None = None  # folder here, for one that sends


class Protect(_Plain):
    """Encryption at rest; the passphrase is part of the login."""

    action: Literal["encrypt", "decrypt"]
    strict: bool = False  # a wrong passphrase ends the session
    salt: str = ""  # hex, random for each transfer


class SessionPlan(_Plain):
    """One transfer, ready to run."""

    transfer_id: str
    direction: Literal["send", "receive"]
    server: Server
    login: Login
    host_keys: HostKeys
    fallback: Fallback | None = None
    items: tuple[Item, ...]
    destination: str = (
        ""  # remote destination_root of an upload: made when missing (only if create_dir or a list)
    )
    policies: Policies = Policies()
    rate_kbps: int | None = None  # kbit/s of 1000 bit; None: no limit
    connections: int | None = None  # exactly so many to the server; None: as many as help
    divide_from: int | None = None  # bytes; smaller files stay on one connection; 0: all; None: as it helps
    keep_free: int | None = None  # bytes that stay free on the disk received to; None: by rule (`free_space`)
    afterwards: Afterwards = Afterwards()
    protect: Protect | None = None
    hidden_key: str = ""  # hex, random for each transfer that hides names; "": names stay
    clean_only: bool = False  # transfer nothing: remove what an unfinished upload left on the server
    resume_folder: str  # where resume records of partial files are kept, 0700


def afterwards_of(wishes: Aftermath, *, move_root: LocalRef | None) -> Afterwards:
    """What a session does about `wishes`; `move_root` is their folder to move to where that lies here."""
    return Afterwards(
        remove_files=wishes.remove_files,
        remove_skipped=wishes.remove_skipped,
        remove_empty_folders=wishes.remove_empty_folders,
        remove_source_folders=wishes.remove_source_folders,
        move_to="" if move_root else wishes.move_to,
        move_root=move_root,
    )


def protect_of(protection: Protection) -> Protect | None:
    """What a session does about `protection`, with a new salt; None: nothing."""
    if protection.action is None:
        return None
    salt = secrets.token_hex(SALT_BYTES) if protection.action == "encrypt" else ""
    return Protect(action=protection.action, strict=protection.strict, salt=salt)


def trusting(plan: SessionPlan, key: str) -> SessionPlan:
    """Return `plan` with one more key ("type base64") of its server trusted."""
    keys = plan.host_keys
    known = keys.model_copy(update={"trusted": (*keys.trusted, key)})
    return plan.model_copy(update={"host_keys": known})
