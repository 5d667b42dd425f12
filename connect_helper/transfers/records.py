"""How a transfer is written into the journal: its JSON, and the SQL of each kind of write.

JSON is ASCII, made by the standard library: names that are no UTF-8 hold lone surrogates. So do words of
pages that are searched for, which is why they are bytes in the file. What is handed to a writer is a copy:
JSON is made of it in the writer's thread, where a spec with thousands of paths holds up nobody.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import FileCounts, Owner, Transfer

COLUMNS: Final = "position, facts, figures, asked, keeping"  # what `from_row` takes

# Small, for it is written every few seconds.
_FIGURES: Final = ("bytes_expected", "bytes_written", "elapsed_usec", "modify_time")
_ASKED: Final = ("settings", "spec")  # large, and hardly ever changed

Write = Callable[[sqlite3.Connection], None]
Figures = Mapping[str, int | float]  # what changes by mere progress, by the names of Transfer


@dataclass(frozen=True, slots=True)
class Record:
    """A transfer with what is needed to go on with it. Its files are kept elsewhere."""

    transfer: Transfer
    position: int  # order of submission
    plan: SessionPlan  # its login holds the user name only
    needs_login: bool  # the session logged in with a secret, which is not kept here
    retry_for_s: float | None = None


def without_secrets(plan: SessionPlan) -> SessionPlan:
    """Return `plan` with nothing of its login but the user's name."""
    return plan.model_copy(update={"login": Login(user=plan.login.user)})


def has_secret(login: Login) -> bool:
    """Tell whether anything but a user name is needed to log in, or to encrypt and decrypt files."""
    secrets = (
        login.password,
        login.private_key,
        login.private_key_passphrase,
        login.token,
        login.file_passphrase,
    )
    return any(secret is not None for secret in secrets)


def key(text: str) -> bytes:
    """A word of a page as it is searched for in the file."""
    return text.encode("utf-8", "surrogatepass")


def upsert(record: Record, shelved_at: int | None = None) -> Write:
    """The write of a whole transfer as it is now; see `journal` for `shelved_at`."""
    one = _copy(record.transfer)
    plan = without_secrets(record.plan)

    def write(connection: sqlite3.Connection) -> None:
        row = {
            **searched(one),
            "position": record.position,
            "shelved_at": shelved_at,
            "facts": json.dumps(facts_of(one)),
            "asked": json.dumps({name: dict(getattr(one, name)) for name in _ASKED}),
            "keeping": json.dumps(
                {
                    "plan": plan.model_dump(),
                    "needs_login": record.needs_login,
                    "retry_for_s": record.retry_for_s,
                }
            ),
        }
        connection.execute(
            "INSERT INTO transfers (position, id, xfer_id, origin, app_id, request_id, status, shelved_at,"
            " facts, figures, asked, keeping) VALUES (:position, :id, :xfer_id, :origin, :app_id,"
            " :request_id, :status, :shelved_at, :facts, '{}', :asked, :keeping)"
            " ON CONFLICT (position) DO UPDATE SET status = :status, shelved_at = :shelved_at,"
            " facts = :facts, figures = '{}', asked = :asked, keeping = :keeping",
            row,
        )

    return write


def step(record: Record) -> Write:
    """The write of all but what the page asked for and what the session is to do: most changes are such."""
    one = _copy(record.transfer)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE transfers SET status = ?, facts = ?, figures = '{}', shelved_at = NULL"
            " WHERE position = ?",
            (one.status.value, json.dumps(facts_of(one)), record.position),
        )

    return write


def figures_of(transfer: Transfer) -> Figures:
    """What `update` writes of a transfer, as it is now."""
    return {name: getattr(transfer, name) for name in _FIGURES}


def update(progress: Mapping[int, Figures]) -> Write:
    """The write of progress, by position: none where the row is gone, so that it cannot undo a removal."""

    def write(connection: sqlite3.Connection) -> None:
        # One statement for all: with one each, the thread would ask for the interpreter as often.
        connection.execute(
            "UPDATE transfers SET figures = news.value FROM json_each(?) AS news"
            " WHERE transfers.position = CAST(news.key AS INTEGER)",
            (json.dumps(progress),),
        )

    return write


def removal(position: int, removed: Transfer, *, keep: int) -> Write:
    """The write that puts a removal in the place of a transfer; the oldest removals are forgotten."""
    one = _copy(removed)

    def write(connection: sqlite3.Connection) -> None:
        facts = json.dumps({**facts_of(one), **{name: dict(getattr(one, name)) for name in _ASKED}})
        connection.execute("DELETE FROM transfers WHERE position = ?", (position,))
        connection.execute("INSERT INTO removals (id, facts) VALUES (?, ?)", (key(one.id), facts))
        connection.execute(
            "DELETE FROM removals WHERE position <= (SELECT MAX(position) FROM removals) - ?", (keep,)
        )

    return write


def reservation(ceiling: int) -> Write:
    """The write of the highest token that may be given out."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO counter (one, ceiling) VALUES (1, :ceiling)"
            " ON CONFLICT (one) DO UPDATE SET ceiling = MAX(ceiling, :ceiling)",
            {"ceiling": ceiling},
        )

    return write


def searched(transfer: Transfer) -> dict[str, Any]:
    """The columns that transfers are found by."""
    return {
        "id": key(transfer.id),
        "xfer_id": key(transfer.xfer_id),
        "origin": key(transfer.owner.origin),
        "app_id": key(transfer.owner.app_id),
        "request_id": key(transfer.request_id),
        "status": transfer.status.value,
    }


def _copy(transfer: Transfer) -> Transfer:
    """A copy for another thread. Settings and specs are replaced and never changed, so they are shared."""
    return replace(transfer, counts=replace(transfer.counts), files={})


def facts_of(transfer: Transfer) -> dict[str, Any]:
    """Return the transfer as JSON values, without its files and what the page asked for."""
    left_out = ("files", *_ASKED)
    facts = {one.name: getattr(transfer, one.name) for one in fields(transfer) if one.name not in left_out}
    facts["owner"] = {"origin": transfer.owner.origin, "app_id": transfer.owner.app_id}
    facts["counts"] = {one.name: getattr(transfer.counts, one.name) for one in fields(transfer.counts)}
    return facts


def transfer_from(facts: dict[str, Any]) -> Transfer:
    """Undo `facts_of`, with settings and spec put in. Raises ValueError, TypeError or KeyError."""
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


def as_today(plan: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a plan as this version spells it; fields that are new since have their defaults.

    Earlier versions had `follow_links` where `links` is now. Raises KeyError, TypeError, AttributeError.
    """
    policies = dict(plan.get("policies", {}))
    follows = policies.pop("follow_links", None)
    if follows is not None:
        policies.setdefault("links", "follow" if follows else "skip")
    return {**plan, "policies": policies}


def from_row(position: int, facts: str, figures: str, asked: str, keeping: str) -> Record:
    """Read a row. Raises ValueError, TypeError or KeyError."""
    transfer = transfer_from(json.loads(facts) | json.loads(figures) | json.loads(asked))
    kept = json.loads(keeping)
    plan = SessionPlan.model_validate(as_today(kept["plan"]))
    return Record(transfer, position, plan, bool(kept["needs_login"]), kept["retry_for_s"])
