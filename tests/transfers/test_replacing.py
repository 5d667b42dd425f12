"""Saving what would be replaced, clearing destinations, links as links: both ways, on a real server."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import pytest

from connect_helper.errors import ConnectionLost
from connect_helper.transfers.aftermath import Aftermath
from connect_helper.transfers.job import FileJob, LinkJob, LocalLinkJob, RemoteLinkJob, Work
from connect_helper.transfers.ledger import Ledger, mirrored
from connect_helper.transfers.plan import Afterwards, Download, Upload
from connect_helper.transfers.report import Outcome
from connect_helper.transfers.session import Session
from connect_helper.transports.sftp import SftpTransport
from tests.support.policies import Trip, plant, tree
from tests.support.sessions import download, noise, plan_for, ref, upload
from tests.transfers.test_hiding import encrypting

SAVED = re.compile(r"report\.\d{4}\.\d\d\.\d\d\.\d\d\.\d\d\.\d\d\.\d+\.pdf")


@pytest.mark.parametrize("names", [("proj/a",), ("proj/sub/a",), ("proj/",), ("proj/empty/", "proj/sub/a")])
async def test_a_folder_that_cannot_be_made_does_not_count_beside_the_files_it_was_for(
    trip: Trip, names: tuple[str, ...]
) -> None:
    plant(trip.source, *names)
    plant(trip.target, "taken")
    items: list[Upload] | list[Download]
    if trip.way == "send":
        items = [upload(trip.source / "proj", trip.target / "taken" / "proj")]
        ended = await trip.go(items=items, destination=f"{trip.target}/taken/")
    else:
        items = [download(trip.source / "proj", trip.target, "taken", "proj")]
        ended = await trip.go(items=items)
    failed = [report for report in trip.reports().values() if report.state == "failed"]
    assert len(failed) == trip.listener.totals().files_expected == len(names)
    assert {report.code for report in failed} == {"target_not_folder"}
    assert ended.code == "target_not_folder"
    if len(names) == 1:  # the one thing there is to say
        assert (ended.error_code, ended.message) == (6, failed[0].message)


async def test_a_replaced_file_is_kept_under_a_dated_name(trip: Trip) -> None:
    plant(trip.source, "report.pdf")
    policies = {"save_first": True, "resume": "none"}
    for content in ("first", "second"):
        (trip.target / "report.pdf").write_text(content)
        assert (await trip.go("report.pdf", policies=policies)).outcome == "completed"
    found = tree(trip.target)
    assert found.pop("report.pdf") == "report.pdf"
    assert all(SAVED.fullmatch(name) for name in found)
    assert sorted(found.values()) == ["first", "second"]


@pytest.mark.parametrize(
    "policies",
    [
        {"save_first": True, "resume": "sparse_checksum"},  # counts with resume none only
        {"save_first": False, "resume": "none"},
        {"save_first": True, "resume": "none", "overwrite": "none"},  # nothing is replaced
    ],
)
async def test_nothing_is_saved_otherwise(trip: Trip, policies: dict[str, object]) -> None:
    plant(trip.source, "report.pdf")
    (trip.target / "report.pdf").write_text("there")
    assert (await trip.go("report.pdf", policies=policies)).outcome == "completed"
    assert set(tree(trip.target)) == {"report.pdf"}


async def test_where_a_file_is_kept_after_all_the_unfinished_one_beside_it_goes(trip: Trip) -> None:
    (trip.source / "film").write_bytes(noise(6_000_000))
    policies = {"overwrite": "none"}
    plan = plan_for(trip.sshd, [trip.item("film")], trip.resume, policies=policies, rate_kbps=80_000)
    session = Session(plan, trip.listener)
    running = asyncio.create_task(session.run())
    await trip.listener.until(lambda: trip.listener.written() > 2_000_000)
    session.stop()
    assert (await running).outcome == "stopped"
    assert [path.name for path in trip.target.iterdir()] == ["film.partial"]
    (trip.target / "film").write_text("somebody else was faster")
    assert (await trip.go("film", policies=policies)).outcome == "completed"
    assert trip.reports()["film"].state == "skipped"
    assert tree(trip.target) == {"film": "somebody else was faster"}
    assert list(trip.resume.glob("*.json")) == []


async def test_where_nothing_is_resumed_a_stop_leaves_nothing_unfinished(trip: Trip) -> None:
    (trip.source / "film").write_bytes(noise(6_000_000))
    policies = {"resume": "none"}
    plan = plan_for(trip.sshd, [trip.item("film")], trip.resume, policies=policies, rate_kbps=40_000)
    session = Session(plan, trip.listener)
    running = asyncio.create_task(session.run())
    await trip.listener.until(lambda: trip.listener.written() > 2_000_000)
    assert [path.name for path in trip.target.iterdir()] == ["film.partial"]
    session.stop()
    assert (await running).outcome == "stopped"
    assert tree(trip.target) == {}
    assert (await trip.go("film", policies=policies)).outcome == "completed"
    assert [path.name for path in trip.target.iterdir()] == ["film"]


async def test_surplus_goes_from_the_destination_and_what_is_on_both_sides_stays(trip: Trip) -> None:
    plant(trip.source / "site", "index.html", "sub/page.html", "kind")
    plant(trip.target / "site", "index.html", "old.html", "sub/old.css", "gone/deep/x", "kind/y")
    (trip.target / "site" / "link").symlink_to(trip.target)
    plant(trip.target, "beside")
    ended = await trip.go("site", policies={"delete_first": True, "exclude_patterns": ("kind", "index.html")})
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == {
        "beside",
        "site",
        "site/index.html",
        "site/sub",
        "site/sub/page.html",
        "site/kind",
        "site/kind/y",
    }


async def test_another_name_at_the_destination_finds_nothing_to_delete(trip: Trip) -> None:
    plant(trip.source / "site", "index.html")
    plant(trip.target / "copy", "old.html")
    items = [trip.item("site", as_name="copy")]
    assert (await trip.go(items=items, policies={"delete_first": True})).outcome == "completed"
    assert set(tree(trip.target)) == {"copy", "copy/index.html", "copy/old.html"}


async def test_of_two_sources_for_one_folder_neither_deletes_what_the_other_has(trip: Trip) -> None:
    plant(trip.source / "a" / "site", "one", "kept", "sub/one", "both/kept")
    plant(trip.source / "b" / "site", "two", "both/two")
    (trip.source / "b" / "site" / "sub").symlink_to("both")
    plant(trip.target / "site", "one", "kept", "old", "gone/deep/x", "sub/x", "both/kept", "both/old")
    items = [trip.item(f"{name}/site", as_name="site") for name in "ab"]
    policies = {"delete_first": True, "exclude_patterns": ("kept", "one"), "last_duplicate_wins": True}
    ended = await trip.go(items=items, policies=policies)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target / "site")) == {
        *("one", "two", "kept"),
        *("sub", "sub/x", "sub/two"),  # of one of them a link, behind which nothing is compared
        *("both", "both/kept", "both/two"),
    }


async def test_where_a_link_of_another_source_leads_nothing_is_deleted(trip: Trip) -> None:
    plant(trip.source / "site", "real/kept")
    (trip.source / "site" / "sub").symlink_to("real")
    plant(trip.source / "other" / "sub", "new")
    plant(trip.target / "site", "sub/kept", "old")
    items = [trip.item("other/sub", as_name="site/sub"), trip.item("site")]
    if trip.way == "receive":
        items[0] = download(trip.source / "other/sub", trip.target, "site", "sub")
    policies = {"delete_first": True, "exclude_patterns": ("kept",)}
    ended = await trip.go(items=items, policies=policies)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target / "site")) == {"real", "sub", "sub/kept", "sub/new"}


@pytest.mark.parametrize("name", ["site/extra", "site/sub/extra", "site/sub/site"])
async def test_what_goes_into_a_compared_folder_for_another_source_stays_there(trip: Trip, name: str) -> None:
    plant(trip.source / "site", "index.html")
    plant(trip.source / "other" / "site", "kept", "new")
    plant(trip.target / name, "kept", "old")
    plant(trip.target / "site", "old")
    items = [trip.item("other/site", as_name=name), trip.item("site")]
    if trip.way == "receive":
        items[0] = download(trip.source / "other/site", trip.target, *name.split("/"))
    policies = {"delete_first": True, "exclude_patterns": ("kept",)}
    ended = await trip.go(items=items, policies=policies)
    assert ended.outcome == "completed", ended.message
    compared = name.endswith("/site")
    assert {path.name for path in (trip.target / name).iterdir()} == {"kept", "new"} | (
        set() if compared else {"old"}
    )
    assert not (trip.target / "site" / "old").exists()


@pytest.mark.parametrize("name", ["kept.partial", "kept.age"])
async def test_the_unfinished_and_the_encrypted_file_of_another_source_stay(trip: Trip, name: str) -> None:
    plant(trip.source / "site", "index.html")
    plant(trip.source, "other/kept")
    plant(trip.target / "site", name, "old")
    items = [trip.item("other/kept", as_name="site/kept"), trip.item("site")]
    if trip.way == "receive":
        items[0] = download(trip.source / "other/kept", trip.target, "site", "kept")
    more = encrypting(trip.sshd) if name.endswith(".age") else {}
    policies = {"delete_first": True, "exclude_patterns": ("kept",)}
    ended = await trip.go(items=items, policies=policies, **more)
    assert ended.outcome == "completed", ended.message
    assert (trip.target / "site" / name).exists()
    assert not (trip.target / "site" / "old").exists()


async def test_deleting_happens_once_in_a_transfer(trip: Trip) -> None:
    plant(trip.source / "site", "index.html")
    plant(trip.target / "site", "old.html")
    ledger = Ledger(trip.resume, "a-transfer")
    ledger.open()
    ledger.add(mirrored())
    ledger.close(completed=False)
    assert (await trip.go("site", policies={"delete_first": True})).outcome == "completed"
    assert (trip.target / "site" / "old.html").exists()


async def test_without_the_policy_surplus_stays(trip: Trip) -> None:
    plant(trip.source / "site", "index.html")
    plant(trip.target / "site", "old.html")
    assert (await trip.go("site")).outcome == "completed"
    assert (trip.target / "site" / "old.html").exists()


# Links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("links", "arrived"),
    [
        ("follow", {"proj": "/", "proj/real": "proj/real", "proj/link": "proj/real"}),
        ("copy", {"proj": "/", "proj/real": "proj/real", "proj/link": "-> real"}),
        ("copy+force", {"proj": "/", "proj/real": "proj/real", "proj/link": "-> real"}),
        ("skip", {"proj": "/", "proj/real": "proj/real"}),
    ],
)
async def test_what_becomes_of_a_link(trip: Trip, links: str, arrived: dict[str, str]) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    ended = await trip.go("proj", policies={"links": links})
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == arrived
    assert trip.reports()["link"].state == ("skipped" if links == "skip" else "done")


@pytest.mark.parametrize(
    ("links", "there", "stays"),
    [
        ("copy", "file", True),
        ("copy", "link", True),
        ("copy", "folder", True),
        ("copy+force", "file", False),
        ("copy+force", "link", False),
        ("copy+force", "folder", True),
        ("copy+force", "folder_link", True),
    ],
)
async def test_what_a_copied_link_replaces(trip: Trip, links: str, there: str, stays: bool) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    plant(trip.target, "proj/sub/x")
    target = trip.target / "proj" / "link"
    if there == "file":
        target.write_text("there")
    elif there == "folder":
        target.mkdir()
    else:
        target.symlink_to("sub" if there == "folder_link" else "nowhere")
    before = tree(trip.target / "proj")["link"]
    ended = await trip.go("proj", policies={"links": links})
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target / "proj")["link"] == (before if stays else "-> real")
    assert trip.reports()["link"].state == ("skipped" if stays else "done")


@pytest.mark.parametrize("there", ["file", "link", "folder"])
async def test_a_copied_link_leaves_what_has_the_name_it_would_have_meanwhile(trip: Trip, there: str) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    plant(trip.target, "proj/link")
    theirs = trip.target / "proj" / "link.partial"
    if there == "link":
        theirs.symlink_to("real")
    elif there == "folder":
        theirs.mkdir()
    else:
        theirs.write_text("theirs")
    before = tree(trip.target)["proj/link.partial"]
    ended = await trip.go("proj", policies={"links": "copy+force"})
    assert ended.outcome == "completed", ended.message
    arrived = {"proj": "/", "proj/link": "-> real", "proj/real": "proj/real"}
    assert tree(trip.target) == arrived | {"proj/link.partial": before}


FORCED: dict[str, Any] = {"links": "copy+force"}


async def killed_over_a_link(trip: Trip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a session that ends where a link is to get its name."""

    def lost(*_: object, **__: object) -> None:
        raise ConnectionLost("The line broke.")

    with monkeypatch.context() as during:
        during.setattr(SftpTransport, "publish", lost)
        during.setattr(os, "rename", lost)
        assert (await trip.go("proj", policies=FORCED)).code == "connection_lost"


async def test_a_link_that_a_session_was_killed_over_is_made_by_the_next(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had its name for the meantime still, and was in its own way for ever."""
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    plant(trip.target, "proj/link")

    await killed_over_a_link(trip, monkeypatch)
    assert tree(trip.target)["proj/link.partial"] == "-> real"
    ended = await trip.go("proj", policies=FORCED)
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == {"proj": "/", "proj/link": "-> real", "proj/real": "proj/real"}


@pytest.mark.parametrize("links", ["copy", "copy+force"])
async def test_a_link_is_done_and_not_skipped_where_an_earlier_session_made_it(
    trip: Trip, links: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a skipped one its source stayed, too."""
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    wanted: dict[str, Any] = {"afterwards": Afterwards(remove_files=True), "policies": {"links": links}}

    aftermath, filed = Aftermath.file, asyncio.Event()

    async def lost(self: Aftermath, work: Work, job: FileJob | LinkJob, outcome: Outcome) -> str:
        if isinstance(job, RemoteLinkJob | LocalLinkJob):
            await filed.wait()  # what is broken off while it gets its name stays at its source
            raise ConnectionLost("The line broke.")
        try:
            return await aftermath(self, work, job, outcome)
        finally:
            filed.set()

    with monkeypatch.context() as during:
        during.setattr(Aftermath, "file", lost)
        async with asyncio.timeout(30):
            assert (await trip.go("proj", **wanted)).code == "connection_lost"
    assert tree(trip.target)["proj/link"] == "-> real"
    ended = await trip.go("proj", **wanted)
    assert ended.outcome == "completed", ended.message
    assert trip.reports()["link"].state == "done"
    assert tree(trip.source) == {"proj": "/"}


async def test_a_file_is_not_written_through_a_link_that_a_session_was_killed_over(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link had the name of its unfinished file, and led to another file of the destination."""
    plant(trip.source, "proj/link", "proj/real")
    (trip.source / "proj" / "link").unlink()
    (trip.source / "proj" / "link").symlink_to("real")
    plant(trip.target, "proj/link")

    await killed_over_a_link(trip, monkeypatch)
    (trip.source / "proj" / "link").unlink()
    (trip.source / "proj" / "link").write_bytes(b"a file by now")
    ended = await trip.go("proj", policies=FORCED)
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == tree(trip.source) | {"proj/link.partial": "-> real"}


@pytest.mark.parametrize("content", ["/etc/passwd", "../beside", "sub/../../beside", "../../.."])
async def test_a_link_that_leads_out_is_not_made_on_this_machine(trip: Trip, content: str) -> None:
    plant(trip.source, "proj/real", "beside")
    (trip.source / "proj" / "link").symlink_to(content)
    ended = await trip.go("proj", policies={"links": "copy"})
    if trip.way == "send":  # a server gets the link as it is
        assert tree(trip.target)["proj/link"] == f"-> {content}"
    else:
        assert (ended.outcome, trip.reports()["link"].code) == ("failed", "target_denied")
        assert set(tree(trip.target)) == {"proj", "proj/real"}


async def test_links_to_folders_are_copied_as_links(trip: Trip) -> None:
    plant(trip.source, "proj/sub/x", "proj/deep/er/y")
    (trip.source / "proj" / "deep" / "link").symlink_to("../sub")
    assert (await trip.go("proj", policies={"links": "copy"})).outcome == "completed"
    assert tree(trip.target) == tree(trip.source)


@pytest.mark.parametrize(
    ("content", "links", "arrived", "state"),
    [
        ("real", "follow", "proj/real", "done"),
        ("real", "copy", "-> real", "done"),
        ("real", "copy+force", "-> real", "done"),
        ("real", "skip", None, "skipped"),
        ("dir", "copy", "-> dir", "done"),
        ("dir", "skip", None, "skipped"),
        ("nowhere", "copy", "-> nowhere", "done"),
        ("link", "copy", "-> link", "done"),
    ],
)
async def test_a_link_that_is_a_source_itself_is_treated_like_any_other(
    trip: Trip, content: str, links: str, arrived: str | None, state: str
) -> None:
    plant(trip.source, "proj/real", "proj/dir/x")
    (trip.source / "proj" / "link").symlink_to(content)
    ended = await trip.go(items=[_below(trip, "link")], policies={"links": links})
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == ({} if arrived is None else {"link": arrived})
    assert trip.reports()["link"].state == state


@pytest.mark.parametrize("links", ["follow", "copy", "copy+force", "skip"])
async def test_a_link_above_a_source_leads_to_it_whatever_becomes_of_links(trip: Trip, links: str) -> None:
    plant(trip.source, "proj/dir/x")
    (trip.source / "proj" / "link").symlink_to("dir")
    ended = await trip.go(items=[_below(trip, "link", "x")], policies={"links": links})
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == {"x": "proj/dir/x"}


def _below(trip: Trip, *names: str) -> Upload | Download:
    """The item that takes something below the folder "proj", which alone was granted here."""
    if trip.way == "send":
        return Upload(source=ref(trip.source / "proj", *names), target=str(trip.target / names[-1]))
    return download(trip.source.joinpath("proj", *names), trip.target, names[-1])


async def test_links_that_lead_nowhere_are_left_out(trip: Trip) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "nowhere").symlink_to("missing")
    (trip.source / "proj" / "circle").symlink_to("circle")
    ended = await trip.go("proj", policies={"older_than_s": 1.0})
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == {"proj": "/", "proj/real": "proj/real"}
    found = {name: (report.state, report.code) for name, report in trip.reports().items()}
    assert found == {"real": ("done", ""), "nowhere": ("skipped", "link"), "circle": ("skipped", "link")}
