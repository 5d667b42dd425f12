"""Sessions that go over HTTPS because SSH does not get through, against the real transfer server."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connect_helper.server.http import downloads
from connect_helper.server.http.blocks import Blocks
from connect_helper.server.http.bodies import read_json
from connect_helper.server.http.digests import Digests
from connect_helper.server.http.folders import FolderMaking
from connect_helper.server.http.problems import Problem
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.storage.docroot import Docroot
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import Connected
from connect_helper.transfers.plan import (
    Afterwards,
    Download,
    Fallback,
    HostKeys,
    Login,
    Policies,
    Server,
    SessionPlan,
    Upload,
)
from connect_helper.transfers.session import Session
from connect_helper.transfers.state import Status
from connect_helper.transports import http_proof
from connect_helper.transports.https import HttpTransport
from connect_helper.transports.rate import TokenBucket
from tests.support.http_far_end import FarEnd, far_end
from tests.support.managing import Askers, reaches, request
from tests.support.sessions import Listener, download, noise, run, upload
from tests.support.sshd import SshServer
from tests.support.tls import tls_pair


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[FarEnd]:
    """A server of HTTPS alone: where SSH would be, nothing listens."""
    certificates = tmp_path / "tls"
    certificates.mkdir()
    tls, _ = tls_pair(certificates)
    async with _server(tmp_path, tls) as server:
        yield server


@asynccontextmanager
async def _server(folder: Path, tls: ssl.SSLContext | None) -> AsyncIterator[FarEnd]:
    async with far_end(folder / "server", tls=tls) as server:
        yield server


def closed_port() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def plan(
    far: FarEnd, tmp_path: Path, items: list[Upload] | list[Download], token: str, **changes: Any
) -> SessionPlan:
    address = urlsplit(far.url)
    assert address.port is not None
    fallback = {
        "port": address.port,
        "tls": address.scheme == "https",
        "ca_file": str(tmp_path / "tls" / "cert.pem") if address.scheme == "https" else "",
        **changes.pop("fallback", {}),
    }
    fields: dict[str, Any] = {
        "transfer_id": "a-transfer",
        "direction": "send" if isinstance(items[0], Upload) else "receive",
        "server": Server(host="127.0.0.1", port=closed_port(), addresses=("127.0.0.1",)),
        "login": Login.model_validate({"user": "xfer", "token": token}),
        "host_keys": HostKeys(),
        "fallback": Fallback(**fallback),
        "items": tuple(items),
        "destination": "in" if isinstance(items[0], Upload) else "",
        "policies": Policies(**changes.pop("policies", {})),
        "resume_folder": str(tmp_path / "resume"),
    }
    return SessionPlan(**{**fields, **changes})


def folder_with_files(parent: Path) -> Path:
    """Files of several sizes, an empty one, one in a folder of a strange name, an empty folder."""
    tree = parent / "tree"
    (tree / "a ü+%23").mkdir(parents=True)
    (tree / "nothing").mkdir()
    (tree / "empty").touch()
    (tree / "a ü+%23" / "small?.bin").write_bytes(noise(70_000, 1))
    (tree / "large.bin").write_bytes(noise(9_000_000, 2))
    return tree


def content(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder; None stands for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


async def test_a_folder_goes_over_https_when_ssh_does_not_answer(far: FarEnd, tmp_path: Path) -> None:
    tree = folder_with_files(tmp_path)
    listener = Listener()
    ended = await run(
        plan(
            far,
            tmp_path,
            [upload(tree, "in/tree")],
            far.token("send", "in"),
            policies={"preserve_times": True},
        ),
        listener,
    )
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert content(far.docroot / "in" / "tree") == content(tree)
    ours, theirs = tree / "large.bin", far.docroot / "in" / "tree" / "large.bin"
    assert theirs.stat().st_mtime_ns == ours.stat().st_mtime_ns
    assert [event.transport for event in listener.events if isinstance(event, Connected)] == ["http"]
    assert listener.written() == 9_070_000
    assert {report.proof for report in listener.files().values()} == {"digest"}
    assert list((tmp_path / "resume" / "http").iterdir()) == []


async def test_a_folder_asked_for_with_a_token_for_sending_is_refused(far: FarEnd, tmp_path: Path) -> None:
    here = tmp_path / "here"
    folder_with_files(far.docroot)
    here.mkdir()
    items = [download("/tree", here, "tree")]
    ended = await run(plan(far, tmp_path, items, far.token("send", "")))
    assert (ended.outcome, ended.code) == ("failed", "source_denied")
    assert "There is no permission to read /tree" in ended.message
    assert content(here) == {}


async def test_a_folder_comes_over_https_when_ssh_does_not_answer(far: FarEnd, tmp_path: Path) -> None:
    tree, here = folder_with_files(far.docroot), tmp_path / "here"
    here.mkdir()
    listener = Listener()
    ended = await run(
        plan(
            far,
            tmp_path,
            [download("/tree", here, "tree")],
            far.token("receive", "tree"),
            policies={"preserve_times": True, "checksum": "sha-256"},
        ),
        listener,
    )
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert content(here / "tree") == content(tree)
    assert (here / "tree" / "large.bin").stat().st_mtime_ns == (tree / "large.bin").stat().st_mtime_ns
    assert {report.proof for report in listener.files().values()} == {"digest"}


SIZES = {"nothing": 0, "byte": 1, "small": 70_000, "one block": 8 * 1024 * 1024, "large": 41_000_003}


def proofs(listener: Listener) -> dict[str, str]:
    """What was compared of each file that arrived."""
    return {name: report.proof for name, report in listener.files().items() if report.state == "done"}


def fetching(far: FarEnd, tmp_path: Path, **changes: Any) -> SessionPlan:
    """A plan to fetch `tree` into the new folder `here`."""
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    return plan(far, tmp_path, [download("/tree", here, "tree")], far.token("receive", "tree"), **changes)


def tree_of(far: FarEnd, **sizes: int) -> Path:
    tree = far.docroot / "tree"
    tree.mkdir()
    for number, (name, size) in enumerate(sizes.items()):
        (tree / name).write_bytes(noise(size, number))
    return tree


async def test_what_is_fetched_is_compared_though_nobody_asks(far: FarEnd, tmp_path: Path) -> None:
    tree = tree_of(far, **SIZES)
    listener = Listener()
    ended = await run(fetching(far, tmp_path), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert content(tmp_path / "here" / "tree") == content(tree)
    assert proofs(listener) == {name: "digest" if size else "size" for name, size in SIZES.items()}


async def test_what_came_before_a_stop_is_compared_too(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of_blocks(
        self: Digests, who: Any, handle: int, start: int, length: int, *more: Any
    ) -> list[bytes]:
        asked.append((start, length))
        return await real(self, who, handle, start, length, *more)

    asked: list[tuple[int, int]] = []
    real = Digests.of_blocks
    monkeypatch.setattr(Digests, "of_blocks", of_blocks)
    tree_of(far, film=25_000_000)
    listener = Listener()
    session = Session(fetching(far, tmp_path, rate_kbps=100_000), listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 9_000_000)
    session.set_rate(8)
    session.stop()
    assert (await running).outcome == "stopped"
    assert asked == []
    listener = Listener()
    ended = await run(fetching(far, tmp_path), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert proofs(listener) == {"film": "digest"}
    assert asked == [(0, 25_000_000)]


@pytest.mark.parametrize("size", [70_000, 20_000_000])
async def test_what_arrives_damaged_again_and_again_gets_no_name(
    far: FarEnd, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made(self: Digests, *given: Any) -> bytes:
        return bytes(byte ^ 1 for byte in await real(self, *given))

    real = Digests._made
    monkeypatch.setattr(Digests, "_made", made)
    tree_of(far, film=size)
    ended = await run(fetching(far, tmp_path))
    assert (ended.outcome, ended.code) == ("failed", "checksum_mismatch")
    assert not (tmp_path / "here" / "tree" / "film").exists()


async def test_of_a_server_that_tells_no_digests_the_size_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Blocks, "routes", lambda _: [])
    monkeypatch.setattr(downloads, "wanted_digest", lambda _: "")
    tls = tmp_path / "tls"
    tls.mkdir()
    async with _server(tmp_path, tls_pair(tls)[0]) as far:
        tree = tree_of(far, small=70_000, large=9_000_000)
        listener = Listener()
        ended = await run(fetching(far, tmp_path), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert content(tmp_path / "here" / "tree") == content(tree)
    assert proofs(listener) == {"small": "size", "large": "size"}


@pytest.mark.parametrize("trouble", ["too busy", "too slow"])
async def test_a_server_that_tells_no_digest_for_once_fails_no_file(
    far: FarEnd, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of_blocks(*_: Any) -> list[bytes]:
        if trouble == "too slow":
            await asyncio.sleep(600)
        raise Problem(503, "busy", "The server is too busy.")

    monkeypatch.setattr(Digests, "of_blocks", of_blocks)
    monkeypatch.setattr(http_proof, "PATIENCE", 0.02)
    tree_of(far, film=9_000_000)
    listener = Listener()
    ended = await run(fetching(far, tmp_path), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert proofs(listener) == {"film": "size"}


@pytest.mark.parametrize("root", ["in", "/in", "in/2024", "/in/2024/06", "/"])
async def test_files_and_folders_go_where_the_spec_says_whatever_the_tokens_root_is(
    far: FarEnd, tmp_path: Path, root: str
) -> None:
    """The token opens `in`, or all; the spec may ask for a folder further down."""
    tree, film = folder_with_files(tmp_path), tmp_path / "film.bin"
    film.write_bytes(b"the new film")
    (far.docroot / "in").mkdir()
    (far.docroot / "in" / "film.bin").write_bytes(b"another film")
    folder = root.strip("/")
    below = f"{root.rstrip('/')}/" if folder else ""
    token = far.token("send", "in" if folder else "")
    items = [upload(tree, f"{below}tree"), upload(film, f"{below}film.bin")]
    ended = await run(plan(far, tmp_path, items, token, destination=root, policies={"overwrite": "always"}))
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert content(far.docroot / folder / "tree") == content(tree)
    assert (far.docroot / folder / "film.bin").read_bytes() == b"the new film"
    if folder != "in":
        assert (far.docroot / "in" / "film.bin").read_bytes() == b"another film"
        assert not (far.docroot / "in" / "tree").exists()


@pytest.mark.parametrize("root", ["/other", "/", "/inner", ""])
async def test_a_folder_the_token_does_not_open_gets_nothing(far: FarEnd, tmp_path: Path, root: str) -> None:
    tree, film = folder_with_files(tmp_path), tmp_path / "film.bin"
    film.write_bytes(noise(70_000))
    below = f"{root.rstrip('/')}/" if root else ""
    items = [upload(tree, f"{below}tree"), upload(film, f"{below}film.bin")]
    work = plan(far, tmp_path, items, far.token("send", "in"), destination=root)
    ended = await run(work.model_copy(update={"afterwards": Afterwards(remove_files=True)}))
    assert (ended.outcome, ended.code) == ("failed", "target_denied")
    assert [name for name in far.names() if not name.endswith("/")] == []
    assert film.exists()


@pytest.mark.parametrize("overwrite", ["always", "none", "diff", "older", "diff+older"])
async def test_what_is_there_is_replaced_as_the_policy_says(
    far: FarEnd, tmp_path: Path, overwrite: str
) -> None:
    source, there = tmp_path / "a.bin", far.docroot / "in" / "a.bin"
    source.write_bytes(b"new content")
    there.parent.mkdir()
    there.write_bytes(b"old")
    token = far.token("send", "in")
    ended = await run(
        plan(far, tmp_path, [upload(source, "in/a.bin")], token, policies={"overwrite": overwrite})
    )
    assert ended.outcome == "completed"
    kept = overwrite in ("none", "older", "diff+older")  # the one there is younger
    assert there.read_bytes() == (b"old" if kept else b"new content")


@pytest.mark.parametrize("overwrite", ["none", "older", "diff+older"])
async def test_a_file_whose_own_name_looks_unfinished_is_treated_like_others(
    far: FarEnd, tmp_path: Path, overwrite: str
) -> None:
    source, there = tmp_path / "film.partial", far.docroot / "in" / "film.partial"
    source.write_bytes(b"new content")
    there.parent.mkdir()
    there.write_bytes(b"old")  # and younger
    listener = Listener()
    items = [upload(source, "in/film.partial")]
    token = far.token("send", "in")
    ended = await run(plan(far, tmp_path, items, token, policies={"overwrite": overwrite}), listener)
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert [report.state for report in listener.files().values()] == ["skipped"]
    assert there.read_bytes() == b"old"


async def test_a_wrong_token_ends_the_transfer(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    ended = await run(plan(far, tmp_path, [upload(source, "in/a.bin")], "CHT1_wrong"))
    assert (ended.outcome, ended.code, ended.retryable) == ("failed", "auth_failed", False)
    assert "Over SSH: " in ended.message
    assert "Over HTTPS: " in ended.message
    assert far.names() == []


async def test_an_unknown_certificate_is_refused(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    items = [upload(source, "in/a.bin")]
    ended = await run(plan(far, tmp_path, items, far.token("send", "in"), fallback={"ca_file": ""}))
    assert (ended.outcome, ended.code) == ("failed", "certificate_refused")
    assert far.names() == []


async def test_without_permission_there_is_only_ssh(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    allowed = plan(far, tmp_path, [upload(source, "in/a.bin")], far.token("send", "in"))
    ended = await run(allowed.model_copy(update={"fallback": None}))
    assert (ended.outcome, ended.code) == ("failed", "connect_refused")
    assert "HTTPS" not in ended.message


@pytest.mark.parametrize("allowed", [True, False])
async def test_plain_http_only_where_the_user_allows_it(tmp_path: Path, allowed: bool) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"content")
    async with _server(tmp_path, None) as far:
        items = [upload(source, "in/a.bin")]
        ended = await run(
            plan(far, tmp_path, items, far.token("send", "in"), fallback={"plain_allowed": allowed})
        )
        assert ended.outcome == ("completed" if allowed else "failed")
        assert far.names() == (["in/", "in/a.bin"] if allowed else [])
    assert allowed or "switched off" in ended.message


async def test_forced_it_goes_over_https_at_once(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"content")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # would hold an SSH attempt for half a minute
        server = Server(host="127.0.0.1", port=silent.getsockname()[1], addresses=("127.0.0.1",))
        token = far.token("send", "in")
        items = [upload(source, "in/a.bin")]
        ended = await run(plan(far, tmp_path, items, token, server=server, fallback={"forced": True}))
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert ended.outcome == "completed"
    assert (far.docroot / "in" / "a.bin").read_bytes() == b"content"


@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_a_stopped_transfer_goes_on_where_it_was(
    far: FarEnd, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 12_000_000
    here = tmp_path / "here"
    here.mkdir()
    items: list[Upload] | list[Download]
    if direction == "send":
        source, there = here / "a.bin", far.docroot / "in" / "a.bin"
        source.write_bytes(noise(size))
        items, token = [upload(source, "in/a.bin")], far.token("send", "in")
    else:
        source, there = far.docroot / "a.bin", here / "a.bin"
        source.write_bytes(noise(size))
        items, token = [download("/a.bin", here, "a.bin")], far.token("receive", "a.bin")
    work = plan(far, tmp_path, items, token, policies={"checksum": "sha-256"}, rate_kbps=60_000)
    listener = Listener()
    session = Session(work, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    session.set_rate(8)
    session.stop()
    assert (await running).outcome == "stopped"
    before = listener.written()
    assert 0 < before < size
    assert not there.exists()
    moved: list[int] = []

    async def take(_: TokenBucket, amount: int) -> None:
        moved.append(amount)

    monkeypatch.setattr(TokenBucket, "take", take)
    ended = await run(work.model_copy(update={"rate_kbps": None}))
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert there.read_bytes() == source.read_bytes()
    assert 0 < sum(moved) <= size - before
    assert len([name for name in far.names() if not name.endswith("/")]) == 1


async def test_a_source_that_grew_is_sent_anew(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(noise(9_000_000))
    token = far.token("send", "in")
    work = plan(far, tmp_path, [upload(source, "in/a.bin")], token, rate_kbps=60_000)
    listener = Listener()
    session = Session(work, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    session.stop()
    await running
    source.write_bytes(noise(9_000_001, 7))
    items = [upload(source, "in/a.bin")]
    ended = await run(plan(far, tmp_path, items, token))
    assert (ended.outcome, ended.internal_message) == ("completed", "")
    assert (far.docroot / "in" / "a.bin").read_bytes() == source.read_bytes()
    assert far.names() == ["in/", "in/a.bin"]  # the first upload was given up


async def test_what_a_removed_upload_left_on_the_server_goes(far: FarEnd, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(noise(12_000_000))
    work = plan(far, tmp_path, [upload(source, "in/a.bin")], far.token("send", "in"), rate_kbps=60_000)
    listener = Listener()
    session = Session(work, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    session.stop()
    await running
    assert [name for name in far.names() if not name.endswith("/")] != []
    ended = await run(work.model_copy(update={"clean_only": True}))
    assert ended.outcome == "completed"
    assert [name for name in far.names() if not name.endswith("/")] == []
    assert list((tmp_path / "resume" / "http").iterdir()) == []


async def test_a_busy_server_is_left_alone_as_long_as_it_asks_for(far: FarEnd, tmp_path: Path) -> None:
    """Also where SSH was tried before, and both ways are told of in one sentence."""

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "77"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", busy)
    source = tmp_path / "a.bin"
    source.write_bytes(b"content")
    async with TestServer(app) as server:
        there = {"port": server.port, "tls": False, "plain_allowed": True}
        ended = await run(plan(far, tmp_path, [upload(source, "in/a.bin")], "a-token", fallback=there))
    assert (ended.outcome, ended.code, ended.retry_after_s) == ("failed", "connection_lost", 77.0)
    assert "Over SSH: " in ended.message
    assert "Over HTTP: " in ended.message


async def test_ssh_that_refuses_the_login_is_not_gone_around(
    far: FarEnd, tmp_path: Path, sshd: SshServer
) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    server = Server(host="127.0.0.1", port=sshd.port, addresses=("127.0.0.1",))
    keys = HostKeys(trusted=(sshd.host_key_line,))
    items = [upload(source, "in/a.bin")]
    work = plan(far, tmp_path, items, far.token("send", "in"), server=server, host_keys=keys)
    ended = await run(work)
    assert (ended.outcome, ended.code) == ("failed", "auth_failed")
    assert "HTTPS" not in ended.message
    assert far.names() == []


async def test_a_worker_goes_over_https_with_the_users_certificates(
    far: FarEnd, tmp_path: Path, folders: Folders
) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(noise(300_000))
    work = plan(far, tmp_path, [upload(source, "in/a.bin")], far.token("send", "in"))
    assert work.fallback is not None
    bare = work.model_copy(update={"fallback": work.fallback.model_copy(update={"ca_file": ""})})
    preferences = PreferencesStore(folders)
    preferences.change({"certificates_file": str(tmp_path / "tls" / "cert.pem")})
    async with TransferManager(
        folders=folders, preferences=preferences, questions=Askers(), clock=Clock(fraction=lambda: 0.0)
    ) as manager:
        transfer = await manager.submit(replace(request(), plan=bare))
        await reaches(transfer, Status.COMPLETED)
        assert transfer.transport == "http"
    assert (far.docroot / "in" / "a.bin").read_bytes() == source.read_bytes()


def old_set(parent: Path) -> dict[str, int]:
    """A set `set` whose folders have times of their own, in s since the epoch, by their names below it."""
    (parent / "set" / "sub").mkdir(parents=True)
    for name in (".", "sub"):
        (parent / "set" / name / "file").write_text(name)
    times = {"sub": 1_500_000_000, ".": 1_600_000_000}
    for name, time_s in times.items():
        os.utime(parent / "set" / name, (time_s, time_s))
    return times


async def test_folders_keep_their_times(far: FarEnd, tmp_path: Path) -> None:
    times = old_set(tmp_path)
    policies = {"preserve_times": True}
    ended = await run(
        plan(
            far,
            tmp_path,
            [upload(tmp_path / "set", "in/set")],
            far.token("send", "in"),
            policies=policies,
        )
    )
    assert (ended.outcome, ended.message) == ("completed", "")
    there = far.docroot / "in" / "set"
    assert {name: (there / name).stat().st_mtime for name in times} == times


async def test_where_folders_do_not_keep_their_times_it_is_said(
    far: FarEnd, tmp_path: Path, folders: Folders
) -> None:
    old_set(tmp_path)
    far.account(overwrite="deny")  # what is there already may not be changed, as with servers of old
    token = far.token("send", "in")
    work = plan(far, tmp_path, [upload(tmp_path / "set", "in/set")], token, policies={"preserve_times": True})
    preferences = PreferencesStore(folders)
    preferences.change({"certificates_file": str(tmp_path / "tls" / "cert.pem")})
    async with TransferManager(
        folders=folders, preferences=preferences, questions=Askers(), clock=Clock(fraction=lambda: 0.0)
    ) as manager:
        transfer = await manager.submit(replace(request(), plan=work, note="Said before."))
        await reaches(transfer, Status.COMPLETED)
    told = "The times of 2 folders could not be kept on the server; all files are there."
    assert transfer.note == f"Said before. {told}"


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 503])
async def test_a_time_of_a_folder_that_is_refused_fails_nothing(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Whatever the reason, the token's end included: all files are there."""
    times = old_set(tmp_path)

    def utime(*_of: object) -> None:
        raise Problem(status, "no", "No.")

    items = [upload(tmp_path / "set", "in/set")]
    work = plan(far, tmp_path, items, far.token("send", "in"), policies={"preserve_times": True})
    monkeypatch.setattr(Docroot, "utime", utime)
    ended = await run(work)
    assert ended.outcome == "completed", ended.internal_message
    assert (
        ended.message
        == f"The times of {len(times)} folders could not be kept on the server; all files are there."
    )
    assert {"in/set/file", "in/set/sub/file"} <= set(far.names())


def many_folders(parent: Path, count: int) -> None:
    """A set `set` of as many folders, each inside one of ten."""
    for number in range(count):
        (parent / "set" / str(number % 10) / str(number)).mkdir(parents=True)


async def test_times_of_many_folders_are_set_side_by_side_the_deepest_first(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def set_times(self: HttpTransport, path: bytes, *times: int) -> bool:
        nonlocal under_way, most
        under_way, most = under_way + 1, max(most, under_way + 1)
        depths.append(path.count(b"/"))
        await asyncio.sleep(0.01)
        kept = await real(self, path, *times)
        under_way -= 1
        return kept

    under_way = most = 0
    depths: list[int] = []
    real = HttpTransport.set_times
    monkeypatch.setattr(HttpTransport, "set_times", set_times)
    many_folders(tmp_path, 60)
    items = [upload(tmp_path / "set", "in/set")]
    work = plan(far, tmp_path, items, far.token("send", "in"), policies={"preserve_times": True})
    ended = await run(work)
    assert (ended.outcome, ended.message) == ("completed", "")
    assert most == 16
    assert depths == sorted(depths, reverse=True)
    assert len(depths) == 71
    for source in (tmp_path / "set").rglob("*"):
        there = far.docroot / "in" / source.relative_to(tmp_path)
        assert there.stat().st_mtime_ns == source.stat().st_mtime_ns


async def test_a_server_that_knows_no_times_of_folders_is_not_asked_about_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of old ignored the time of a folder that was there."""

    async def make(self: FolderMaking, request: web.Request) -> web.Response:
        nonlocal asked
        asked += "mtime_ns" in await read_json(request)
        await real(self, request)
        return web.json_response({"path": "a", "created": False})

    asked = 0
    real = FolderMaking.make
    monkeypatch.setattr(FolderMaking, "make", make)
    many_folders(tmp_path, 60)
    items = [upload(tmp_path / "set", "in/set")]
    (tmp_path / "tls").mkdir()
    async with _server(tmp_path, tls_pair(tmp_path / "tls")[0]) as old:
        token = old.token("send", "in")
        ended = await run(plan(old, tmp_path, items, token, policies={"preserve_times": True}))
    assert ended.outcome == "completed", ended.internal_message
    assert ended.message.startswith("The times of 71 folders could not be kept on the server")
    assert 0 < asked <= 16


async def test_a_folder_that_may_not_be_changed_takes_no_times_from_the_others(
    far: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def utime(self: Docroot, path: tuple[bytes, ...], *times: int) -> None:
        if path[-1] == b"0":
            raise PermissionError
        real(self, path, *times)

    real = Docroot.utime
    monkeypatch.setattr(Docroot, "utime", utime)
    many_folders(tmp_path, 60)
    items = [upload(tmp_path / "set", "in/set")]
    ended = await run(plan(far, tmp_path, items, far.token("send", "in"), policies={"preserve_times": True}))
    assert ended.outcome == "completed", ended.internal_message
    assert ended.message.startswith("The times of 2 folders could not be kept on the server")
