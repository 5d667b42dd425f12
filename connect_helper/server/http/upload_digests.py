"""The digests of uploads, made as their bytes come; between two requests they are kept in memory.

Each is kept with what its file looked like when the last byte was hashed. A file that looks otherwise by then
was touched by somebody else, and is hashed anew: the bytes that count are those on the disk.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.spec.block_hash import Hash, new_hash

DIGESTS_KEPT: Final = 4096  # running digests of uploads between two requests
Look = tuple[int, int, int, int]


def look_of(facts: os.stat_result) -> Look:
    """What changes with every write to a file, whoever makes it."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


@dataclass(frozen=True, slots=True)
class _Kept:
    offset: int
    look: Look
    algorithm: str
    digest: Hash


class RunningDigests:
    """By upload, each with the offset it stands at, which is the end of the file."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, _Kept] = OrderedDict()

    def so_far(self, record: UploadRecord, facts: os.stat_result) -> Hash | None:
        """The digest so far, to go on with; None when it is not wanted or must be made at the end."""
        if not record.wants_digest:
            return None
        if record.offset == 0:
            return new_hash(record.algorithm)
        kept = self._digests.get(record.id)
        stands = (record.offset, look_of(facts), record.algorithm)
        holds = kept is not None and (kept.offset, kept.look, kept.algorithm) == stands
        return kept.digest.copy() if kept is not None and holds else None

    def keep(self, record: UploadRecord, digest: Hash, facts: os.stat_result) -> None:
        """Keep the digest of what an upload has."""
        self._digests[record.id] = _Kept(record.offset, look_of(facts), record.algorithm, digest)
        if len(self._digests) > DIGESTS_KEPT:
            self._digests.popitem(last=False)

    def move(self, part: UploadRecord, whole: UploadRecord) -> None:
        """The file of `whole` is that of its only part: so is the digest."""
        kept = self._digests.pop(part.id, None)
        if kept is not None:
            self._digests[whole.id] = kept

    def take_whole(self, record: UploadRecord, facts: os.stat_result) -> bytes | None:
        """The digest of a complete upload, None when it must be made from the file; kept no longer."""
        running = self.so_far(record, facts) if record.complete and record.length else None
        self.forget(record.id)
        return running.digest() if running is not None else None

    def forget(self, upload_id: str) -> None:
        """The upload is gone, or has other bytes now."""
        self._digests.pop(upload_id, None)
