"""Transfers of several accounts that log in under one name, with tokens: none forgets what another left.

Nobody can tell from a token whose it is, and one transfer may get another token in the middle.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from connect_helper.transfers.plan import SessionPlan
from tests.support.http_far_end import FarEnd, far_end
from tests.support.sessions import noise, plan_for, run, stopped, upload
from tests.support.sshd import PasswordServer

SIZE = 20_000_000


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "http") as server:
        yield server


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(noise(SIZE))
    return path


def plan(http: FarEnd, film: Path, user: str, transfer_id: str) -> SessionPlan:
    """An upload of `user`, over HTTP; all come to one server under one login name."""
    nowhere = PasswordServer()  # SSH is not tried
    nowhere.port = 1
    port = int(http.url.rpartition(":")[2])
    raw = plan_for(nowhere, [upload(film, "in/film")], film.parent / "resume", destination="in").model_dump()
    raw["transfer_id"] = transfer_id
    raw["rate_kbps"] = 40_000
    raw["fallback"] = {"port": port, "tls": False, "forced": True, "plain_allowed": True}
    raw["login"] = {"user": "xfer", "token": http.token("send", "in", user=user)}
    return SessionPlan.model_validate(raw)


async def goes_on_at(work: SessionPlan) -> int:
    return await stopped(work.model_copy(update={"rate_kbps": 8}), lambda heard: heard.written() > 0)


async def completed(work: SessionPlan) -> None:
    ended = await run(work.model_copy(update={"rate_kbps": None}))
    assert (ended.outcome, ended.internal_message) == ("completed", "")


def nothing_left(http: FarEnd, film: Path) -> None:
    assert [path.name for path in (film.parent / "resume" / "http").iterdir()] == []
    for root in (http.docroot, http.docroot.with_name("bob")):
        assert [path.name for path in root.rglob("*") if path.is_file()] == ["film"]


async def test_another_account_between_leaves_an_upload_to_go_on_with(http: FarEnd, film: Path) -> None:
    ann, bob = plan(http, film, "ann", "one"), plan(http, film, "bob", "two")
    await stopped(ann, lambda heard: heard.written() > 12_000_000)
    await stopped(bob, lambda heard: heard.written() > 6_000_000)
    assert await goes_on_at(ann) > 10_000_000
    assert 4_000_000 < await goes_on_at(bob) < 10_000_000
    await completed(bob)
    assert await goes_on_at(ann) > 10_000_000
    await completed(ann)
    nothing_left(http, film)
    assert list((film.parent / "resume").glob("*.json")) == []


async def test_another_transfer_of_the_account_goes_on_with_an_upload(http: FarEnd, film: Path) -> None:
    await stopped(plan(http, film, "ann", "one"), lambda heard: heard.written() > 12_000_000)
    other = plan(http, film, "ann", "two")
    assert await goes_on_at(other) > 10_000_000
    await completed(other)
    assert [path.name for path in (film.parent / "resume" / "http").iterdir()] == []
    assert [name for name in http.names() if not name.endswith("/")] == ["in/film"]


async def test_cleaning_up_for_one_account_leaves_the_others_alone(http: FarEnd, film: Path) -> None:
    ann, bob = plan(http, film, "ann", "one"), plan(http, film, "bob", "two")
    await stopped(ann, lambda heard: heard.written() > 12_000_000)
    await stopped(bob, lambda heard: heard.written() > 6_000_000)
    await completed(bob.model_copy(update={"clean_only": True}))
    assert await goes_on_at(ann) > 10_000_000


async def test_over_ssh_a_record_of_another_account_removes_nothing(film: Path) -> None:
    """Behind one login name and key are two folders, by turns."""
    folder = film.parent / "servers"
    for name in ("ann", "bob"):
        (folder / name / "in").mkdir(parents=True)
    now = ["ann"]

    def files(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(folder / now[0]))

    async with PasswordServer(sftp=files) as server:
        items = [upload(film, "in/film")]
        ann, bob = (
            plan_for(server, items, film.parent / "resume", transfer_id=name, rate_kbps=40_000)
            for name in ("one", "two")
        )
        await stopped(ann, lambda heard: heard.written() > 12_000_000)
        now[0] = "bob"
        theirs = folder / "bob" / "in" / "film.partial"
        theirs.write_bytes(noise(15_000_000, 7))
        await stopped(bob, lambda heard: heard.written() > 6_000_000)
        assert theirs.read_bytes() == noise(15_000_000, 7)
        now[0] = "ann"
        assert await goes_on_at(ann) > 10_000_000
        now[0] = "bob"
        assert 4_000_000 < await goes_on_at(bob) < 10_000_000
        await completed(bob)
        now[0] = "ann"
        assert await goes_on_at(ann) > 10_000_000
        await completed(ann)
    assert list((film.parent / "resume").glob("*.json")) == []
    assert sorted(path.name for path in (folder / "bob" / "in").iterdir()) == ["film", "film.partial"]
    assert [path.name for path in (folder / "ann" / "in").iterdir()] == ["film"]
