"""What a session works on: one file, folder or mishap at a time, and what all of them share."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connect_helper.errors import ConnectError, TransferError
from connect_helper.spec.overwrite import Overwrite
from connect_helper.spec.saving import Stamp
from connect_helper.spec.times import Stamps
from connect_helper.transfers.ledger import SECOND, Ledger, mark, rounded
from connect_helper.transfers.plan import LocalRef, Policies, SessionPlan
from connect_helper.transfers.report import Reporter
from connect_helper.transfers.sealing import Vault
from connect_helper.transfers.trips import Trips
from connect_helper.transfers.unfinished import Checkpoints
from connect_helper.transports.base import Facts, Transport
from connect_helper.transports.free_space import Spare
from connect_helper.transports.local_files import Granted, Identity
from connect_helper.transports.resume import OVER_HTTP, Record, RecordStore
from connect_helper.transports.target_folders import TargetFolders

_HASHLIB_NAMES: Final = {
    "md5": "md5",
    "sha1": "sha1",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
}
SAVED: Final = 10_000  # tries for a free name of a file that is kept before it is replaced
TAIL: Final = 64 * 1024  # bytes looked at where attributes alone would do


@dataclass(frozen=True, slots=True)
class UploadJob:
    """Send one file. `real` are the names below the grant with links resolved."""

    granted: Granted
    real: tuple[bytes, ...]
    path: str  # as the user sees it
    target: bytes
    size: int
    place: tuple[str, ...] = ()  # names from the root of the transferred set
    linked: bool = False  # reached through a link
    again: bool = False  # another file of the transfer goes to the same target
    twin: bool = False  # or to one that differs in case or composition only: some servers take both for one

    @property
    def folder(self) -> bytes:
        """The target's folder; b"" where that is the one a session begins in, or the root."""
        return self.target.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        return self.target.rpartition(b"/")[2]

    def beside(self, name: bytes) -> bytes:
        """The path of `name` in the target's folder."""
        return self.target[: self.target.rfind(b"/") + 1] + name

    def mark(self, source: Identity) -> bytes:
        """What the ledger notes of it when it is finished."""
        return mark(self.target, source.size, source.mtime_ns, source.inode)

    @property
    def real_path(self) -> bytes:
        """Which file it is, however it was reached; in bytes that can be compared."""
        return b"/".join((self.granted.path.rstrip(b"/"), *self.real))


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """Fetch one file into `names` below the granted folder."""

    source: bytes
    facts: Facts
    granted: Granted
    names: tuple[bytes, ...]
    place: tuple[str, ...] = ()
    sealed: bool = False  # to be decrypted
    again: bool = False
    real: bytes = b""  # path of the source with links resolved, where it is known
    linked: bool = False  # reached through a link

    @property
    def name(self) -> bytes:
        return self.names[-1]

    def mark(self, source: Facts) -> bytes:
        """What the ledger notes of it when it is finished: several marks where the time is known exactly."""
        path, size, mtime_ns = os.fsencode(self.path), source.size, source.mtime_ns
        exact = mark(path, size, mtime_ns)
        return exact + rounded(path, size, mtime_ns) if mtime_ns % SECOND else exact

    def known_marks(self, source: Facts) -> tuple[bytes, bytes]:
        """The marks by which it is known, fetched this way or one that tells times otherwise."""
        path, size, mtime_ns = os.fsencode(self.path), source.size, source.mtime_ns
        whole_ns = mtime_ns // SECOND * SECOND
        other = rounded(path, size, mtime_ns) if mtime_ns == whole_ns else mark(path, size, whole_ns)
        return mark(path, size, mtime_ns), other

    @property
    def real_path(self) -> bytes:
        return self.real or self.source

    @property
    def path(self) -> str:
        return os.fsdecode(b"/".join((self.granted.path.rstrip(b"/"), *self.names)))


@dataclass(frozen=True, slots=True)
class RemoteLinkJob:
    """Make a link on the server like the one here."""

    granted: Granted
    real: tuple[bytes, ...]
    path: str
    target: bytes
    content: bytes
    place: tuple[str, ...] = ()
    again: bool = False  # this and the next as in UploadJob
    twin: bool = False
    linked: bool = False  # as in UploadJob: what is around it was reached through a link

    @property
    def real_path(self) -> bytes:
        return b"/".join((self.granted.path.rstrip(b"/"), *self.real))


@dataclass(frozen=True, slots=True)
class LocalLinkJob:
    """Make a link here like the one on the server, `depth` folders below the item's own."""

    source: bytes
    granted: Granted
    names: tuple[bytes, ...]
    content: bytes
    depth: int
    place: tuple[str, ...] = ()
    real: bytes = b""  # as in DownloadJob; of the link itself
    linked: bool = False  # as in RemoteLinkJob
    again: bool = False

    @property
    def real_path(self) -> bytes:
        return self.real or self.source

    @property
    def path(self) -> str:
        return os.fsdecode(b"/".join((self.granted.path.rstrip(b"/"), *self.names)))


@dataclass(frozen=True, slots=True)
class RemoteFolderJob:
    """Make a folder on the server."""

    target: bytes
    mtime_ns: int
    atime_ns: int = 0
    source: bytes = b""  # path of the folder of the source; b"" when it was reached through a link


@dataclass(frozen=True, slots=True)
class LocalFolderJob:
    """Make a folder here: `names` below the granted one."""

    granted: Granted
    names: tuple[bytes, ...]
    mtime_ns: int
    atime_ns: int = 0
    source: bytes = b""


@dataclass(frozen=True, slots=True)
class MishapJob:
    """Something that cannot be transferred, and why."""

    path: str
    remote_path: str
    error: TransferError
    real_path: bytes = b""  # of the source


LinkJob = RemoteLinkJob | LocalLinkJob
FileJob = UploadJob | DownloadJob
FolderJob = RemoteFolderJob | LocalFolderJob
Job = FileJob | LinkJob | FolderJob | MishapJob


def folder_target(job: FolderJob) -> bytes:
    """The path of a folder at the target."""
    if isinstance(job, RemoteFolderJob):
        return job.target
    return b"/".join((job.granted.path.rstrip(b"/"), *job.names))


@dataclass(frozen=True, slots=True)
class Work:
    """What the jobs of one session share."""

    plan: SessionPlan
    transport: Transport
    reporter: Reporter
    checkpoints: Checkpoints
    records: RecordStore
    ledger: Ledger
    trips: Trips
    folders: TargetFolders
    vault: Vault | None = None
    # Set when the session ends because of an error that no other try with the same plan would get past.
    hopeless: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, plan: SessionPlan, transport: Transport, reporter: Reporter) -> Work:
        folder = Path(plan.resume_folder)
        ledger = Ledger(folder, plan.transfer_id)
        # Arriving files are synced, which takes the disk its time.
        trips = Trips(2 if plan.direction == "send" else 4)
        records, folders = RecordStore(folder), TargetFolders(Spare(plan.keep_free))
        return cls(plan, transport, reporter, Checkpoints(), records, ledger, trips, folders, Vault.of(plan))

    @property
    def policies(self) -> Policies:
        return self.plan.policies

    def record_key(self, target: bytes) -> str:
        server, direction = self.plan.server, self.plan.direction
        key = RecordStore.key(direction, server.host, server.port, self.plan.login.user, target)
        return key + OVER_HTTP if direction == "send" and not self.transport.names_unfinished else key

    def is_new(self, job: UploadJob) -> bool:
        """Tell whether nothing can be there: this session made the folder, and no other file goes there."""
        return not job.again and self.transport.is_new(job.folder)

    def overwrite_for(self, record: Record) -> Overwrite:
        """The policy that decides about going on from a record.

        `always` means to start over, but not within one transfer: it would never end on a bad line.
        """
        if record.transfer_id == self.plan.transfer_id and self.policies.overwrite == "always":
            return "diff"
        return self.policies.overwrite


def stamps(policies: Policies, *, atime_ns: int, mtime_ns: int) -> tuple[int, int] | None:
    """The times of access and modification a target gets; None to leave it as written."""
    kept = Stamps(policies.preserve_times, policies.preserve_access_times)
    return kept.of(atime_ns=atime_ns, mtime_ns=mtime_ns, now_ns=time.time_ns())


def saving_stamp() -> Stamp:
    """The second it is now, in local time, for the name of a saved file."""
    now = time.localtime()
    return now.tm_year, now.tm_mon, now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec


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
