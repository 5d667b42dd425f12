"""A list written by version 1 of the journal is taken over whole."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers import journal_schema
from connect_helper.transfers.file_reports import FILE_NAME, add_reports
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.records import without_secrets
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner
from tests.support.managing import COMPLETES, OWNER, manager, reaches, request

VERSION_1 = """
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), ceiling INTEGER NOT NULL);
CREATE TABLE transfers (
    id TEXT PRIMARY KEY, position INTEGER NOT NULL, facts TEXT NOT NULL, figures TEXT NOT NULL,
    files TEXT NOT NULL, keeping TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE removals (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, facts TEXT NOT NULL);
INSERT INTO counter VALUES (1, 20000);
PRAGMA user_version = 1;
"""


def facts(name: str, status: str, request_id: str = "") -> dict[str, Any]:
    texts = {"id": name, "xfer_id": f"x-{name}", "request_id": request_id, "direction": "send"}
    texts |= {"host": "b.example", "user": "ann", "title": "\udcff", "current_file": "", "explorer_path": ""}
    texts |= {"transport": "fasp", "error": "", "error_desc": "", "note": "", "status": status}
    whole = dict.fromkeys(("iteration_token", "bytes_expected", "bytes_written", "elapsed_usec"), 5)
    whole |= dict.fromkeys(("remaining_usec", "error_code", "attempts"), 0)
    times = dict.fromkeys(("add_time", "start_time", "end_time", "modify_time", "rate_kbps", "retry_at"), 1.0)
    counts = {"attempted": 2, "completed": 1, "failed": 1, "skipped": 0}
    rest = {"previous_status": None, "port": 22, "owner": {"origin": OWNER.origin, "app_id": OWNER.app_id}}
    return {**texts, **whole, **times, **rest, "counts": counts, "settings": {"a": 1}, "spec": {"b": [2]}}


def write_version_1(path: Path, statuses: dict[str, str]) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    plan = without_secrets(request().plan).model_dump()
    keeping = json.dumps({"plan": plan, "needs_login": True, "retry_for_s": 60.0})
    for position, (name, status) in enumerate(statuses.items()):
        report = FileReport(
            index=position,
            path=f"/{name}\udcff",
            remote_path="r",
            bytes_expected=9,
            bytes_written=9,
            state="done",
        )
        row = (name, position, json.dumps(facts(name, status, f"r-{name}")), '{"bytes_written": 4}')
        files = json.dumps([report.model_dump()])
        connection.execute("INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?)", (*row, files, keeping))
    connection.execute("INSERT INTO transfers VALUES ('bad', 99, '{}', '{}', '[]', '{}')")
    gone = json.dumps(facts("gone", "removed"))
    connection.execute("INSERT INTO removals (id, facts) VALUES ('gone', ?)", (gone,))
    connection.commit()
    connection.close()


async def test_everything_of_version_1_is_found_again(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_schema, "LOADED", 2)
    old = {"t0": "completed", "t1": "failed", "t2": "cancelled", "t3": "running", "t4": "completed"}
    write_version_1(folders.state / "transfers.db", old)
    async with manager(folders) as transfers:
        assert [one.id for one in transfers.all()] == ["t2", "t3", "t4"]  # the newest two, and what goes on
        listed, more = await transfers.page(list(Status), limit=10)
        assert [one.transfer.id for one in listed] == ["t4", "t3", "t2", "t1", "t0"]
        assert not more
        assert transfers.get("t3").error == "interrupted"
        oldest = await transfers.look("t0")
        assert (oldest.transfer.title, oldest.transfer.bytes_written) == ("\udcff", 4)
        assert (oldest.transfer.settings, oldest.transfer.spec) == ({"a": 1}, {"b": [2]})
        assert (oldest.needs_login, oldest.plan.server.host) == (True, "b.example")
        assert [one.path for one in oldest.transfer.files.values()] == ["/t0\udcff"]
        assert [one.path for one in transfers.get("t4").files.values()] == ["/t4\udcff"]
        assert (await transfers.look("x-t1")).transfer.id == "t1"
        again = await transfers.find_request(OWNER, "r-t0")
        assert again is not None
        assert again.id == "t0"
        token, changed = await transfers.changes(OWNER, 20_000)
        assert token > 20_000
        assert "gone" in {one.id for one in changed}
        assert await transfers.changes(Owner("https://x.example", ""), 0) == (token, [])


async def test_a_kill_in_the_middle_of_taking_over_does_it_once_more(folders: Folders) -> None:
    write_version_1(folders.state / "transfers.db", {"t0": "completed"})
    report = FileReport(
        index=0, path="/t0\udcff", remote_path="r", bytes_expected=9, bytes_written=9, state="done"
    )
    add_reports(folders.state / FILE_NAME, [(0, report)])  # so far it had come
    async with manager(folders) as transfers:
        page = await transfers.files(await transfers.look("t0"), limit=10)
        assert page.reports == [report]


@pytest.mark.parametrize(("follows", "links"), [(True, "follow"), (False, "skip")])
async def test_a_plan_of_an_earlier_release_can_still_be_gone_on_with(
    folders: Folders, follows: bool, links: str
) -> None:
    """Fields that are new since have their defaults; `follow_links` is `links` now."""
    async with manager(folders) as transfers:
        transfer = await transfers.submit(request(COMPLETES))
        await reaches(transfer, Status.COMPLETED)
    connection = sqlite3.connect(folders.state / "transfers.db")
    ((keeping,),) = connection.execute("SELECT keeping FROM transfers").fetchall()
    kept = json.loads(keeping)
    plan = kept["plan"]
    policies = {name: plan["policies"][name] for name in ("overwrite", "resume", "create_dir")}
    old = {"transfer_id", "direction", "server", "login", "host_keys", "items", "resume_folder", "rate_kbps"}
    kept["plan"] = {name: plan[name] for name in old} | {"policies": {**policies, "follow_links": follows}}
    connection.execute("UPDATE transfers SET keeping = ?", (json.dumps(kept),))
    connection.commit()
    connection.close()
    async with manager(folders) as transfers:
        assert transfers.get(transfer.id).status is Status.COMPLETED
        assert transfers.plan_of(transfer.id).policies.links == links
