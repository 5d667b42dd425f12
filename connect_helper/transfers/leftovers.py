"""Partial files nobody will go on with: gone with their transfer, or when they were left too long (REL-20).

Here are the local ones that are still ours by device and inode, and the records of all; those on a server
take a session, see `remote_leftovers`. All functions block: run them in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from connect_helper.transfers.ledger import Ledger
from connect_helper.transports.resume import SUFFIX, Record, RecordStore

logger = logging.getLogger(__name__)


def forget(folder: Path, transfer_id: str, *, also_sent: bool = True) -> int:
    """Remove the records of a removed transfer and its local partial files; tell how many records went.

    Without `also_sent` those of files on a server stay: they are needed to remove these.
    """
    gone = 0
    for key, record in left(folder, transfer_id):
        if record.direction == "send" and not also_sent:
            continue
        with held(folder, key) as ours:
            if not ours:
                continue  # another transfer to the same target goes on from it
            if record.direction == "receive":
                _remove(record)
            RecordStore(folder).remove(key)
        gone += 1
    Ledger(folder, transfer_id).discard()
    return gone


def forget_one(folder: Path, key: str, transfer_id: str) -> None:
    """Remove what a transfer left here of a file that it does not fetch any more; see `forget_sent`."""
    record = noted(folder, key, transfer_id)
    if record is None or record.direction != "receive":
        return
    with held(folder, key) as ours:
        if ours:
            _remove(record)
            RecordStore(folder).remove(key)


def noted(folder: Path, key: str, transfer_id: str) -> Record | None:
    """The record of an unfinished file, if it is one of this transfer."""
    store = RecordStore(folder)
    record = store.load(key) if store.has(key) else None
    return record if record is not None and record.transfer_id == transfer_id else None


def left(folder: Path, transfer_id: str) -> Iterator[tuple[str, Record]]:
    """What a transfer left unfinished: each record with its key."""
    store = RecordStore(folder)
    for path in sorted(folder.glob("*" + SUFFIX)):
        record = store.load(path.stem)
        if record is not None and record.transfer_id == transfer_id:
            yield path.stem, record


def sent(folder: Path, transfer_id: str) -> list[tuple[str, Record]]:
    """What a transfer left unfinished on its server."""
    return [(key, record) for key, record in left(folder, transfer_id) if record.direction == "send"]


@contextmanager
def held(folder: Path, key: str) -> Iterator[bool]:
    """Keep everybody else away from the partial file of a record; False when somebody works on it."""
    lock = RecordStore(folder).lock(key)
    if not lock.take():
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


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
