"""Partial files nobody will go on with: gone with their transfer, or when they were left too long (REL-20).

Only local ones that are still ours by device and inode; what lies on a server stays, for nobody is logged
in there. All functions block: run them in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from connect_helper.transports.resume import SUFFIX, Record, RecordStore

logger = logging.getLogger(__name__)


def forget(folder: Path, transfer_id: str) -> int:
    """Remove the records of a removed transfer and its local partial files; tell how many records went."""
    store = RecordStore(folder)
    gone = 0
    for path in sorted(folder.glob("*" + SUFFIX)):
        record = store.load(path.stem)
        if record is None or record.transfer_id != transfer_id:
            continue
        lock = store.lock(path.stem)
        if not lock.take():
            continue  # another transfer to the same target goes on from it
        try:
            if record.direction == "receive":
                _remove(record)
            store.remove(path.stem)
        finally:
            lock.release()
        gone += 1
    return gone


def sweep(folders: Iterable[Path]) -> None:
    """Remove what was not touched for a week."""
    for folder in folders:
        try:
            swept = RecordStore(folder).sweep()
        except OSError as error:
            logger.warning("old partial files are not swept: %s", error)
        else:
            logger.info("%d old partial files swept", swept)


def _remove(record: Record) -> None:
    partial = Path(record.partial)
    try:
        facts = partial.lstat()
        if (facts.st_dev, facts.st_ino) == (record.partial_device, record.partial_inode):
            partial.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("the partial file %r cannot be removed: %s", record.partial, error)
