"""Uploads to a tus server that others wrote: it joins nothing, compares nothing, and knows no folders."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import ConnectError
from connect_helper.transfers.plan import Fallback, HostKeys, Login, Policies, Server, SessionPlan, Upload
from connect_helper.transfers.session import Session
from connect_helper.transports import http_connection
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import Listener, noise, run, upload
from tests.support.transports import sending

SCRIPT = Path(__file__).with_name("tus_server.mjs")
TOKEN = "a-token"
NODE = (20, 19)  # what @tus/server 2 needs, more than the other packages


@dataclass(frozen=True, slots=True)
class Foreign:
    """The running server; `done` holds what it has whole."""

    port: int
    folder: Path

    @property
    def done(self) -> Path:
        return self.folder / "done"

    def unfinished(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "unfinished").iterdir() if not path.suffix)


@pytest.fixture(scope="module", autouse=True)
def node_is_new() -> None:
    told = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
    major, minor, _ = told.strip().removeprefix("v").split(".")
    if (int(major), int(minor)) < NODE:
        pytest.skip(f"@tus/server needs Node.js {NODE[0]}.{NODE[1]}, here is {told}")


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Foreign]:
    folder = tmp_path / "foreign"
    process = await asyncio.create_subprocess_exec(
        "node", SCRIPT, folder, TOKEN, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            port = int(await process.stdout.readline())
        yield Foreign(port, folder)
    finally:
        process.terminate()
        await process.wait()


def plan(port: int, tmp_path: Path, items: list[Upload], token: str = TOKEN, **changes: Any) -> SessionPlan:
    """Over HTTP at once: there is no SSH server in this story."""
    policies = Policies(**changes.pop("policies", {}))
    return SessionPlan(
        transfer_id="a-transfer",
        direction="send",
        server=Server(host="127.0.0.1", port=9, addresses=("127.0.0.1",)),
        login=Login.model_validate({"user": "xfer", "token": token}),
        host_keys=HostKeys(),
        fallback=Fallback(port=port, tls=False, forced=True, plain_allowed=True),
        items=tuple(items),
        destination="in",
        policies=policies,
        resume_folder=str(tmp_path / "resume"),
        **changes,
    )


@pytest.mark.parametrize("size", [0, 1, 70_000, 9_000_001])
async def test_files_arrive_under_their_names(
    foreign: Foreign, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)  # far or near: one that joins nothing gets one stream
    source = tmp_path / "fi lm ä.bin"
    source.write_bytes(noise(size))
    listener = Listener()
    items = [upload(source, "in/fi lm ä.bin")]
    ended = await run(plan(foreign.port, tmp_path, items, policies={"checksum": "sha-256"}), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert (foreign.done / "fi lm ä.bin").read_bytes() == source.read_bytes()
    assert foreign.unfinished() == []
    (report,) = listener.files().values()
    assert (report.proof, report.digest) == ("size", "")  # it is not said that anything was compared


async def test_a_line_that_breaks_is_gone_on_with(foreign: Foreign, tmp_path: Path) -> None:
    """In one session: what was confirmed is not sent again."""
    content, partial = noise(9_000_000), b"in/a.partial"
    async with FaultProxy("127.0.0.1", foreign.port) as proxy:
        proxy.cut_after = 5_000_000
        for _ in range(2):
            async with open_http(proxy.port, TOKEN, tmp_path, sends=True, root=b"in") as transport:
                item, _counts = sending(content, partial)
                item.target = b"in/a"
                there = await transport.unfinished(partial)
                if there is not None:
                    assert there.size >= 4 * 1024 * 1024
                    item.offset = there.size
                    item.hashes.feed(content[: there.size])
                try:
                    await transport.send(item)
                except ConnectError:
                    assert there is None
                    continue
                await transport.publish(partial, b"in/a", "replace")
        assert proxy.up < len(content) + 5_000_000
    assert (foreign.done / "a").read_bytes() == content


async def test_a_later_session_begins_anew_where_nothing_proves_what_is_there(
    foreign: Foreign, tmp_path: Path
) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(noise(9_000_000))
    work = plan(foreign.port, tmp_path, [upload(source, "in/a.bin")], rate_kbps=60_000)
    listener = Listener()
    session = Session(work, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    session.stop()
    assert (await running).outcome == "stopped"
    assert len(foreign.unfinished()) == 1
    ended = await run(work.model_copy(update={"rate_kbps": None}))
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert (foreign.done / "a.bin").read_bytes() == source.read_bytes()
    assert foreign.unfinished() == []  # the first one was given up


async def test_folders_are_refused_by_name(foreign: Foreign, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.bin").write_bytes(b"x")
    ended = await run(plan(foreign.port, tmp_path, [upload(tree, "in/tree")]))
    assert ended.outcome == "failed"
    assert "no folders" in ended.message
    assert list(foreign.done.iterdir()) == []


async def test_that_it_keeps_no_times_of_folders_is_said(foreign: Foreign, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.bin").write_bytes(b"x")
    ended = await run(plan(foreign.port, tmp_path, [upload(tree, "in")], policies={"preserve_times": True}))
    assert ended.outcome == "completed"
    assert ended.message.startswith("The time of 1 folder could not be kept")


async def test_a_wrong_token_is_refused(foreign: Foreign, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    ended = await run(plan(foreign.port, tmp_path, [upload(source, "in/a.bin")], "wrong"))
    assert (ended.outcome, ended.code) == ("failed", "auth_failed")
    assert list(foreign.done.iterdir()) == []
