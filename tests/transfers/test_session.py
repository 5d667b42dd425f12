"""One session against a real OpenSSH server: what a user gets, and what every mishap ends in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from connect_helper.transfers.plan import HostKeys, LocalRef, Login, Upload
from connect_helper.transfers.session import Session
from connect_helper.transports.sftp import SftpTransport
from tests.support.sessions import Listener, download, noise, plan_for, ref, run, upload
from tests.support.sshd import PasswordServer, SshServer, free_port, public_line


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
def far(sshd: SshServer, tmp_path: Path) -> Path:
    """A fresh folder on the server's side."""
    folder = sshd.root / tmp_path.name
    folder.mkdir()
    return folder


@pytest.fixture
def near(tmp_path: Path) -> Path:
    folder = tmp_path / "near"
    folder.mkdir()
    return folder


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    return tmp_path / "resume"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder with its content; None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def make_tree(folder: Path) -> None:
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "zero").touch()
    (folder / "one").write_bytes(b"1")
    (folder / "sub" / "big.bin").write_bytes(noise(9_000_001))
    (folder / "sub" / "-rf *").write_text("a name with a dash, a space and a star")
    (folder / "line\nbreak").write_text("newline")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad-\xff-utf8")).write_text("no UTF-8")
    (folder / ("n" * 255)).write_text("the longest name there is")


async def test_a_folder_arrives_whole_and_comes_back_the_same(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    make_tree(near)
    listener = Listener()
    up = await run(plan_for(sshd, [upload(near, far / "copy")], resume), listener)
    assert up.outcome == "completed", up.message
    assert tree(far / "copy") == tree(near)
    assert listener.totals().final
    assert (
        listener.written()
        == listener.totals().bytes_expected
        == sum(len(c or b"") for c in tree(near).values())
    )
    assert {report.state for report in listener.files().values()} == {"done"}
    back = near.parent / "back"
    back.mkdir()
    down = await run(plan_for(sshd, [download(far / "copy", back, "again")], resume))
    assert down.outcome == "completed", down.message
    assert tree(back / "again") == tree(near)
    assert list(resume.glob("*")) == []


async def test_received_files_get_plain_modes(sshd: SshServer, far: Path, near: Path, resume: Path) -> None:
    (far / "tool").write_bytes(b"#!/bin/sh\n")
    (far / "tool").chmod(0o6755)
    assert (await run(plan_for(sshd, [download(far / "tool", near, "tool")], resume))).outcome == "completed"
    umask = os.umask(0)
    os.umask(umask)
    assert (near / "tool").stat().st_mode & 0o7777 == 0o666 & ~umask


@pytest.mark.parametrize("checksum", ["md5", "sha1", "sha-256", "sha-384", "sha-512"])
async def test_a_checksum_is_compared_on_both_sides_and_reported(
    sshd: SshServer, far: Path, near: Path, resume: Path, checksum: str
) -> None:
    content = noise(300_000)
    (near / "film").write_bytes(content)
    wanted = f"{checksum}:{hashlib.new(checksum.replace('-', ''), content).hexdigest()}"
    for item in ([upload(near / "film", far / "film")], [download(far / "film", near, "copy")]):
        listener = Listener()
        ended = await run(plan_for(sshd, item, resume, policies={"checksum": checksum}), listener)
        assert ended.outcome == "completed", ended.message
        assert (listener.files()["film"].proof, listener.files()["film"].digest) == ("digest", wanted)


async def test_a_checksum_without_a_shell_is_made_by_reading_back(near: Path, resume: Path) -> None:
    (near / "film").write_bytes(noise(700_000))
    async with PasswordServer() as server:
        listener = Listener()
        plan = plan_for(server, [upload(near / "film", "film")], resume, policies={"checksum": "sha-256"})
        ended = await run(plan, listener)
        assert ended.outcome == "completed", ended.message
        assert listener.files()["film"].proof == "digest"
        assert (server.root / "film").read_bytes() == noise(700_000)


async def test_times_are_kept_when_asked_for(sshd: SshServer, far: Path, near: Path, resume: Path) -> None:
    (near / "folder").mkdir()
    (near / "folder" / "file").write_text("x")
    for path in (near / "folder" / "file", near / "folder"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    policies = {"preserve_times": True}
    await run(plan_for(sshd, [upload(near / "folder", far / "f")], resume, policies=policies))
    assert (far / "f" / "file").stat().st_mtime == (far / "f").stat().st_mtime == 1_000_000_000
    await run(plan_for(sshd, [download(far / "f", near, "back")], resume, policies=policies))
    assert (near / "back" / "file").stat().st_mtime == (near / "back").stat().st_mtime == 1_000_000_000


async def test_missing_destination_folders_are_made(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "a").write_text("a")
    (near / "b").write_text("b")
    items = [upload(near / "a", far / "x" / "y" / "a"), upload(near / "b", far / "x" / "z" / "b")]
    assert (await run(plan_for(sshd, items, resume))).outcome == "completed"
    assert tree(far / "x") == {"y": None, "z": None, "y/a": b"a", "z/b": b"b"}
    (near / "in").mkdir()
    item = download(far / "x" / "y" / "a", near / "in", "deep", "er", "renamed")
    assert (await run(plan_for(sshd, [item], resume))).outcome == "completed"
    assert (near / "in" / "deep" / "er" / "renamed").read_text() == "a"


# Existing files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overwrite", "resume_policy", "there", "state"),
    [
        ("diff", "sparse_checksum", b"same", "skipped"),
        ("diff", "sparse_checksum", b"diff", "done"),
        ("diff", "full_checksum", b"same", "skipped"),
        ("diff", "full_checksum", b"diff", "done"),
        ("diff", "attributes", b"diff", "skipped"),
        ("diff", "attributes", b"longer", "done"),
        ("diff", "none", b"same", "done"),
        ("always", "sparse_checksum", b"same", "done"),
        ("none", "sparse_checksum", b"other content", "skipped"),
    ],
)
async def test_an_existing_file_is_treated_by_the_policies(
    sshd: SshServer,
    far: Path,
    near: Path,
    resume: Path,
    overwrite: str,
    resume_policy: str,
    there: bytes,
    state: str,
) -> None:
    policies = {"overwrite": overwrite, "resume": resume_policy}
    (near / "up").write_bytes(b"same")
    (far / "up").write_bytes(there)
    listener = Listener()
    await run(plan_for(sshd, [upload(near / "up", far / "up")], resume, policies=policies), listener)
    assert listener.files()["up"].state == state
    assert (far / "up").read_bytes() == (b"same" if state == "done" else there)
    (far / "down").write_bytes(b"same")
    (near / "down").write_bytes(there)
    listener = Listener()
    await run(plan_for(sshd, [download(far / "down", near, "down")], resume, policies=policies), listener)
    assert listener.files()["down"].state == state
    assert (near / "down").read_bytes() == (b"same" if state == "done" else there)


async def test_keep_both_stores_the_new_file_beside_the_old(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (far / "r.pdf").write_bytes(b"new")
    (near / "r.pdf").write_bytes(b"old")
    (near / "r (1).pdf").write_bytes(b"older")
    listener = Listener()
    plan = plan_for(
        sshd, [download(far / "r.pdf", near, "r.pdf")], resume, policies={"existing": "keep_both"}
    )
    assert (await run(plan, listener)).outcome == "completed"
    assert tree(near) == {"r.pdf": b"old", "r (1).pdf": b"older", "r (2).pdf": b"new"}
    assert listener.files()["r.pdf"].path == str(near / "r (2).pdf")


async def test_a_link_at_the_target_is_replaced_and_never_written_through(
    sshd: SshServer, far: Path, near: Path, resume: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("old")
    for folder in (near, far):
        (folder / "film").symlink_to(precious)
    (far / "source").write_text("new")
    (near / "source").write_text("new")
    assert (
        await run(plan_for(sshd, [download(far / "source", near, "film")], resume))
    ).outcome == "completed"
    assert (await run(plan_for(sshd, [upload(near / "source", far / "film")], resume))).outcome == "completed"
    assert precious.read_text() == "old"
    for folder in (near, far):
        assert not (folder / "film").is_symlink()
        assert (folder / "film").read_text() == "new"


async def test_a_folder_in_the_way_is_named(sshd: SshServer, far: Path, near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    (far / "film").mkdir()
    ended = await run(plan_for(sshd, [upload(near / "film", far / "film")], resume))
    assert (ended.outcome, ended.code) == ("failed", "target_is_folder")
    (far / "clip").write_text("x")
    (near / "clip").mkdir()
    ended = await run(plan_for(sshd, [download(far / "clip", near, "clip")], resume))
    assert (ended.outcome, ended.code) == ("failed", "target_is_folder")


async def test_a_linked_folder_on_the_way_is_refused(
    sshd: SshServer, far: Path, near: Path, resume: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (near / "deep").symlink_to(outside)
    (far / "film").write_text("x")
    ended = await run(plan_for(sshd, [download(far / "film", near, "deep", "film")], resume))
    assert (ended.outcome, ended.code) == ("failed", "target_not_folder")
    assert tree(outside) == {}


async def test_two_sources_for_one_target_are_told_apart(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "a").write_text("first")
    (near / "b").write_text("second")
    items = [upload(near / "a", far / "same"), upload(near / "b", far / "same")]
    ended = await run(plan_for(sshd, items, resume))
    assert (ended.outcome, ended.code, ended.message.split(".")[0]) == (
        "failed",
        "name_collision",
        "1 of 2 files failed",
    )
    assert (far / "same").read_text() == "first"
    twins = far / "twins"
    twins.mkdir()
    for name in ("Straße", "STRASSE", unicodedata.normalize("NFD", "é"), unicodedata.normalize("NFC", "é")):
        (twins / name).write_text(name)
    listener = Listener()
    ended = await run(plan_for(sshd, [download(twins, near, "twins")], resume), listener)
    assert ended.message.startswith("2 of 4 files failed")
    assert {r.code for r in listener.files().values() if r.state == "failed"} == {"name_collision"}
    assert len(tree(near / "twins")) == 2


# Mishaps -------------------------------------------------------------------------------------------


async def test_one_bad_file_does_not_stop_the_rest(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "good").write_text("good")
    gone = near / "gone"
    gone.write_text("x")
    items = [upload(gone, far / "gone"), upload(near / "good", far / "good")]
    gone.unlink()
    ended = await run(plan_for(sshd, items, resume))
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "source_missing", 27)
    assert ended.message.startswith("1 of 2 files failed.")
    assert not ended.retryable
    assert tree(far) == {"good": b"good"}


async def test_a_path_too_long_for_the_server_fails_alone(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    deep = far
    while len(str(deep)) < 3_900:
        deep /= "y" * 100
    deep.mkdir(parents=True)
    for name, file in (("good", "one"), ("z" * 200, "two")):
        (near / "set" / name).mkdir(parents=True)
        (near / "set" / name / file).write_text("x")
    ended = await run(plan_for(sshd, [upload(near / "set", deep)], resume), listener := Listener())
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "unsafe_name", 27)
    assert ended.message.startswith("1 of 2 files failed.")
    assert "cannot be used there" in ended.message
    assert {name: one.state for name, one in listener.files().items()} == {"one": "done", "two": "failed"}
    assert (deep / "good" / "one").read_text() == "x"


async def test_a_link_that_names_something_too_long_fails_alone(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (far / "set").mkdir()
    (far / "set" / "good").write_text("x")
    (far / "set" / "link").symlink_to("z" * 300)
    ended = await run(plan_for(sshd, [download(far / "set", near, "set")], resume))
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "unsafe_name", 27)
    assert tree(near / "set") == {"good": b"x"}


async def test_a_deleted_source_fails_with_its_own_error(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "film").write_text("x")
    item = upload(near / "film", far / "film")
    (near / "film").unlink()
    ended = await run(plan_for(sshd, [item], resume))
    assert (ended.outcome, ended.code, ended.error_code) == ("failed", "source_missing", 4)
    assert tree(far) == {}


async def test_a_replaced_source_is_not_sent(sshd: SshServer, far: Path, near: Path, resume: Path) -> None:
    (near / "film").write_text("chosen")
    item = upload(near / "film", far / "film")
    (near / "other").write_text("secret")
    (near / "other").rename(near / "film")
    ended = await run(plan_for(sshd, [item], resume))
    assert (ended.outcome, ended.code) == ("failed", "source_changed")
    assert tree(far) == {}


async def test_a_source_that_became_a_link_is_not_sent(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "film").write_text("chosen")
    item = upload(near / "film", far / "film")
    (near / "film").unlink()
    (near / "film").symlink_to("/etc/passwd")
    ended = await run(plan_for(sshd, [item], resume))
    assert (ended.outcome, ended.code) == ("failed", "source_changed")
    assert tree(far) == {}


async def test_links_and_special_files_in_a_folder(
    sshd: SshServer, far: Path, near: Path, resume: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("outside")
    (near / "real").mkdir()
    (near / "real" / "file").write_text("inside")
    (near / "to-file").symlink_to("real/file")
    (near / "to-folder").symlink_to(near / "real")
    (near / "real" / "loop").symlink_to("..")
    (near / "leaves").symlink_to(canary)
    (near / "leaves-up").symlink_to("../canary")
    (near / "nowhere").symlink_to("missing")
    (near / "into-file").symlink_to("real/file/x")
    os.mkfifo(near / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(near / "socket"))
        listener = Listener()
        plan = plan_for(sshd, [upload(near, far / "c")], resume, policies={"skip_special_files": True})
        ended = await run(plan, listener)
    assert ended.outcome == "completed", ended.message
    codes = {name: report.code for name, report in listener.files().items() if report.state == "skipped"}
    assert codes == {
        "loop": "link", "leaves": "link", "leaves-up": "link", "nowhere": "link", "into-file": "link",
        "pipe": "special_file", "socket": "special_file",
    }  # fmt: skip
    assert tree(far / "c") == {
        "real": None,
        "real/file": b"inside",
        "to-file": b"inside",
        "to-folder": None,
        "to-folder/file": b"inside",
    }


async def test_special_files_fail_when_they_may_not_be_skipped(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    os.mkfifo(near / "pipe")
    (near / "file").write_text("x")
    ended = await run(plan_for(sshd, [upload(near, far / "c")], resume))
    assert (ended.outcome, ended.code) == ("failed", "special_file")
    assert tree(far / "c") == {"file": b"x"}


async def test_links_on_the_server_are_followed_inside_only(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (far / "s" / "real").mkdir(parents=True)
    (far / "s" / "real" / "file").write_text("inside")
    (far / "s" / "in").symlink_to("real")
    (far / "s" / "out").symlink_to("/etc")
    (far / "s" / "real" / "loop").symlink_to("..")
    listener = Listener()
    ended = await run(plan_for(sshd, [download(far / "s", near, "s")], resume), listener)
    assert ended.outcome == "completed", ended.message
    assert tree(near / "s") == {"real": None, "real/file": b"inside", "in": None, "in/file": b"inside"}
    assert {name for name, report in listener.files().items() if report.state == "skipped"} == {"out", "loop"}


async def test_without_permission_each_side_says_so(near: Path, far: Path, resume: Path) -> None:
    class Denying(asyncssh.SFTPServer):
        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            raise asyncssh.SFTPPermissionDenied("no")

    (near / "film").write_text("x")
    async with PasswordServer(sftp=Denying) as server:
        ended = await run(plan_for(server, [upload(near / "film", far / "film")], resume))
        assert (ended.outcome, ended.code) == ("failed", "target_denied")
        (far / "clip").write_text("x")
        ended = await run(plan_for(server, [download(far / "clip", near, "clip")], resume))
        assert (ended.outcome, ended.code) == ("failed", "source_denied")


# Connecting ----------------------------------------------------------------------------------------


async def test_a_refused_port_is_named(sshd: SshServer, far: Path, near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    plan = plan_for(sshd, [upload(near / "film", far / "film")], resume, port=free_port())
    ended = await run(plan)
    assert (ended.outcome, ended.code, ended.retryable) == ("failed", "connect_refused", False)


async def test_a_wrong_key_is_refused_without_a_hint(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "film").write_text("x")
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    login = Login.model_validate({"user": sshd.user, "private_key": other})
    ended = await run(plan_for(sshd, [upload(near / "film", far / "film")], resume, login=login))
    assert (ended.outcome, ended.code, ended.retryable) == ("failed", "auth_failed", False)


@pytest.mark.parametrize("keyboard_only", [False, True])
async def test_a_wrong_password_is_sent_once_and_refused(
    near: Path, resume: Path, keyboard_only: bool
) -> None:
    (near / "film").write_text("x")
    async with PasswordServer(keyboard_only=keyboard_only) as server:
        login = Login.model_validate({"user": server.user, "password": "wrong"})
        ended = await run(plan_for(server, [upload(near / "film", "film")], resume, login=login))
        assert (ended.outcome, ended.code, ended.error_code) == ("failed", "auth_failed", 19)
        assert "wrong" not in ended.message + ended.internal_message
        right = await run(plan_for(server, [upload(near / "film", "film")], resume))
        assert right.outcome == "completed", right.message
        assert server.passwords == ["wrong", server.password]


async def test_a_token_is_given_as_the_password(near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    async with PasswordServer(user="xfer", password="Bearer abc") as server:
        login = Login.model_validate({"user": "xfer", "token": "Bearer abc"})
        assert (
            await run(plan_for(server, [upload(near / "film", "film")], resume, login=login))
        ).outcome == "completed"


async def test_a_protected_key_needs_its_passphrase(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "film").write_text("x")
    key = (
        asyncssh.import_private_key(sshd.client_key)
        .export_private_key(passphrase="sesame", rounds=50)
        .decode()
    )
    for passphrase, outcome in (("sesame", "completed"), ("wrong", "failed"), (None, "failed")):
        login = Login.model_validate(
            {"user": sshd.user, "private_key": key, "private_key_passphrase": passphrase}
        )
        ended = await run(plan_for(sshd, [upload(near / "film", far / "film")], resume, login=login))
        assert ended.outcome == outcome
        assert "sesame" not in ended.internal_message
        assert key.splitlines()[1] not in ended.internal_message


async def test_an_unknown_key_is_asked_about_before_any_login(near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    async with PasswordServer() as server:
        plan = plan_for(server, [upload(near / "film", "film")], resume, host_keys=HostKeys())
        refusing = Listener(accept=False)
        ended = await run(plan, refusing)
        assert (ended.outcome, ended.code) == ("failed", "host_key_unknown")
        assert server.fingerprint in ended.message
        assert server.auth_requests == []
        assert [(q.key, q.fingerprint) for q in refusing.questions] == [
            (server.host_key_line, server.fingerprint)
        ]
        accepting = Listener(accept=True)
        assert (await run(plan, accepting)).outcome == "completed"
        assert len(accepting.questions) == 1
        assert server.auth_requests == [server.user]


@pytest.mark.parametrize("known", ["changed", "revoked", "mismatch"])
async def test_no_credential_leaves_to_a_wrong_server(near: Path, resume: Path, known: str) -> None:
    (near / "film").write_text("x")
    other = public_line(asyncssh.generate_private_key("ssh-ed25519"))
    async with PasswordServer() as server:
        keys = {
            "changed": HostKeys(trusted=(other,)),
            "revoked": HostKeys(trusted=(server.host_key_line,), revoked=(server.host_key_line,)),
            "mismatch": HostKeys(trusted=(server.host_key_line,), sshfp="ab" * 20),
        }[known]
        listener = Listener()
        ended = await run(plan_for(server, [upload(near / "film", "film")], resume, host_keys=keys), listener)
        assert ended.code == {"mismatch": "host_key_mismatch"}.get(known, "host_key_changed")
        assert (ended.error_code, ended.retryable) == (51, False)
        assert server.fingerprint in ended.message
        assert server.auth_requests == []
        assert listener.questions == []
        assert tree(server.root) == {}


async def test_a_spec_fingerprint_stands_for_the_question(near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    ed25519 = asyncssh.generate_private_key("ssh-ed25519")
    async with PasswordServer(host_keys=(ed25519, rsa)) as server:
        for key in (rsa, ed25519):  # of whichever type it is
            blob = key.public_data
            for sshfp in (hashlib.sha1(blob).hexdigest().upper(), key.get_fingerprint()):
                listener = Listener()
                plan = plan_for(
                    server, [upload(near / "film", "film")], resume, host_keys=HostKeys(sshfp=sshfp)
                )
                ended = await run(plan, listener)
                assert ended.outcome == "completed", ended.message
                assert listener.questions == []


async def test_a_server_with_weak_algorithms_only_is_refused(near: Path, resume: Path) -> None:
    (near / "film").write_text("x")
    async with PasswordServer(encryption_algs=["aes256-cbc"]) as server:
        ended = await run(plan_for(server, [upload(near / "film", "film")], resume))
        assert (ended.code, ended.retryable) == ("weak_algorithms", False)
        assert server.auth_requests == []


async def test_nothing_of_the_users_own_ssh_set_up_takes_part(
    near: Path, resume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    trap = tmp_path / "sprung"
    (home / ".ssh" / "config").write_text(f"Host *\n  ProxyCommand touch {trap}\n  User root\n")
    own = asyncssh.generate_private_key("ssh-ed25519")
    own.write_private_key(str(home / ".ssh" / "id_ed25519"))
    monkeypatch.setenv("HOME", str(home))
    (near / "film").write_text("x")
    async with PasswordServer() as server:
        login = Login.model_validate({"user": "nobody", "password": "guess"})
        ended = await run(plan_for(server, [upload(near / "film", "film")], resume, login=login))
        assert ended.code == "auth_failed"
        assert server.auth_requests == ["nobody"]
    assert not trap.exists()


# Names from the far side ---------------------------------------------------------------------------


class HostileNames(asyncssh.SFTPServer):
    """Lists names that would leave the destination, beside an honest one."""

    names = (b"..", b"../../climbed", b"/abs/olute", b"a\\b", b"nul\0l", b"", b"x" * 300, b"honest")

    async def scandir(self, path: bytes):  # type: ignore[no-untyped-def] # the library leaves it open
        for name in self.names:
            mode = 0o100644
            yield asyncssh.SFTPName(
                name, attrs=asyncssh.SFTPAttrs(permissions=mode, size=6, mtime=1, atime=1)
            )

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return self.stat(path)

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        mode = 0o040755 if path.endswith(b"trap") else 0o100644
        return asyncssh.SFTPAttrs(permissions=mode, size=6, mtime=1, atime=1)

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        return path

    def close(self, file_obj: object) -> None:
        return None

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        return self.stat(b"file")

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return b"poison"[offset : offset + size]


async def test_names_that_climb_fail_alone(near: Path, resume: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    async with PasswordServer(sftp=HostileNames) as server:
        listener = Listener()
        ended = await run(plan_for(server, [download("/trap", near, "trap")], resume), listener)
    assert (ended.outcome, ended.code) == ("failed", "unsafe_name")
    assert ended.message.startswith("6 of 7 files failed.")
    assert tree(near) == {"trap": None, "trap/honest": b"poison"}
    made = set(tmp_path.rglob("*")) - before
    assert {path.relative_to(tmp_path).parts[0] for path in made} <= {"near", "resume", "resume.locks"}


async def test_a_plan_with_climbing_names_is_refused_too(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (far / "film").write_text("x")
    ended = await run(plan_for(sshd, [download(far / "film", near, "..", "film")], resume))
    assert (ended.outcome, ended.code) == ("failed", "unsafe_name")
    assert not (near.parent / "film").exists()


async def test_a_grant_does_not_reach_above_itself(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    (near / "in").mkdir()
    (near / "secret").write_text("x")
    facts = (near / "in").stat()
    source = LocalRef(path=str(near / "in"), device=facts.st_dev, inode=facts.st_ino, below=("..", "secret"))
    ended = await run(plan_for(sshd, [Upload(source=source, target=str(far / "stolen"))], resume))
    assert (ended.outcome, ended.code) == ("failed", "source_changed")
    assert tree(far) == {}


async def test_secrets_are_not_in_the_log(near: Path, resume: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="connect_helper")
    (near / "film").write_text("x")
    async with PasswordServer() as server:
        for password in (server.password, "canary-1"):
            login = Login.model_validate({"user": server.user, "password": password})
            plan = plan_for(server, [upload(near / "film", "film")], resume, login=login)
            session = Session(plan, Listener())
            await session.run()
            assert password not in repr(plan) + repr(vars(session))
        assert "canary-1" not in caplog.text
        assert server.password not in caplog.text


def test_refs_are_what_they_say(tmp_path: Path) -> None:
    assert ref(tmp_path, "a").below == ("a",)


async def test_in_a_folder_this_session_made_a_name_that_is_taken_is_a_collision(
    sshd: SshServer, far: Path, near: Path, resume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server that takes "Film" and "film" for one name: nobody else can have put it there."""
    (far / "film").write_bytes(b"of another source of this transfer")
    (near / "film").write_bytes(b"new")
    monkeypatch.setattr(SftpTransport, "is_new", lambda _self, _folder: True)
    listener = Listener()
    ended = await run(plan_for(sshd, [upload(near / "film", far / "film")], resume), listener)
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert (far / "film").read_bytes() == b"of another source of this transfer"


async def test_a_folder_whose_time_cannot_be_set_fails_nothing(
    sshd: SshServer, far: Path, near: Path, resume: Path
) -> None:
    """Somebody puts a file in the place of a folder that arrived."""
    (far / "show" / "empty").mkdir(parents=True)
    (far / "show" / "film").write_bytes(noise(600_000))
    os.utime(far / "show", (1_000_000_000, 1_000_000_000))
    listener = Listener()
    items = [download(far / "show", near, "show")]
    policies = {"preserve_times": True}
    session = Session(plan_for(sshd, items, resume, policies=policies, rate_kbps=2_000), listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: listener.written() > 0)
    (near / "show" / "empty").rmdir()
    (near / "show" / "empty").write_text("of the user")
    session.set_rate(None)
    ended = await running
    assert (ended.outcome, ended.message) == ("completed", "")
    assert (near / "show").stat().st_mtime == 1_000_000_000
    assert (near / "show" / "empty").read_text() == "of the user"
