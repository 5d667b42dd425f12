"""One download over HTTP and over SSH in turn: HTTP tells times to the nanosecond, SFTP in whole seconds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from connect_helper.transfers.messages import Ended, Progress
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.session import Session
from tests.support.http_far_end import FarEnd, far_end
from tests.support.sessions import Listener, download, noise, plan_for, run
from tests.support.sshd import PasswordServer

SIZE = 20_000_000
MTIME_NS = 1_700_000_000_123_456_789
ENOUGH = 12_000_000


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "http") as server:
        yield server


@pytest.fixture
async def ssh(http: FarEnd) -> AsyncIterator[PasswordServer]:
    """The same files over SSH."""
    docroot = os.fsencode(http.docroot)
    async with PasswordServer(sftp=lambda channel: asyncssh.SFTPServer(channel, chroot=docroot)) as server:
        yield server


@pytest.fixture
def near(tmp_path: Path) -> Path:
    folder = tmp_path / "near"
    folder.mkdir()
    return folder


def lay_out(http: FarEnd) -> None:
    (http.docroot / "set").mkdir()
    for name, content in (("a", b"small a"), ("film", noise(SIZE))):
        path = http.docroot / "set" / name
        path.write_bytes(content)
        os.utime(path, ns=(MTIME_NS, MTIME_NS))


def plans(ssh: PasswordServer, http: FarEnd, near: Path, **changes: Any) -> tuple[SessionPlan, SessionPlan]:
    """The same transfer over SSH and over HTTP."""
    items = [download(f"set/{name}", near, name) for name in ("a", "film")]
    work = plan_for(ssh, items, near.parent / "resume", **changes)
    raw = work.model_dump()
    port = int(http.url.rpartition(":")[2])
    raw["fallback"] = {"port": port, "tls": False, "forced": True, "plain_allowed": True}
    raw["login"] = {"user": work.login.user, "token": http.token("receive", "set/a", "set/film")}
    return work, SessionPlan.model_validate(raw)


async def stopped(
    work: SessionPlan, when: Callable[[Listener], bool], rate_kbps: int = 40_000
) -> tuple[Ended, Listener]:
    listener = Listener()
    session = Session(work.model_copy(update={"rate_kbps": rate_kbps}), listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: when(listener))
    session.stop()
    return await running, listener


def film_bytes(listener: Listener) -> int:
    """How much of the film was there when anything of it was told first."""
    written = [one.bytes_written for one in listener.events if isinstance(one, Progress)]
    return next(count for count in written if count > 100)


@pytest.mark.parametrize("first", ["http", "ssh"])
@pytest.mark.parametrize("resume", ["sparse_checksum", "attributes"])
async def test_a_download_goes_on_over_the_other_way(
    first: str, resume: str, ssh: PasswordServer, http: FarEnd, near: Path
) -> None:
    lay_out(http)
    one, other = plans(ssh, http, near, policies={"resume": resume, "preserve_times": True})
    if first == "http":
        one, other = other, one
    await stopped(one, lambda heard: heard.written() > ENOUGH)
    _, heard = await stopped(other, lambda heard: heard.written() > 100, rate_kbps=8)
    assert film_bytes(heard) > ENOUGH // 2
    assert (await run(one)).outcome == "completed"
    assert (near / "film").read_bytes() == noise(SIZE)
    known = MTIME_NS if first == "http" else MTIME_NS // 10**9 * 10**9
    assert (near / "film").stat().st_mtime_ns == known


@pytest.mark.parametrize("first", ["http", "ssh"])
async def test_what_was_fetched_whole_is_not_fetched_again_over_the_other_way(
    first: str, ssh: PasswordServer, http: FarEnd, near: Path
) -> None:
    lay_out(http)
    one, other = plans(ssh, http, near, policies={"existing": "keep_both", "resume": "none"})
    if first == "http":
        one, other = other, one
    await stopped(one, lambda heard: heard.written() > ENOUGH)
    _, heard = await stopped(other, lambda heard: heard.written() > ENOUGH)
    assert heard.files()["a"].earlier
    assert sorted(path.name for path in near.iterdir() if path.name.startswith("a")) == ["a"]


async def test_another_content_of_the_same_second_is_fetched_again_where_times_tell(
    ssh: PasswordServer, http: FarEnd, near: Path
) -> None:
    lay_out(http)
    _, work = plans(ssh, http, near, policies={"resume": "none"})
    await stopped(work, lambda heard: heard.written() > ENOUGH)
    for name, content in (("a", b"other a"), ("film", noise(SIZE, 7))):
        path = http.docroot / "set" / name
        path.write_bytes(content)
        os.utime(path, ns=(MTIME_NS + 1, MTIME_NS + 1))
    assert (await run(work)).outcome == "completed"
    assert (near / "a").read_bytes() == b"other a"
    assert (near / "film").read_bytes() == noise(SIZE, 7)
