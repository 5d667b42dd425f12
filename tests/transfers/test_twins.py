"""Names of one upload that differ in case or composition only, on servers that take them for one or not."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import Afterwards, SessionPlan, Upload
from connect_helper.transfers.session import Session
from tests.support.http_far_end import FarEnd, far_end
from tests.support.sessions import Listener, noise, plan_for, run, upload
from tests.support.sshd import PasswordServer, SshServer

COMPOSED, APART = unicodedata.normalize("NFC", "é.txt"), unicodedata.normalize("NFD", "é.txt")


class Blind(asyncssh.SFTPServer):
    """Takes names for one that differ in case or composition, as macOS does."""

    def map_path(self, path: bytes) -> bytes:
        plain = unicodedata.normalize("NFC", os.fsdecode(path)).lower()
        return super().map_path(os.fsencode(plain))


class AsciiBlind(asyncssh.SFTPServer):
    """Takes names for one that differ in the case of a to z only, as some file systems do."""

    def map_path(self, path: bytes) -> bytes:
        return super().map_path(path.lower())


@asynccontextmanager
async def served_by(kind: type[asyncssh.SFTPServer], folder: Path) -> AsyncIterator[PasswordServer]:
    root = folder / "root"
    root.mkdir()
    async with PasswordServer(sftp=lambda channel: kind(channel, chroot=os.fsencode(root))) as server:
        server.root = root
        yield server


@pytest.fixture
async def ascii_blind(tmp_path: Path) -> AsyncIterator[PasswordServer]:
    async with served_by(AsciiBlind, tmp_path) as server:
        yield server


@pytest.fixture
async def blind(tmp_path: Path) -> AsyncIterator[PasswordServer]:
    async with served_by(Blind, tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


def pair(folder: Path, one: str = "A.txt", other: str = "a.txt") -> list[Path]:
    """Two files, each in a folder of its own, so that it is known which one is sent first."""
    paths = [folder / "one" / one, folder / "two" / other]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {path.parent.name}")
    return paths


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in folder.iterdir() if path.is_file()}


def items(paths: list[Path], there: str | Path) -> list[Upload]:
    return [upload(path, f"{there}/{path.name}") for path in paths]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("overwrite", ["diff", "always", "older"])
@pytest.mark.parametrize(
    "names", [("A.txt", "a.txt"), (COMPOSED, APART), ("a", "A"), ("Stra\u00dfe", "stra\u00dfe")]
)
async def test_a_server_that_takes_both_for_one_keeps_the_first(
    blind: PasswordServer, tmp_path: Path, names: tuple[str, str], overwrite: str, order: int
) -> None:
    (blind.root / "in").mkdir()
    paths = pair(tmp_path, *names)[::order]
    policies = {"overwrite": overwrite}
    wishes = Afterwards(remove_files=True)
    plan = plan_for(blind, items(paths, "in"), tmp_path / "resume", policies=policies, afterwards=wishes)
    ended = await run(plan)
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert ended.message.startswith("1 of 2 files failed")
    assert list(contents(blind.root / "in").values()) == [f"the content of {paths[0].parent.name}"]
    assert [path.exists() for path in paths] == [False, True]


@pytest.mark.parametrize(
    "names", [("\u00c4A.txt", "\u00c4a.txt"), ("\u00c4.Txt", "\u00c4.txt"), ("a\u0416", "A\u0416")]
)
async def test_a_server_that_knows_only_the_cases_of_a_to_z_keeps_the_first(
    ascii_blind: PasswordServer, tmp_path: Path, names: tuple[str, str]
) -> None:
    (ascii_blind.root / "in").mkdir()
    paths = pair(tmp_path, *names)
    wishes = Afterwards(remove_files=True)
    ended = await run(plan_for(ascii_blind, items(paths, "in"), tmp_path / "resume", afterwards=wishes))
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert list(contents(ascii_blind.root / "in").values()) == ["the content of one"]
    assert [path.exists() for path in paths] == [False, True]


async def test_it_keeps_names_apart_that_differ_in_other_letters(
    ascii_blind: PasswordServer, tmp_path: Path
) -> None:
    (ascii_blind.root / "in").mkdir()
    paths = pair(tmp_path, "\u00c4\u00d6", "\u00e4\u00f6")
    for content in ("at first", "changed since"):
        paths[1].write_text(content)
        ended = await run(plan_for(ascii_blind, items(paths, "in"), tmp_path / "resume", destination="in"))
        assert (ended.outcome, ended.message) == ("completed", "")
        assert contents(ascii_blind.root / "in") == {path.name: path.read_text() for path in paths}


async def test_folders_that_are_taken_for_one_keep_the_first_file_of_each_name(
    blind: PasswordServer, tmp_path: Path
) -> None:
    (blind.root / "in").mkdir()
    trees = [tmp_path / "one" / "Set", tmp_path / "two" / "set"]
    for tree in trees:
        (tree / "1").mkdir(parents=True)
        (tree / "1" / "2").write_text(f"the content of {tree.name}")
    ended = await run(plan_for(blind, items(trees, "in"), tmp_path / "resume"))
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert contents(blind.root / "in" / "set" / "1") == {"2": "the content of Set"}


async def test_a_later_session_does_not_take_the_second_for_the_first(
    blind: PasswordServer, tmp_path: Path
) -> None:
    """The first one arrived and was removed here; then the session was stopped."""
    (blind.root / "in").mkdir()
    paths = pair(tmp_path)
    film = tmp_path / "film"
    film.write_bytes(noise(3_000_000))
    wishes = Afterwards(remove_files=True)
    plan = plan_for(
        blind, items([*paths, film], "in"), tmp_path / "resume", afterwards=wishes, rate_kbps=2_000
    )
    await stopped(plan, lambda listener: listener.written() > 100_000)
    assert contents(blind.root / "in")["a.txt"] == "the content of one"
    assert not paths[0].exists()
    ended = await run(plan.model_copy(update={"rate_kbps": None}))
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert contents(blind.root / "in")["a.txt"] == "the content of one"
    assert paths[1].exists()


@pytest.mark.parametrize("destination", ["in", ""])
@pytest.mark.parametrize(
    "folders", [("Scan", "scan"), ("Gr\u00f6\u00dfe", "gr\u00f6\u00dfe"), ("\u00c4", "\u00e4")]
)
async def test_sets_with_no_letters_in_them_are_updated_where_they_are_two(
    sshd: SshServer, tmp_path: Path, folders: tuple[str, str], destination: str
) -> None:
    far = sshd.root / tmp_path.name
    far.mkdir()
    trees = [tmp_path / str(number) / name for number, name in enumerate(folders)]
    for content in ("at first", "changed since"):
        for tree in trees:
            for name in ("1/0001", "1/\u00c40002"):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text(f"{tree.name} {content}")
        root = str(far) if destination else ""
        plan = plan_for(sshd, items(trees, far), tmp_path / "resume", destination=root, transfer_id=content)
        ended = await run(plan)
        assert (ended.outcome, ended.message) == ("completed", "")
        for tree in trees:
            assert set(contents(far / tree.name / "1").values()) == {f"{tree.name} {content}"}


async def test_such_sets_are_one_where_their_folders_are(blind: PasswordServer, tmp_path: Path) -> None:
    (blind.root / "in").mkdir()
    trees = [tmp_path / "one" / "Scan", tmp_path / "two" / "scan"]
    for tree in trees:
        (tree / "1").mkdir(parents=True)
        (tree / "1" / "0001").write_text(tree.name)
    ended = await run(plan_for(blind, items(trees, "in"), tmp_path / "resume", destination="in"))
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert contents(blind.root / "in" / "scan" / "1") == {"0001": "Scan"}


async def stopped(plan: SessionPlan, when: Any) -> Ended:
    """Run a session until `when` holds."""
    listener = Listener()
    session = Session(plan, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: when(listener))
    session.stop()
    ended = await running
    assert ended.outcome == "stopped"
    return ended


async def test_a_server_that_tells_them_apart_gets_both_and_keeps_them(
    sshd: SshServer, tmp_path: Path
) -> None:
    far = sshd.root / tmp_path.name
    far.mkdir()
    names = (("README", "readme"), ("A.txt", "a.txt"), ("a", "A"), ("B1", "b1"), (COMPOSED, APART))
    paths = [path for number, two in enumerate(names) for path in pair(tmp_path / str(number), *two)]
    plan = plan_for(sshd, items(paths, far), tmp_path / "resume")
    for changed in ("at first", "changed since"):
        paths[1].write_text(changed)
        listener = Listener()
        ended = await run(plan, listener)
        assert (ended.outcome, ended.message) == ("completed", "")
        assert contents(far) == {path.name: path.read_text() for path in paths}
    states = sorted(report.state for report in listener.files().values())
    assert states == ["done", *["skipped"] * 9]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "server") as server:
        yield server


async def test_over_http_too(http: FarEnd, sshd: SshServer, tmp_path: Path) -> None:
    """There and with a token folders cannot be listed."""
    paths = pair(tmp_path)
    port = int(http.url.rpartition(":")[2])
    fallback = {"port": port, "tls": False, "forced": True, "plain_allowed": True}
    login = {"user": "xfer", "token": http.token("send", "in")}
    plan = plan_for(sshd, items(paths, "in"), tmp_path / "resume", destination="in")
    raw = {**plan.model_dump(), "fallback": fallback, "login": login}
    for changed in ("at first", "changed since"):
        paths[1].write_text(changed)
        ended = await run(SessionPlan.model_validate(raw))
        assert (ended.outcome, ended.message) == ("completed", "")
        assert contents(http.docroot / "in") == {path.name: path.read_text() for path in paths}


async def test_where_the_later_one_is_wanted_it_takes_the_place(
    blind: PasswordServer, tmp_path: Path
) -> None:
    """`skip_duplicate_check`: two sources with one target are no error, wherever they meet."""
    (blind.root / "in").mkdir()
    paths = pair(tmp_path)
    policies = {"last_duplicate_wins": True}
    ended = await run(plan_for(blind, items(paths, "in"), tmp_path / "resume", policies=policies))
    assert (ended.outcome, ended.message) == ("completed", "")
    assert contents(blind.root / "in") == {"a.txt": "the content of two"}


async def test_a_link_does_not_take_the_place_of_a_file(blind: PasswordServer, tmp_path: Path) -> None:
    (blind.root / "in").mkdir()
    paths = pair(tmp_path)
    paths[1].unlink()
    paths[1].symlink_to("elsewhere")
    policies = {"links": "copy+force"}
    folders = [upload(path.parent, "in") for path in paths]
    ended = await run(plan_for(blind, folders, tmp_path / "resume", policies=policies))
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert contents(blind.root / "in") == {"a.txt": "the content of one"}
