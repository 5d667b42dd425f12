"""One transfer over SSH and over HTTP in turn: what one of them left, the other neither uses nor forgets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connect_helper.spec.names import partial_name
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.session import Session
from connect_helper.transports.base import Proof
from connect_helper.transports.resume import OVER_HTTP, RecordStore
from tests.support.http_far_end import FarEnd, far_end
from tests.support.sessions import Listener, noise, plan_for, run, stopped, upload
from tests.support.sshd import PasswordServer

SIZE = 20_000_000
QUICK = 40_000  # kbit/s
SLOW = 5_000
PARTIAL = os.fsdecode(partial_name(b"film"))


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "http") as server:
        yield server


@pytest.fixture
async def ssh() -> AsyncIterator[PasswordServer]:
    async with PasswordServer() as server:
        (server.root / "in").mkdir()
        yield server


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(noise(SIZE))
    return path


def over_ssh(ssh: PasswordServer, film: Path, **changes: Any) -> SessionPlan:
    items = [upload(film, "in/film")]
    return plan_for(ssh, items, film.parent / "resume", destination="in", **changes)


def over_http(work: SessionPlan, http: FarEnd, **changes: Any) -> SessionPlan:
    raw = work.model_dump() | changes
    port = int(http.url.rpartition(":")[2])
    raw["fallback"] = {"port": port, "tls": False, "forced": True, "plain_allowed": True}
    raw["login"] = {"user": work.login.user, "token": http.token("send", "in")}
    return SessionPlan.model_validate(raw)


async def completed(work: SessionPlan) -> None:
    ended = await run(work.model_copy(update={"rate_kbps": None}))
    assert (ended.outcome, ended.internal_message) == ("completed", "")


async def goes_on_at(work: SessionPlan) -> int:
    """How many bytes a session that hardly moves any begins with."""
    listener = Listener()
    session = Session(work.model_copy(update={"rate_kbps": 8}), listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    session.stop()
    await running
    return listener.written()


def in_folder(ssh: PasswordServer) -> list[str]:
    return sorted(path.name for path in (ssh.root / "in").iterdir())


def somebody_elses(ssh: PasswordServer) -> Path:
    path = ssh.root / "in" / PARTIAL
    path.write_bytes(noise(9_000_000, 7))
    return path


def records(work: SessionPlan) -> list[Path]:
    return sorted(Path(work.resume_folder).glob("*.json"))


def under_old_key(work: SessionPlan) -> None:
    """Name the records as versions did that had one key for both ways."""
    for path in records(work):
        path.rename(path.with_stem(path.stem.replace(OVER_HTTP, "")))


@pytest.mark.parametrize("resume", ["sparse_checksum", "attributes"])
async def test_a_file_that_changed_between_the_ways_is_not_put_together_of_two(
    resume: str, ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, policies={"resume": resume}, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 9_000_000)
    with film.open("r+b") as file:
        file.seek(100_000)
        file.write(b"VERSION 2")
    await stopped(over_http(work, http), lambda heard: heard.written() > 4_500_000)
    await completed(work)
    assert (ssh.root / "in" / "film").read_bytes() == film.read_bytes()
    assert in_folder(ssh) == ["film"]


@pytest.mark.parametrize("resume", ["sparse_checksum", "attributes"])
@pytest.mark.parametrize("earlier", [False, True])
async def test_what_was_begun_over_http_makes_nobodys_file_ours_over_ssh(
    resume: str, earlier: bool, ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, policies={"resume": resume}, rate_kbps=QUICK)
    await stopped(over_http(work, http), lambda heard: heard.written() > 3_000_000)
    if earlier:
        under_old_key(work)
    theirs = somebody_elses(ssh)
    await completed(work)
    assert theirs.read_bytes() == noise(9_000_000, 7)
    assert (ssh.root / "in" / "film").read_bytes() == film.read_bytes()
    assert [OVER_HTTP in path.stem for path in records(work)] == [True]  # HTTP may still go on


async def test_a_session_killed_over_http_makes_nobodys_file_ours_over_ssh(
    ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, rate_kbps=SLOW)
    await stopped(over_http(work, http), lambda heard: heard.written() > 100_000)
    for path in records(work):
        path.unlink()
    theirs = somebody_elses(ssh)
    await completed(work)
    assert theirs.read_bytes() == noise(9_000_000, 7)
    assert (ssh.root / "in" / "film").read_bytes() == film.read_bytes()


@pytest.mark.parametrize("small", [False, True])
async def test_what_was_begun_over_ssh_goes_with_the_next_session_over_ssh(
    small: bool, ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 4_000_000)
    assert in_folder(ssh) == [PARTIAL]
    await completed(over_http(work, http))
    assert [OVER_HTTP in path.stem for path in records(work)] == [False]
    if small:
        film.write_bytes(b"a trailer")
    await completed(over_ssh(ssh, film, transfer_id="another"))
    assert in_folder(ssh) == ["film"]
    assert records(work) == []


async def test_what_was_begun_over_ssh_goes_when_the_transfer_is_removed(
    ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 4_000_000)
    await completed(over_http(work, http))
    await completed(work.model_copy(update={"clean_only": True}))
    assert in_folder(ssh) == []
    assert records(work) == []


@pytest.mark.parametrize("between", [False, True])
async def test_what_an_earlier_version_noted_of_http_is_gone_on_from_over_http(
    between: bool, ssh: PasswordServer, http: FarEnd, film: Path
) -> None:
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(over_http(work, http), lambda heard: heard.written() > 9_000_000)
    under_old_key(work)
    if between:
        await stopped(work, lambda heard: heard.written() > 2_000_000)
        assert len(records(work)) == 2
    assert await goes_on_at(over_http(work, http)) > 8_000_000
    await completed(over_http(work, http))
    assert (http.docroot / "in" / "film").read_bytes() == film.read_bytes()
    assert len(records(work)) == between


async def test_each_way_goes_on_from_its_own(ssh: PasswordServer, http: FarEnd, film: Path) -> None:
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 9_000_000)
    await stopped(over_http(work, http), lambda heard: heard.written() > 4_000_000)
    assert await goes_on_at(work) > 8_000_000
    await completed(work)
    assert (ssh.root / "in" / "film").read_bytes() == film.read_bytes()


@pytest.mark.parametrize("size", [9_000_000, 3_000_000, 20_000_000])
async def test_a_partial_file_that_somebody_replaced_is_theirs(
    size: int, ssh: PasswordServer, film: Path
) -> None:
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 8_500_000)
    theirs = ssh.root / "in" / PARTIAL
    theirs.unlink()
    theirs.write_bytes(noise(size, 7))
    await completed(work)
    assert theirs.read_bytes() == noise(size, 7)
    assert (ssh.root / "in" / "film").read_bytes() == film.read_bytes()
    assert in_folder(ssh) == ["film", PARTIAL]


async def test_a_record_of_nothing_confirmed_leaves_no_second_partial_file(
    ssh: PasswordServer, film: Path
) -> None:
    """The server has some of it, and never came to say so."""
    work = over_ssh(ssh, film, rate_kbps=QUICK)
    await stopped(work, lambda heard: heard.written() > 4_000_000)
    store, (path,) = RecordStore(Path(work.resume_folder)), records(work)
    record = store.load(path.stem)
    assert record is not None
    store.save(path.stem, replace(record, proof=Proof()))
    await completed(work)
    assert in_folder(ssh) == ["film"]
