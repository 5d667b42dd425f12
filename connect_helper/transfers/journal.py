"""The list of transfers on disk: what survives a restart, a crash and a kill.

SQLite with a write-ahead log and synchronous=FULL, written by one thread that takes what has gathered as
one commit. It never holds a secret: plans are kept without their login. A file of a newer program is
refused, a damaged one is set aside under another name and the list starts empty.

Transfers that are over and that nobody asked about lately are shelved: here only, not in memory, with the
iteration token of their last change. They are found again by page, by id, by request or by token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from connect_helper.errors import Unavailable
from connect_helper.transfers import records
from connect_helper.transfers.database import open_database, quick_check
from connect_helper.transfers.disk_thread import DiskThread
from connect_helper.transfers.journal_schema import schema
from connect_helper.transfers.records import Record
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner, Transfer

logger = logging.getLogger(__name__)

FILE_NAME: Final = "transfers.db"
REMOVALS_KEPT: Final = 1_000
# Progress waits so long for more of it: one by one, that of a thousand transfers wakes the thread two
# hundred times a second, and each time it takes the interpreter from the event loop.
GATHER_S: Final = 0.25
GATHERED: Final = 100  # transfers in one write, which takes a processor about 4 ms


@dataclass(slots=True)
class Loaded:
    """What the journal knew when it was opened."""

    records: list[Record] = field(default_factory=list)  # those not shelved, in order of submission
    removals: list[Transfer] = field(default_factory=list)  # oldest first
    token: int = 0  # no token above this one was ever given out
    shelved: dict[Status, int] = field(default_factory=dict)  # how many of each there are
    told: int = 0  # the highest token of a shelved one
    next_position: int = 0
    set_aside: Path | None = None  # where a damaged journal was put


class Journal:
    """Opened once per program. Raised everywhere: Unavailable, when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = DiskThread("journal")
        self._progress: dict[int, records.Figures] = {}  # by position; not handed over yet
        self._gathering: asyncio.TimerHandle | None = None
        self._writing_progress = False

    async def open(self) -> Loaded:
        """Start the writer and read everything that is not shelved.

        Raises Unavailable when a newer program wrote the file, when another program holds it or when
        the disk does not let us.
        """
        return await self._disk.open(self._open)

    async def close(self) -> None:
        """Write what is waiting and end the thread. Idempotent."""
        if self._gathering is not None:
            self._gathering.cancel()
        while self._progress and self._disk.is_open:
            self._write_progress()
        await self._disk.close()

    # Writing --------------------------------------------------------------------------------------

    async def save(self, record: Record) -> None:
        """Keep all of `record`; durable on return."""
        self._progress.pop(record.position, None)
        await self._disk.write(records.upsert(record))

    async def save_step(self, record: Record) -> None:
        """Keep `record`, of which what was asked and the plan are kept already; durable on return."""
        self._progress.pop(record.position, None)
        await self._disk.write(records.step(record))

    def save_soon(self, position: int, transfer: Transfer) -> None:
        """Keep progress some time soon. While the disk is slow, only the latest of each transfer waits."""
        if self._disk.is_open:
            self._progress[position] = records.figures_of(transfer)
            self._gather()

    def _gather(self) -> None:
        if self._progress and self._gathering is None and not self._writing_progress:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._write_progress)

    def _write_progress(self) -> None:
        self._gathering = None
        if self._progress and self._disk.is_open:
            self._writing_progress = True
            some = {position: self._progress.pop(position) for position in [*self._progress][:GATHERED]}
            self._disk.post(records.update(some)).add_done_callback(self._progress_written)

    def _progress_written(self, done: asyncio.Future[object]) -> None:
        self._writing_progress = False
        if not done.cancelled():
            done.exception()  # the thread has logged it
        self._gather()

    async def shelve(self, some: Sequence[tuple[Record, int]]) -> None:
        """Keep transfers, each with the token of its last change, as such that are not in memory."""
        for record, _ in some:
            self._progress.pop(record.position, None)
        writes = [records.upsert(record, token) for record, token in some]

        def write(connection: sqlite3.Connection) -> None:
            for one in writes:
                one(connection)

        await self._disk.write(write)

    async def unshelve(self, position: int) -> None:
        """A shelved transfer is in memory again."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE transfers SET shelved_at = NULL WHERE position = ?", (position,))

        await self._disk.write(write)

    async def remove(self, position: int, removed: Transfer) -> None:
        """Replace a transfer by the memory that it was removed; durable on return."""
        await self._disk.write(records.removal(position, removed, keep=REMOVALS_KEPT))

    async def remove_old(self, status: Status) -> list[int]:
        """Forget shelved transfers with that status but the newest REMOVALS_KEPT; return their positions.

        Nobody is told of them: of so many removals only the last are remembered anyway.
        """

        def write(connection: sqlite3.Connection) -> list[int]:
            query = (
                "DELETE FROM transfers WHERE status = :status AND shelved_at IS NOT NULL AND position <"
                " (SELECT MIN(position) FROM (SELECT position FROM transfers WHERE status = :status AND"
                " shelved_at IS NOT NULL ORDER BY position DESC LIMIT :kept)) RETURNING position"
            )
            values = {"status": status.value, "kept": REMOVALS_KEPT}
            return [position for (position,) in connection.execute(query, values).fetchall()]

        return await self._disk.write(write)

    async def reserve(self, ceiling: int) -> None:
        """Promise that no token above `ceiling` is given out before the next call."""
        await self._disk.write(records.reservation(ceiling))

    # Reading --------------------------------------------------------------------------------------

    async def find(self, column: Literal["id", "xfer_id"], wanted: str, owner: Owner | None) -> Record | None:
        """Find the newest shelved transfer with that id; with `owner`, only among theirs."""
        scope, values = _of(owner)
        found = await self._select(
            f"WHERE {column} = ? AND shelved_at IS NOT NULL{scope} ORDER BY position DESC LIMIT 1",
            (records.key(wanted), *values),
        )
        return found[0] if found else None

    async def of_request(self, owner: Owner, request_id: str) -> Record | None:
        """Find the shelved transfer that a start call made."""
        scope, values = _of(owner)
        found = await self._select(
            "WHERE request_id = ? AND request_id <> X'' AND shelved_at IS NOT NULL"
            f"{scope} ORDER BY position DESC LIMIT 1",
            (records.key(request_id), *values),
        )
        return found[0] if found else None

    async def page(self, statuses: Iterable[Status], before: int | None, limit: int) -> list[Record]:
        """Shelved transfers with one of the statuses, newest first, older than the position `before`."""
        found: list[Record] = []
        for status in statuses:
            found += await self._select(
                "WHERE status = ? AND shelved_at IS NOT NULL AND position < ? ORDER BY position DESC LIMIT ?",
                (status.value, 2**62 if before is None else before, limit),
            )
        return sorted(found, key=lambda record: record.position, reverse=True)[:limit]

    async def told_after(self, owner: Owner, token: int, limit: int) -> list[Record]:
        """Shelved transfers of `owner` that changed after `token`, in the order of their last changes.

        Their transfers carry that token.
        """
        scope, values = _of(owner)
        return await self._select(
            f"WHERE shelved_at > ?{scope} ORDER BY shelved_at LIMIT ?", (token, *values, limit)
        )

    async def newest_of(self, owner: Owner, limit: int) -> list[Record]:
        """The newest shelved transfers of `owner`, newest first."""
        scope, values = _of(owner)
        return await self._select(
            f"WHERE shelved_at IS NOT NULL{scope} ORDER BY position DESC LIMIT ?", (*values, limit)
        )

    async def position_of(self, transfer_id: str) -> int | None:
        """Where a transfer with that id stands in the order of submission."""

        def look(connection: sqlite3.Connection) -> int | None:
            query = "SELECT position FROM transfers WHERE id = ?"
            row = connection.execute(query, (records.key(transfer_id),)).fetchone()
            return None if row is None else int(row[0])

        return await self._disk.read(look)

    async def present(self, positions: Sequence[int]) -> list[int]:
        """Return those of the positions that still stand for a transfer."""

        def look(connection: sqlite3.Connection) -> list[int]:
            marks = ",".join("?" * len(positions))
            query = f"SELECT position FROM transfers WHERE position IN ({marks})"  # noqa: S608 - marks only
            return [position for (position,) in connection.execute(query, positions)]

        return await self._disk.read(look)

    async def _select(self, condition: str, values: tuple[object, ...]) -> list[Record]:
        return await self._disk.read(lambda connection: _records(connection, condition, values))

    # In the thread --------------------------------------------------------------------------------

    def _open(self) -> tuple[sqlite3.Connection, Loaded]:
        connection, aside = open_database(self._folder / FILE_NAME, schema(self._folder), check=quick_check)
        try:
            loaded = _read(connection)
        except sqlite3.Error as error:
            connection.close()
            raise Unavailable(f"The list of transfers in {self._folder} cannot be read: {error}.") from error
        if aside is not None:
            loaded.set_aside = aside
            # The counter is lost too. Milliseconds since the epoch are above any token we ever gave out.
            loaded.token = time.time_ns() // 1_000_000
        return connection, loaded


def _of(owner: Owner | None) -> tuple[str, tuple[bytes, ...]]:
    """The condition that a transfer belongs to `owner`, and its values."""
    if owner is None:
        return "", ()
    return " AND origin = ? AND app_id = ?", (records.key(owner.origin), records.key(owner.app_id))


def _records(connection: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> list[Record]:
    """Read transfers; one that cannot be read costs only itself."""
    found = []
    query = f"SELECT shelved_at, {records.COLUMNS} FROM transfers {condition}"  # noqa: S608 - constants
    for token, *row in connection.execute(query, values):
        try:
            record = records.from_row(*row)
        except (ValueError, TypeError, KeyError) as error:
            logger.error("A transfer in the journal cannot be read and is left out: %s", type(error).__name__)
            continue
        record.transfer.iteration_token = token or 0
        found.append(record)
    return found


def _read(connection: sqlite3.Connection) -> Loaded:
    loaded = Loaded(records=_records(connection, "WHERE shelved_at IS NULL ORDER BY position", ()))
    for (facts,) in connection.execute("SELECT facts FROM removals ORDER BY position"):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            loaded.removals.append(records.transfer_from(json.loads(facts)))
    ceiling = connection.execute("SELECT ceiling FROM counter").fetchone()
    loaded.token = ceiling[0] if ceiling else 0
    counted = "SELECT status, COUNT(*) FROM transfers WHERE shelved_at IS NOT NULL GROUP BY status"
    loaded.shelved = {Status(status): number for status, number in connection.execute(counted)}
    highest = (
        "SELECT MAX(shelved_at) FROM transfers INDEXED BY transfers_by_token WHERE shelved_at IS NOT NULL"
    )
    (told,) = connection.execute(highest).fetchone()
    loaded.told = told or 0
    (last,) = connection.execute("SELECT MAX(position) FROM transfers").fetchone()
    loaded.next_position = 0 if last is None else last + 1
    return loaded
