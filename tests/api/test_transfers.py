"""From a page's start call to bytes on a real OpenSSH server and back, through a real worker process."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from connect_helper.api.ladder import Ladder
from connect_helper.picking.base import Answer
from connect_helper.settings import Folders
from tests.api.conftest import Face
from tests.support.sshd import PasswordServer, SshServer


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


def spec_for(sshd: SshServer, direction: str, *sources: str, **more: Any) -> dict[str, Any]:
    root = str(sshd.root) if direction == "send" else ""
    return {
        "direction": direction,
        "remote_host": sshd.host,
        "ssh_port": sshd.port,
        "remote_user": sshd.user,
        "ssh_private_key": sshd.client_key,
        "paths": [{"source": source} for source in sources],
        "destination_root": root,
        **more,
    }


async def run(face: Face, spec: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Start, and wait for the end of the transfer; its last TransferInfo."""
    status, answer = await face.start(spec, **settings)
    assert status == 200, answer
    return await face.until(answer["transfer_specs"][0]["uuid"], "completed", "failed", limit_s=60)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    file = tmp_path / "film.mov"
    file.write_bytes(os.urandom(6_000_001))
    return file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "empty folder").mkdir()
    for name in ("a.jpg", "deep/b b.jpg", "deep/er/c\nd.jpg", "deep/er/empty"):
        (folder / name).write_bytes(os.urandom(0 if name.endswith("empty") else 70_000))
    return folder


async def test_a_picked_file_arrives_whole_and_comes_back(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    info = await run(face, spec_for(sshd, "send", source))
    assert (info["status"], info["error_desc"]) == ("completed", "")
    assert digest(sshd.root / "film.mov") == digest(film)
    assert info["bytes_written"] == info["bytes_expected"] == film.stat().st_size
    assert info["percentage"] == 1
    assert info["file_counts"] == {"attempted": 1, "completed": 1, "failed": 0, "skipped": 0}
    (entry,) = info["files"]
    assert entry["file"] == source
    assert [len(group) for group in entry["fasp_file_id"].split("-")] == [8] * 5

    info = await run(face, spec_for(sshd, "receive", f"{sshd.root}/film.mov"))
    assert info["status"] == "completed"
    assert digest(face.folders.downloads / "film.mov") == digest(film)
    assert info["explorer_path"] == str(face.folders.downloads / "film.mov")


async def test_a_whole_folder_goes_up_and_comes_back(face: Face, sshd: SshServer, tree: Path) -> None:
    (source,) = await face.choose(tree, kind="open-folder")
    assert (await run(face, spec_for(sshd, "send", source)))["status"] == "completed"
    info = await run(face, spec_for(sshd, "receive", f"{sshd.root}/photos"))
    assert info["status"] == "completed"
    for root in (sshd.root / "photos", face.folders.downloads / "photos"):
        there = {path.relative_to(root): path.is_dir() or digest(path) for path in root.rglob("*")}
        assert there == {path.relative_to(tree): path.is_dir() or digest(path) for path in tree.rglob("*")}
    assert info["file_counts"]["completed"] == 4


async def test_pairs_name_the_target(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    paths = [{"source": source, "destination": "a/b/renamed.mov"}]
    assert (await run(face, spec_for(sshd, "send", paths=paths)))["status"] == "completed"
    assert digest(sshd.root / "a/b/renamed.mov") == digest(film)


async def test_a_save_dialog_names_the_target_of_a_download(
    face: Face, sshd: SshServer, film: Path, tmp_path: Path
) -> None:
    (sshd.root / "film.mov").write_bytes(film.read_bytes())
    (name,) = await face.choose(tmp_path / "chosen name.mov", kind="save-file")
    spec = spec_for(sshd, "receive", f"{sshd.root}/film.mov", destination_root=name)
    info = await run(face, spec, use_absolute_destination_path=True)
    assert info["status"] == "completed"
    assert digest(tmp_path / "chosen name.mov") == digest(film)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the file manager, which only notes it, was asked to select: the addresses, one a line."""
    noted = tmp_path / "shown"
    noted.touch()
    program = tmp_path / "bin" / "gdbus"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor it; do case "$it" in "[\'"*) echo "$it" >> {noted};; esac; done\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Ladder, "may_show_window", lambda *_: None)  # no pause between two windows
    return noted


async def test_a_download_kept_beside_a_file_of_its_name_is_shown_by_the_name_it_got(
    face: Face, sshd: SshServer, film: Path, shown: Path
) -> None:
    (sshd.root / "film.mov").write_bytes(film.read_bytes())
    face.folders.downloads.mkdir(exist_ok=True)
    (face.folders.downloads / "film.mov").write_text("older")
    face.parts.preferences.change({"existing_files": "keep_both"})
    info = await run(face, spec_for(sshd, "receive", f"{sshd.root}/film.mov"))
    assert info["explorer_path"] == str(face.folders.downloads / "film (1).mov")
    assert (await face.get(f"/connect/windows/finder/{info['uuid']}")) == (200, {})
    assert shown.read_text().strip().endswith("/film%20%281%29.mov']")


async def test_a_decrypted_download_is_shown_by_the_name_it_got(
    face: Face, sshd: SshServer, film: Path, shown: Path
) -> None:
    (source,) = await face.choose(film)
    secret = {"content_protection_passphrase": "a long passphrase"}
    sealed = spec_for(sshd, "send", source, content_protection="encrypt", **secret)
    assert (await run(face, sealed))["status"] == "completed"
    film.unlink()
    opened = spec_for(sshd, "receive", f"{sshd.root}/film.mov.age", content_protection="decrypt", **secret)
    info = await run(face, opened)
    assert (info["status"], info["explorer_path"]) == ("completed", str(face.folders.downloads / "film.mov"))
    assert (await face.get(f"/connect/windows/finder/{info['uuid']}")) == (200, {})
    assert shown.read_text().strip().endswith("/film.mov']")


async def test_a_download_that_is_not_there_yet_is_shown_by_the_folder_it_goes_to(
    face: Face, sshd: SshServer, film: Path, shown: Path
) -> None:
    (sshd.root / "film.mov").write_bytes(film.read_bytes())
    spec = spec_for(sshd, "receive", f"{sshd.root}/film.mov", destination_root="a/b", target_rate_kbps=800)
    _, answer = await face.start(spec)
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "running")
    assert (await face.get(f"/connect/windows/finder/{uuid}")) == (200, {})
    (address,) = shown.read_text().splitlines()
    assert str(face.folders.downloads) in address
    assert "film.mov" not in address
    await face.post(f"/connect/transfers/remove/{uuid}")


async def test_an_unknown_server_is_asked_about_once_and_a_changed_key_stops(
    face: Face, sshd: SshServer, film: Path
) -> None:
    (source,) = await face.choose(film)
    face.person.answer = Answer(accepted=True, remember=True)
    await run(face, spec_for(sshd, "send", source))
    (_, trust) = face.person.questions
    assert "Trust" in trust.heading
    assert sshd.fingerprint in trust.details
    await run(face, spec_for(sshd, "send", source, overwrite="always"))
    assert len(face.person.questions) == 2

    sshd.kill()
    sshd.set_host_key(asyncssh.generate_private_key("ssh-ed25519"))
    sshd.start()
    info = await run(face, spec_for(sshd, "send", source, overwrite="always"))
    assert (info["status"], info["error_code"]) == ("failed", 51)
    assert sshd.fingerprint in info["error_desc"]
    assert len(face.person.questions) == 2


async def test_a_server_that_is_not_trusted_gets_nothing(face: Face, film: Path) -> None:
    (source,) = await face.choose(film)
    async with PasswordServer() as server:
        face.person.answer = Answer(accepted=True)
        asked = face.person.ask

        async def only_hosts(question: Any) -> Answer:
            await asked(question)
            return Answer(accepted="Trust" not in question.heading)

        face.person.ask = only_hosts  # type: ignore[method-assign]
        spec = spec_for_password(server, source)
        info = await run(face, spec)
        assert (info["status"], info["error_code"]) == ("failed", 51)
        assert server.passwords == []


def spec_for_password(server: PasswordServer, source: str, **more: Any) -> dict[str, Any]:
    login = {"remote_user": server.user, "remote_password": server.password}
    return {
        "direction": "send",
        "remote_host": "127.0.0.1",
        "ssh_port": server.port,
        "paths": [{"source": source}],
        **login,
        **more,
    }


async def test_a_wrong_password_fails_and_a_right_one_resumes(face: Face, film: Path) -> None:
    (source,) = await face.choose(film)
    async with PasswordServer() as server:
        info = await run(face, spec_for_password(server, source, remote_password="wrong"))
        assert (info["status"], info["error_code"]) == ("failed", 19)
        status, answer = await face.post(
            f"/connect/transfers/resume/{info['uuid']}", {"remote_password": server.password}
        )
        assert status == 200
        assert answer["transfer_spec"]["uuid"] == info["uuid"]
        assert (await face.until(info["uuid"], "completed", "failed"))["status"] == "completed"
        assert digest(server.root / "film.mov") == digest(film)


async def test_authenticate_tells_right_from_wrong(face: Face) -> None:
    async with PasswordServer() as server:
        body = {"remote_host": "127.0.0.1", "ssh_port": server.port, "remote_user": server.user}
        good = {**body, "remote_password": server.password}
        assert await face.post("/connect/info/authenticate", good) == (200, {})
        wrong = {**body, "remote_password": "no"}
        for _ in range(5):
            status, answer = await face.post("/connect/info/authenticate", wrong)
            assert status == 403
            assert "password" in answer["error"]["user_message"]
        assert (await face.post("/connect/info/authenticate", good))[0] == 429


async def test_a_login_test_leaves_the_files_of_the_program_alone(face: Face, folders: Folders) -> None:
    """Each session sweeps its folder of what was left by others long ago."""
    own = folders.state / "own.json"
    own.write_text("{}")
    os.utime(own, (0, 0))
    async with PasswordServer() as server:
        body = {"remote_host": "127.0.0.1", "ssh_port": server.port, "remote_user": server.user}
        good = {**body, "remote_password": server.password}
        assert await face.post("/connect/info/authenticate", good) == (200, {})
    assert own.exists()
    assert not list(folders.state.parent.glob("*.locks"))


async def test_a_source_deleted_after_picking_fails_by_name(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    film.unlink()
    info = await run(face, spec_for(sshd, "send", source))
    assert (info["status"], info["error_code"]) == ("failed", 4)
    assert not list(sshd.root.iterdir())


async def test_a_source_replaced_after_picking_is_not_sent(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    film.unlink()
    film.write_text("something else")
    info = await run(face, spec_for(sshd, "send", source))
    assert info["status"] == "failed"
    assert "choose it again" in info["error_desc"]
    assert not list(sshd.root.iterdir())


async def test_stop_resume_and_remove(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    _, answer = await face.start(spec_for(sshd, "send", source, target_rate_kbps=4000))
    uuid = answer["transfer_specs"][0]["uuid"]
    token = 0
    async with asyncio.timeout(30):
        while True:  # as a page polls
            _, told = await face.post("/connect/transfers/activity", {"iteration_token": token})
            assert told["iteration_token"] >= token
            token = told["iteration_token"]
            if any(info["bytes_written"] > 300_000 for info in told["transfers"]):
                break
            await asyncio.sleep(0.1)
    assert (await face.post(f"/connect/transfers/stop/{uuid}"))[1] == {}
    assert (await face.until(uuid, "cancelled"))["bytes_written"] < film.stat().st_size
    assert [path.name for path in sshd.root.iterdir()] == ["film.mov.partial"]
    assert (await face.post(f"/connect/transfers/stop/{uuid}"))[0] == 200

    _, answer = await face.post(f"/connect/transfers/modify/{uuid}", {"target_rate_kbps": 0, "x": 1})
    assert "x" not in answer
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 200
    assert (await face.until(uuid, "completed", "failed"))["status"] == "completed"
    assert digest(sshd.root / "film.mov") == digest(film)
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 409

    for _ in range(2):  # once more is no error
        assert await face.post(f"/connect/transfers/remove/{uuid}") == (200, {})
    _, told = await face.post("/connect/transfers/activity", {"iteration_token": token})
    assert [info["status"] for info in told["transfers"]] == ["removed"]
    _, told = await face.post("/connect/transfers/activity", {"iteration_token": 0})
    assert told["transfers"] == []


async def test_modify_changes_the_rate_of_a_running_transfer(face: Face, sshd: SshServer, film: Path) -> None:
    (source,) = await face.choose(film)
    _, answer = await face.start(spec_for(sshd, "send", source, target_rate_kbps=800))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "running")
    status, changed = await face.post(
        f"/connect/transfers/modify/{uuid}", {"target_rate_kbps": 900_000, "lock_target_rate": True}
    )
    assert (status, changed) == (200, {"target_rate_kbps": 900_000, "lock_target_rate": True})
    info = await face.until(uuid, "completed", limit_s=20)  # at the old rate it would take a minute
    assert info["transfer_spec"]["target_rate_kbps"] == 900_000


async def test_no_secret_is_ever_told_or_kept(
    face: Face, sshd: SshServer, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source,) = await face.choose(film)
    secret = "canary-5f0c"
    tags = {"aspera": {"xfer_id": "x-1"}, "own": {"api_token": secret}}
    info = await run(face, spec_for(sshd, "send", source, remote_password=secret, token=secret, tags=tags))
    assert info["status"] == "completed"
    assert secret not in str(info)
    assert sshd.client_key.splitlines()[2] not in str(info)
    assert secret not in caplog.text
    for kept in face.folders.state.rglob("*"):
        assert kept.is_dir() or secret.encode() not in kept.read_bytes()


async def test_the_list_and_its_token_survive_a_restart(
    folders: Folders,
    sshd: SshServer,
    film: Path,
    start_face: Callable[[Folders], AbstractAsyncContextManager[Face]],
) -> None:
    async with start_face(folders) as face:
        (source,) = await face.choose(film)
        info = await run(face, spec_for(sshd, "send", source))
        _, before = await face.post("/connect/transfers/activity", {"iteration_token": 0})
    async with start_face(folders) as face:
        _, after = await face.post("/connect/transfers/activity", {"iteration_token": 0})
        assert [entry["uuid"] for entry in after["transfers"]] == [info["uuid"]]
        assert after["transfers"][0]["status"] == "completed"
        assert after["iteration_token"] >= before["iteration_token"]
        status, _ = await face.post("/connect/file/checksum/", {"path": source})
        assert status == 403  # grants end with the program


async def test_sec_29_a_transfer_with_a_key_goes_on_after_a_restart_when_the_page_brings_the_key(
    folders: Folders,
    sshd: SshServer,
    film: Path,
    start_face: Callable[[Folders], AbstractAsyncContextManager[Face]],
) -> None:
    async with start_face(folders) as face:
        (source,) = await face.choose(film)
        _, answer = await face.start(spec_for(sshd, "send", source, target_rate_kbps=2000))
        uuid = answer["transfer_specs"][0]["uuid"]
        await face.until(uuid, "running")
    async with start_face(folders) as face:
        info = await face.until(uuid, "failed")
        assert "sign in again" in info["error_desc"]
        resumed = await face.post(f"/connect/transfers/resume/{uuid}", {"ssh_private_key": sshd.client_key})
        assert resumed[0] == 200
        assert any("upload" in question.heading for question in face.person.questions)
        assert face.person.sign_ins == []
        await face.post(f"/connect/transfers/modify/{uuid}", {"target_rate_kbps": 0})
        assert (await face.until(uuid, "completed", "failed"))["status"] == "completed"
        assert digest(sshd.root / "film.mov") == digest(film)
