"""What a session works on: one file, folder or mishap at a time, and what all of them share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import ConnectError, TransferError
from connect_helper.spec.overwrite import Overwrite
from connect_helper.transfers.ledger import Ledger
from connect_helper.transfers.plan import LocalRef, Policies, SessionPlan
from connect_helper.transfers.report import Reporter
from connect_helper.transfers.unfinished import Checkpoints
from connect_helper.transports.base import Facts, Transport
from connect_helper.transports.local_files import Granted
from connect_helper.transports.resume import Record, RecordStore

_HASHLIB_NAMES: Final = {
    "md5": "md5",
    "sha1": "sha1",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
}
TAIL: Final = 64 * 1024  # bytes looked at where attributes alone would do


@dataclass(frozen=True, slots=True)
class UploadJob:
    """Send one file. `real` are the names below the grant with links resolved."""

    granted: Granted
    real: tuple[bytes, ...]
    path: str  # as the user sees it
    target: bytes
    size: int


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """Fetch one file into `names` below the granted folder."""

    source: bytes
    facts: Facts
    granted: Granted
    names: tuple[bytes, ...]

    @property
    def path(self) -> str:
        return os.fsdecode(b"/".join((self.granted.path.rstrip(b"/"), *self.names)))


@dataclass(frozen=True, slots=True)
class RemoteFolderJob:
    """Make a folder on the server."""

    target: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class LocalFolderJob:
    """Make a folder here: `names` below the granted one."""

    granted: Granted
    names: tuple[bytes, ...]
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MishapJob:
    """Something that cannot be transferred, and why."""

    path: str
    remote_path: str
    error: TransferError


Job = UploadJob | DownloadJob | RemoteFolderJob | LocalFolderJob | MishapJob


@dataclass(frozen=True, slots=True)
class Work:
    """What the jobs of one session share."""

    plan: SessionPlan
    transport: Transport
    reporter: Reporter
    checkpoints: Checkpoints
    records: RecordStore
    ledger: Ledger

    @classmethod
    def of(cls, plan: SessionPlan, transport: Transport, reporter: Reporter) -> Work:
        folder = Path(plan.resume_folder)
        ledger = Ledger(folder, plan.transfer_id)
        return cls(plan, transport, reporter, Checkpoints(), RecordStore(folder), ledger)

    @property
    def policies(self) -> Policies:
        return self.plan.policies

    def record_key(self, target: bytes) -> str:
        server = self.plan.server
        return RecordStore.key(self.plan.direction, server.host, server.port, self.plan.login.user, target)

    def overwrite_for(self, record: Record) -> Overwrite:
        """The policy that decides about going on from a record.

        `always` means to start over, but not within one transfer: it would never end on a bad line.
        """
        if record.transfer_id == self.plan.transfer_id and self.policies.overwrite == "always":
            return "diff"
        return self.policies.overwrite


def digest_algorithm(policies: Policies) -> str:
    """hashlib's name of the digest both sides are compared by; "" when size and times have to do."""
    if policies.checksum != "none":
        return _HASHLIB_NAMES[policies.checksum]
    return "sha256" if policies.resume == "full_checksum" else ""


def digest_label(policies: Policies, hex_digest: str) -> str:
    """The digest as a report shows it: "sha-256:<hex>"."""
    name = policies.checksum if policies.checksum != "none" else "sha-256"
    return f"{name}:{hex_digest}" if hex_digest else ""


def granted(ref: LocalRef) -> Granted:
    """What a plan's reference grants, for the rooms that open files."""
    return Granted(os.fsencode(ref.path), ref.device, ref.inode)


def ends_session(error: TransferError) -> bool:
    """Tell whether an error is about the connection and so about every file."""
    return isinstance(error, ConnectError)
