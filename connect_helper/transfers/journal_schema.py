"""The tables of the journal, and how those of earlier versions become them."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from connect_helper.transfers import file_reports
from connect_helper.transfers.database import Schema
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.records import searched, transfer_from
from connect_helper.transfers.state import FINAL

logger = logging.getLogger(__name__)

VERSION: Final = 2
LOADED: Final = 1_000  # finished transfers of an older journal that count as recent

_TRANSFERS: Final = """
CREATE TABLE transfers (
    position INTEGER PRIMARY KEY,  -- order of submission
    id BLOB NOT NULL,
    xfer_id BLOB NOT NULL,
    origin BLOB NOT NULL,
    app_id BLOB NOT NULL,
    request_id BLOB NOT NULL,
    status TEXT NOT NULL,
    shelved_at INTEGER,            -- NULL while the program has it in memory; else its last iteration token
    facts TEXT NOT NULL,           -- JSON of Transfer without files, settings and spec
    figures TEXT NOT NULL,         -- JSON of what of it changed since by mere progress
    asked TEXT NOT NULL,           -- JSON of settings and spec
    keeping TEXT NOT NULL          -- JSON of the rest of Record: plan without login, limits
);
CREATE UNIQUE INDEX transfers_by_id ON transfers (id);
CREATE INDEX transfers_by_xfer_id ON transfers (xfer_id);
CREATE INDEX transfers_by_request ON transfers (request_id, origin, app_id) WHERE request_id <> X'';
CREATE INDEX transfers_at_hand ON transfers (position) WHERE shelved_at IS NULL;
CREATE INDEX transfers_by_status ON transfers (status, position) WHERE shelved_at IS NOT NULL;
CREATE INDEX transfers_by_owner ON transfers (origin, app_id, position) WHERE shelved_at IS NOT NULL;
CREATE INDEX transfers_by_token ON transfers (origin, app_id, shelved_at) WHERE shelved_at IS NOT NULL;
"""
_TABLES: Final = f"""
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), ceiling INTEGER NOT NULL);
{_TRANSFERS}
CREATE TABLE removals (position INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, facts TEXT NOT NULL);
"""


def schema(folder: Path) -> Schema:
    """The schema of the journal in `folder`; file reports of old versions go into the file beside it."""

    def from_1(connection: sqlite3.Connection) -> None:
        _from_1(connection, folder / file_reports.FILE_NAME)

    return Schema(version=VERSION, tables=_TABLES, steps={1: from_1}, synchronous="FULL")


def _from_1(connection: sqlite3.Connection, files: Path) -> None:
    """Version 1 had all transfers in memory, and up to a thousand files of each in a column.

    The files are durable in their new place before the old one goes: a kill in between does it once more.
    """
    file_reports.add_reports(files, _reports_of_1(connection))
    connection.execute("ALTER TABLE transfers RENAME TO transfers_1")
    for statement in _TRANSFERS.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    insert = (
        "INSERT INTO transfers (position, id, xfer_id, origin, app_id, request_id, status, shelved_at, facts,"
        " figures, asked, keeping) VALUES (:position, :id, :xfer_id, :origin, :app_id, :request_id, :status,"
        " :shelved_at, :facts, :figures, :asked, :keeping)"
    )
    connection.executemany(insert, _rows_of_1(connection))
    connection.execute("DROP TABLE transfers_1")


def _rows_of_1(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Newest first; finished ones beyond the recent ones were told to every page that asked."""
    recent = LOADED
    for position, facts, figures, keeping in connection.execute(
        "SELECT position, facts, figures, keeping FROM transfers_1 ORDER BY position DESC"
    ):
        try:
            everything = json.loads(facts)
            transfer = transfer_from(everything)
        except (ValueError, TypeError, KeyError) as error:
            logger.error("A transfer in the journal cannot be read and is left out: %s", type(error).__name__)
            continue
        recent -= transfer.status in FINAL
        asked = {name: everything.pop(name) for name in ("settings", "spec")}
        yield {
            **searched(transfer),
            "position": position,
            "shelved_at": 0 if transfer.status in FINAL and recent < 0 else None,
            "facts": json.dumps(everything),
            "figures": figures,
            "asked": json.dumps(asked),
            "keeping": keeping,
        }


def _reports_of_1(connection: sqlite3.Connection) -> Iterator[tuple[int, FileReport]]:
    for position, files in connection.execute("SELECT position, files FROM transfers"):
        try:
            reports = [FileReport.model_validate(report) for report in json.loads(files)]
        except ValueError:
            continue  # said when its transfer is read
        for report in reports:
            yield position, report
