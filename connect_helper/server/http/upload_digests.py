"""The digests of uploads, made as their bytes come; between two requests they are kept in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from connect_helper.server.http.digests import Hash
from connect_helper.server.http.upload_records import UploadRecord

DIGESTS_KEPT: Final = 4096  # running digests of uploads between two requests


class RunningDigests:
    """By upload, each with the offset it stands at."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, tuple[int, Hash]] = OrderedDict()

    def so_far(self, record: UploadRecord) -> Hash | None:
        """The digest so far, to go on with; None when it is not wanted or must be made at the end."""
        if not record.wants_digest or record.kind != "whole":
            return None
        if record.offset == 0:
            return hashlib.sha256(usedforsecurity=False)
        at, digest = self._digests.get(record.id, (-1, None))
        return digest.copy() if digest is not None and at == record.offset else None

    def keep(self, record: UploadRecord, digest: Hash) -> None:
        """Keep the digest of what an upload has."""
        self._digests[record.id] = (record.offset, digest)
        if len(self._digests) > DIGESTS_KEPT:
            self._digests.popitem(last=False)

    def take_whole(self, record: UploadRecord) -> bytes | None:
        """The digest of a complete upload, None when it must be made from the file; kept no longer."""
        at, running = self._digests.pop(record.id, (-1, None))
        return running.digest() if running is not None and at == record.length else None

    def forget(self, upload_id: str) -> None:
        """The upload is gone, or has other bytes now."""
        self._digests.pop(upload_id, None)
