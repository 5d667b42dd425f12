"""Two transfers to one target: neither writes into the other's partial file, and both end whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.settings import Folders
from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import Download, SessionPlan, Upload
from connect_helper.transfers.queueing import targets
from connect_helper.transfers.session import Session
from connect_helper.transfers.state import Status
from connect_helper.transports.sftp import SftpTransport
from tests.support.managing import HOLDS, manager, reaches, request
from tests.support.sessions import Listener, download, noise, plan_for, run, upload
from tests.support.sshd import SshServer

SIZE = 12_000_000
QUICK, SLOW = 24_000, 1_000  # kbit/s: four seconds, and for ever


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


def plans(
    direction: str, sshd: SshServer, folder: Path, content: bytes
) -> tuple[SessionPlan, SessionPlan, Path]:
    """A transfer of a folder, another one of the file in it, and where both bring that file."""
    near, far = folder / "near", sshd.root / folder.name
    near.mkdir()
    far.mkdir()
    source, target = (near, far) if direction == "send" else (far, near)
    (source / "from").mkdir()
    (source / "from" / "film").write_bytes(content)
    whole: list[Upload] | list[Download] = [download(far / "from", near, "to")]
    one: list[Upload] | list[Download] = [download(far / "from" / "film", near, "to", "film")]
    if direction == "send":
        whole, one = (
            [upload(near / "from", far / "to")],
            [upload(near / "from" / "film", far / "to" / "film")],
        )
    first = plan_for(sshd, whole, folder / "resume", transfer_id="first", rate_kbps=QUICK)
    policies = {"overwrite": "always"}
    second = plan_for(sshd, one, folder / "resume", transfer_id="second", policies=policies)
    return first, second, target / "to" / "film"


def start(plan: SessionPlan) -> tuple[Session, Listener, asyncio.Task[Ended]]:
    listener = Listener()
    session = Session(plan, listener)
    return session, listener, asyncio.create_task(session.run())


@pytest.mark.parametrize("direction", ["receive", "send"])
async def test_a_second_transfer_leaves_the_first_ones_partial_file_alone(
    direction: str, sshd: SshServer, tmp_path: Path
) -> None:
    content = noise(SIZE)
    first, second, target = plans(direction, sshd, tmp_path, content)
    _, listener, ending = start(first)
    # The first one's record is there: it is what the second one would go on from.
    await listener.until(
        lambda: listener.written() > 4_000_000 and bool(list(tmp_path.glob("resume/*.json")))
    )
    slow, heard, stopping = start(second.model_copy(update={"rate_kbps": SLOW}))
    await heard.until(lambda: heard.written() > 0)
    assert not ending.done()
    assert (await ending).outcome == "completed"
    assert target.read_bytes() == content
    slow.stop()
    assert (await stopping).outcome == "stopped"
    assert sorted(path.name for path in target.parent.iterdir()) == ["film", "film (1).partial"]
    assert len(list(tmp_path.glob("resume/*.json"))) == 1
    again = Listener()
    assert (await run(second, again)).outcome == "completed"
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["film"]  # it went on with its own
    assert list(tmp_path.glob("resume/*")) == []


async def test_a_partial_file_beside_another_ones_is_ours_before_anything_of_it_is_sure(
    sshd: SshServer, tmp_path: Path
) -> None:
    content = noise(SIZE)
    first, second, target = plans("send", sshd, tmp_path, content)
    _, listener, ending = start(first)
    await listener.until(lambda: listener.written() > 4_000_000)
    slow, heard, stopping = start(second.model_copy(update={"rate_kbps": SLOW}))
    await heard.until(lambda: heard.written() > 0)
    assert (await ending).outcome == "completed"
    slow.stop()
    assert (await stopping).outcome == "stopped"
    (noted,) = tmp_path.glob("resume/*.json")
    record = json.loads(noted.read_text())
    record.update(offset=0, blocks=[], tail="")  # as on a busy machine
    noted.write_text(json.dumps(record))
    assert target.with_name("film (1).partial").stat().st_size > 0
    assert (await run(second, Listener())).outcome == "completed"
    assert [path.name for path in target.parent.iterdir()] == ["film"]


@pytest.mark.parametrize("policy", ["sparse_checksum", "none"])
async def test_a_name_taken_in_the_last_moment_stays_its_owners(
    policy: str, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, target = plans("send", sshd, tmp_path, b"of ours")
    second = second.model_copy(update={"policies": second.policies.model_copy(update={"resume": policy})})
    theirs = target.with_name("film.partial")
    send = SftpTransport.send

    async def late(self: SftpTransport, item: object) -> None:
        if not theirs.exists():
            theirs.write_bytes(b"of theirs")
        await send(self, item)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(SftpTransport, "send", late)
    ended = await run(second)
    assert ended.outcome == "completed", ended.message
    assert (target.read_bytes(), theirs.read_bytes()) == (b"of ours", b"of theirs")


async def stopped_early(plan: SessionPlan) -> None:
    """Run a session until its first file is under its name, and end it over another."""
    session, listener, ending = start(plan)
    await listener.until(lambda: any(report.state == "done" for report in listener.files().values()))
    session.stop()
    assert (await ending).outcome == "stopped"


@pytest.mark.parametrize("size", [7, 300_000])
async def test_a_partial_file_made_after_ours_was_finished_is_not_ours(
    size: int, sshd: SshServer, tmp_path: Path
) -> None:
    """What arrived was taken away, and somebody else is about to send a file of the same name."""
    near, far = tmp_path / "near", sshd.root / tmp_path.name
    near.mkdir()
    far.mkdir()
    (near / "note").write_bytes(noise(size))
    (near / "film").write_bytes(noise(SIZE))
    items = [upload(near / name, far / name) for name in ("note", "film")]
    plan = plan_for(sshd, items, tmp_path / "resume", rate_kbps=QUICK)
    await stopped_early(plan)
    (far / "note").unlink()
    theirs = far / "note.partial"
    theirs.write_bytes(b"of theirs")
    ended = await run(plan.model_copy(update={"rate_kbps": None}))
    assert ended.outcome == "completed", ended.message
    assert theirs.read_bytes() == b"of theirs"
    assert (far / "note").read_bytes() == noise(size)


async def test_a_partial_file_that_was_in_our_way_is_not_ours_later(
    sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody made it between our look and our turn; our own, under another name, broke off."""
    near, far = tmp_path / "near", sshd.root / tmp_path.name
    near.mkdir()
    far.mkdir()
    (near / "film").write_bytes(noise(SIZE))
    theirs = far / "film.partial"
    send = SftpTransport.send

    async def late(self: SftpTransport, item: object) -> None:
        if not theirs.exists():
            theirs.write_bytes(b"of theirs")
        await send(self, item)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(SftpTransport, "send", late)
    policies = {"resume": "none"}
    plan = plan_for(sshd, [upload(near / "film", far / "film")], tmp_path / "resume", policies=policies)
    session, listener, ending = start(plan.model_copy(update={"rate_kbps": SLOW}))
    await listener.until(lambda: listener.written() > 0)
    session.stop()
    assert (await ending).outcome == "stopped"
    ended = await run(plan)
    assert ended.outcome == "completed", ended.message
    assert theirs.read_bytes() == b"of theirs"
    assert (far / "film").read_bytes() == noise(SIZE)


# The queue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a/b/c", "a", True),
        ("/a", "/a/b", True),
        ("/", "/a/b", True),
        ("./a", "a//b", True),
        ("a/b", "a/c", False),
        ("a", "ab", False),
        ("a", "/a", False),  # nobody knows here where the login folder is
    ],
)
def test_targets_meet_when_one_is_in_the_other(one: str, other: str, meet: bool) -> None:
    mine, yours = (targets(request(target=target).plan) for target in (one, other))
    assert (mine.meets(yours), yours.meets(mine)) == (meet, meet)


def test_local_targets_meet_across_roots(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    server = SshServer()  # its address is enough
    above, inside, beside = (
        targets(plan_for(server, [item], tmp_path))
        for item in (
            download("x", tmp_path, "in"),
            download("x", tmp_path / "in", "film"),
            download("x", tmp_path, "other"),
        )
    )
    server.stop()
    assert above.meets(inside)
    assert inside.meets(above)
    assert not inside.meets(beside)


async def test_a_transfer_into_a_folder_under_way_waits(folders: Folders) -> None:
    async with manager(folders, concurrent_transfers=3) as transfers:
        folder = await transfers.submit(request(HOLDS, target="in/folder"))
        inside = await transfers.submit(request(HOLDS, target="in/folder/film"))
        beside = await transfers.submit(request(HOLDS, target="in/film"))
        await reaches(folder, Status.RUNNING)
        await reaches(beside, Status.RUNNING)
        assert inside.status is Status.QUEUED
        await transfers.stop(folder.id)
        await reaches(inside, Status.RUNNING)
