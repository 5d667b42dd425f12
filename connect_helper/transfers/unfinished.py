"""Files under way and the records that let a later session go on from them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from connect_helper.errors import TransferError
from connect_helper.transports.base import BlockHashes, Mark
from connect_helper.transports.resume import Record, RecordStore, SourceId

_log = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
BLOCKS_PER_S: Final = 2_000  # a record that grows long is written less often, a second more for so many
SMALLEST: Final = 1024 * 1024  # bytes done below which starting again is as quick


class Unfinished:
    """One file under way. `save` and `drop` block and may be called from any thread."""

    def __init__(
        self,
        store: RecordStore,
        key: str,
        make: Callable[[Mark], Record],
        done: Callable[[], Mark],
        sync: Callable[[], None],
        *,
        noted: bool = True,
    ) -> None:
        self._store = store
        self._key = key
        self._make = make
        self._done = done
        self._sync = sync
        self._noted = noted  # there may be a record
        self._lock = threading.Lock()
        self._closed = False
        self._durable = Mark()  # up to here the disk has it for certain
        self._sync_failed = False
        self._saved = -1
        self._saved_at = 0.0

    def due(self, now: float) -> bool:
        """Tell whether there is something new worth a record by now."""
        done = self._done()
        wait_s = PERIOD_S + done.blocks / BLOCKS_PER_S
        return done.offset >= SMALLEST and done.offset != self._saved and now - self._saved_at >= wait_s

    def save(self, *, durable: bool = True) -> None:
        """Write the record for what is done so far; with `durable`, bring that to the disk first.

        A stop does without: whoever goes on hashes again what is really there. But once the disk failed,
        memory may show what the disk does not have (REL-11): only what it took before that counts.
        """
        with self._lock:
            if self._closed:
                return
            mark = self._done()
            if durable and mark.offset <= 0:
                return
            if durable:
                self._sync_noting()
                self._durable = mark
            if self._sync_failed:
                mark = self._durable
            self._noted = True
            self._store.save(self._key, self._make(mark))
            self._saved, self._saved_at = mark.offset, time.monotonic()

    def sync(self) -> None:
        """Bring the whole file to the disk. Raises what that raises."""
        with self._lock:
            self._sync_noting()

    def _sync_noting(self) -> None:
        try:
            self._sync()
        except (OSError, TransferError):
            self._sync_failed = True
            raise

    def drop(self) -> None:
        """The file is finished, or begins anew: no record is kept."""
        with self._lock:
            self._closed = True
            if not self._noted:
                return
            try:
                self._store.remove(self._key)
            except OSError as error:  # the file is in order, and the record tells of one that is gone
                _log.warning("a resume record cannot be removed: %s", error)

    def keep(self) -> None:
        """The file stays unfinished: write the last record and no more."""
        try:
            self.save(durable=False)
        except OSError as error:
            _log.warning("a resume record cannot be written: %s", error)
        with self._lock:
            self._closed = True


class Checkpoints:
    """Saves the records of all files under way about once a second."""

    def __init__(self) -> None:
        self._files: set[Unfinished] = set()

    def add(self, unfinished: Unfinished) -> None:
        self._files.add(unfinished)

    def remove(self, unfinished: Unfinished) -> None:
        self._files.discard(unfinished)

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S / 2)
            now = time.monotonic()
            for unfinished in list(self._files):
                if unfinished.due(now):
                    await self._save(unfinished)

    async def _save(self, unfinished: Unfinished) -> None:
        try:
            await asyncio.to_thread(unfinished.save)
        except (OSError, TransferError) as error:
            # The transfer goes on: a disk that fails here fails the file itself at its next write or sync.
            _log.warning("a resume record cannot be written: %s", error)


def record_maker(
    *,
    transfer_id: str,
    partial: str,
    device: int,
    inode: int,
    source: SourceId,
    hashes: BlockHashes,
    sends: bool,
) -> Callable[[Mark], Record]:
    """What `Unfinished` needs to make the record of one file."""

    def make(mark: Mark) -> Record:
        direction = "send" if sends else "receive"
        return Record(transfer_id, direction, partial, device, inode, source, hashes.proof(mark))  # type: ignore[arg-type] # one of two words

    return make
