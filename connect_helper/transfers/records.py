"""How a transfer is written into the journal: its JSON, and the SQL of each kind of write.

JSON is ASCII, made by the standard library: names that are no UTF-8 hold lone surrogates.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import FileCounts, Owner, Transfer

# Small, for it is written every few seconds; a spec may name thousands of paths.
_FIGURES: Final = ("bytes_expected", "bytes_written", "elapsed_usec", "modify_time")


@dataclass(frozen=True, slots=True)
class Record:
    """A transfer with what is needed to go on with it."""

    transfer: Transfer
    position: int  # order of submission
    plan: SessionPlan  # its login holds the user name only
    needs_login: bool  # the session logged in with a secret, which is not kept here
    retry_for_s: float | None = None


def without_secrets(plan: SessionPlan) -> SessionPlan:
    """Return `plan` with nothing of its login but the user's name."""
    return plan.model_copy(update={"login": Login(user=plan.login.user)})


def has_secret(login: Login) -> bool:
    """Tell whether anything but a user name is needed to log in."""
    secrets = (login.password, login.private_key, login.private_key_passphrase, login.token)
    return any(secret is not None for secret in secrets)


def upsert(record: Record) -> Callable[[sqlite3.Connection], None]:
    """The write of a whole transfer as it is now."""
    one = record.transfer
    keeping = {
        "plan": without_secrets(record.plan).model_dump(),
        "needs_login": record.needs_login,
        "retry_for_s": record.retry_for_s,
    }
    row = {
        "id": one.id,
        "position": record.position,
        "facts": json.dumps(facts_of(one)),
        "files": json.dumps([report.model_dump() for report in one.files.values()]),
        "keeping": json.dumps(keeping),
    }

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO transfers (id, position, facts, figures, files, keeping)"
            " VALUES (:id, :position, :facts, '{}', :files, :keeping)"
            " ON CONFLICT (id) DO UPDATE SET"
            " facts = :facts, figures = '{}', files = :files, keeping = :keeping",
            row,
        )

    return write


def update(transfer: Transfer) -> Callable[[sqlite3.Connection], None]:
    """The write of progress: nothing when the row is gone, so that it cannot undo a removal."""
    row = {"id": transfer.id, "figures": json.dumps({name: getattr(transfer, name) for name in _FIGURES})}

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE transfers SET figures = :figures WHERE id = :id", row)

    return write


def removal(removed: Transfer, *, keep: int) -> Callable[[sqlite3.Connection], None]:
    """The write that puts a removal in the place of a transfer; the oldest removals are forgotten."""
    facts = json.dumps(facts_of(removed))

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM transfers WHERE id = ?", (removed.id,))
        connection.execute("INSERT INTO removals (id, facts) VALUES (?, ?)", (removed.id, facts))
        connection.execute(
            "DELETE FROM removals WHERE position <= (SELECT MAX(position) FROM removals) - ?", (keep,)
        )

    return write


def reservation(ceiling: int) -> Callable[[sqlite3.Connection], None]:
    """The write of the highest token that may be given out."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO counter (one, ceiling) VALUES (1, :ceiling)"
            " ON CONFLICT (one) DO UPDATE SET ceiling = MAX(ceiling, :ceiling)",
            {"ceiling": ceiling},
        )

    return write


def facts_of(transfer: Transfer) -> dict[str, Any]:
    """Return the transfer as JSON values, without its files."""
    facts = {one.name: getattr(transfer, one.name) for one in fields(transfer) if one.name != "files"}
    facts["owner"] = {"origin": transfer.owner.origin, "app_id": transfer.owner.app_id}
    facts["counts"] = {one.name: getattr(transfer.counts, one.name) for one in fields(transfer.counts)}
    facts["settings"] = dict(transfer.settings)
    facts["spec"] = dict(transfer.spec)
    return facts


def transfer_from(facts: dict[str, Any]) -> Transfer:
    """Undo `facts_of`. Raises ValueError, TypeError or KeyError when it is none."""
    previous = facts["previous_status"]
    return Transfer(
        **{
            **facts,
            "owner": Owner(**facts["owner"]),
            "counts": FileCounts(**facts["counts"]),
            "status": Status(facts["status"]),
            "previous_status": Status(previous) if previous else None,
        }
    )


def from_row(position: int, facts: str, figures: str, files: str, keeping: str) -> Record:
    """Read a row. Raises ValueError, TypeError or KeyError."""
    transfer = transfer_from(json.loads(facts) | json.loads(figures))
    reports = [FileReport.model_validate(report) for report in json.loads(files)]
    transfer.files = {report.index: report for report in reports}
    kept = json.loads(keeping)
    plan = SessionPlan.model_validate(kept["plan"])
    return Record(transfer, position, plan, bool(kept["needs_login"]), kept["retry_for_s"])
