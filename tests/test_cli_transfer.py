"""`connect-helper send` and `receive`, as processes, against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest
from typer.testing import CliRunner

from connect_helper.cli import app
from connect_helper.commands.transfer import ALL_ANEW, BEGINS_ANEW, GOES_ON, OTHERS_ANEW
from tests.support.command import Ran, finish, ran, start, terminal
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.sshd import PasswordServer, SshServer, free_port


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
async def passwords() -> AsyncIterator[PasswordServer]:
    async with PasswordServer() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def key(tmp_path: Path, sshd: SshServer) -> Path:
    path = tmp_path / "key"
    path.write_text(sshd.client_key)
    return path


@pytest.fixture
def far(tmp_path: Path, sshd: SshServer) -> Path:
    """A folder of the test's own on the server."""
    folder = sshd.root / tmp_path.name
    folder.mkdir()
    return folder


def url(server: SshServer | PasswordServer, path: object, *, port: int | None = None) -> str:
    return f"ssh://{server.user}@{server.host}:{port or server.port}{path}"


async def test_files_and_folders_go_up_and_come_back(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    film = tmp_path / "film one.mov"
    film.write_bytes(noise(700_000))
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "note.txt").write_text("note")
    login = ("-i", key, "--host-key", sshd.fingerprint)

    sent = await ran(home, "send", film, tmp_path / "tree", url(sshd, far / "new" / "in"), *login)
    assert (sent.code, sent.err) == (0, "")
    assert (far / "new" / "in" / "film one.mov").read_bytes() == film.read_bytes()
    assert (far / "new" / "in" / "tree" / "deep" / "note.txt").read_text() == "note"
    assert "Done: 2 files, 700 kB in " in sent.out

    sources = [url(sshd, far / "new" / "in" / name) for name in ("film%20one.mov", "tree")]
    got = await ran(home, "receive", *sources, tmp_path / "out" / "here", *login)
    assert (got.code, got.err) == (0, "")
    assert (tmp_path / "out" / "here" / "film one.mov").read_bytes() == film.read_bytes()
    assert (tmp_path / "out" / "here" / "tree" / "deep" / "note.txt").read_text() == "note"

    again = await ran(home, "receive", *sources, tmp_path / "out" / "here", *login)
    assert "(2 left as they were)" in again.out


async def test_one_source_can_get_another_name(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("text")
    login = ("-i", key, "--host-key", sshd.fingerprint, "--as")
    assert (await ran(home, "send", tmp_path / "a", url(sshd, far), *login, "b")).code == 0
    assert (await ran(home, "receive", url(sshd, far / "b"), tmp_path / "out", *login, "c")).code == 0
    assert (tmp_path / "out" / "c").read_text() == "text"


async def test_json_tells_each_file_and_ends_with_totals_and_receipts(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abcde")
    (far / "b").mkdir()  # in the way
    login = ("-i", key, "--host-key", sshd.fingerprint, "--checksum", "sha-256", "--json")
    sent = await ran(home, "send", tmp_path / "a", tmp_path / "b", url(sshd, far), *login)
    assert (sent.code, sent.err) == (1, "")
    assert {line["type"] for line in sent.lines} == {"progress", "file", "result"}
    *others, result = sent.lines
    files = [{**line} for line in others if line["type"] == "file"]
    assert result["type"] == "result"
    assert result["outcome"] == "failed"
    assert (result["files_done"], result["files_failed"], result["bytes_written"]) == (1, 1, 3)
    assert result["receipts"] == [{name: file[name] for name in file if name != "type"} for file in files]
    done, failed = sorted(result["receipts"], key=lambda one: str(one["path"]))
    assert done == {
        "path": str(tmp_path / "a"),
        "remote_path": str(far / "a"),
        "size": 3,
        "state": "done",
        "proof": "digest",
        "digest": "sha-256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "code": "",
        "message": "",
    }
    assert (failed["state"], failed["code"]) == ("failed", "target_is_folder")
    progress = next(line for line in sent.lines if line["type"] == "progress")
    assert {"phase", "bytes_written", "bytes_expected", "rate_kbps", "remaining_s", "current"} <= set(
        progress
    )


async def test_some_files_failed_is_said_and_ends_with_1(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (far / "b").mkdir()
    sent = await ran(
        home, "send", tmp_path / "a", tmp_path / "b", url(sshd, far), "-i", key, "--host-key", "accept-new"
    )
    assert sent.code == 1
    assert f"failed: {tmp_path / 'b'}" in sent.err
    assert "1 of 2 files failed" in sent.err
    assert (far / "a").read_text() == "a"


async def test_the_policies_are_honoured(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("new")
    (tmp_path / "tree" / "link").symlink_to("a")
    os.utime(tmp_path / "tree" / "a", (1_000_000_000, 1_000_000_000))
    (far / "tree").mkdir()
    (far / "tree" / "a").write_text("as it was")
    common = ("send", tmp_path / "tree", url(sshd, far), "-i", key, "--host-key", "accept-new")

    assert (await ran(home, *common, "--overwrite", "none", "--symlinks", "skip")).code == 0
    assert (far / "tree" / "a").read_text() == "as it was"
    assert not (far / "tree" / "link").exists()

    assert (await ran(home, *common, "--overwrite", "always", "--preserve-times")).code == 0
    assert (far / "tree" / "a").read_text() == "new"
    assert (far / "tree" / "a").stat().st_mtime == 1_000_000_000
    assert (far / "tree" / "link").read_text() == "new"

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("mine")
    source = url(sshd, far / "tree" / "a")
    got = await ran(home, "receive", source, tmp_path / "out", "-i", key, "--existing", "keep-both")
    assert got.code == 0
    assert (tmp_path / "out" / "a").read_text() == "mine"
    assert (tmp_path / "out" / "a (1)").read_text() == "new"


def test_a_wrong_command_line_ends_with_2_and_touches_nothing(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("a")
    here, there = tmp_path / "a", url(sshd, far)
    key_there = ("-i", key)
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("send", here), "Missing argument"),
        (("send", tmp_path / "none", there, *key_there), "does not exist"),
        (("send", here, "server:/in", *key_there), "ssh://"),
        (("send", there, there, *key_there), "local"),
        (("send", here, f"ssh://ana:hunter2@{sshd.host}/in", *key_there), "password"),
        (("send", here, there), "no terminal"),
        (("send", here, there, "-i", tmp_path / "no-key"), "cannot be read"),
        (("send", here, there, "-i", here), "no private key"),
        (("send", here, there, "--password-stdin"), "no password"),
        (("send", here, there, *key_there, "--rate", "fast"), "rate"),
        (("send", here, there, *key_there, "--host-key", "SHA256:short"), "fingerprint"),
        (("send", here, there, *key_there, "--overwrite", "perhaps"), "perhaps"),
        (
            ("send", here, there, *key_there, "--exclude-newer-than", "100", "--exclude-older-than", "200"),
            "leave out every file",
        ),
        (("send", here, there, *key_there, "--exclude", "[a"), "closing"),
        (("send", here, there, *key_there, "--move-after-transfer", ""), "--move-after-transfer must"),
        (
            ("send", here, there, *key_there, "--remove-after-transfer", "--move-after-transfer", "x"),
            "leave out --move-after-transfer",
        ),
        (("send", here, there, *key_there, "--remove-skipped"), "--remove-skipped needs --remove-after"),
        (
            ("send", here, there, *key_there, "--delete-source", "--delete-surplus"),
            "--delete-surplus would delete",
        ),
        (
            ("send", here, there, *key_there, "--obfuscate-file-names", "--delete-surplus"),
            "With --obfuscate-file-names",
        ),
        (("receive", there, tmp_path / "out", *key_there, "--obfuscate-file-names"), "No such option"),
        (("send", here, there, *key_there, "--content-protection", "decrypt"), "--content-protection can"),
        (("send", here, there, *key_there, "--content-protection", "encrypt"), "give --passphrase-stdin"),
        (
            ("send", here, there, *key_there, "--content-protection", "encrypt", "--passphrase-stdin"),
            "no passphrase for --passphrase-stdin",
        ),
        (("send", here, there, *key_there, "--passphrase-stdin"), "--passphrase-stdin needs"),
        (("send", here, there, *key_there, "--fail-bad-filepass"), "--fail-bad-filepass needs"),
        (("send", here, there, *key_there, "--multi-session-threshold", "-1"), "--multi-session-threshold"),
        (("send", here, there, *key_there, "--target-rate-cap", "fast"), "--target-rate-cap must"),
        (("send", here, there, *key_there, "--retry-duration", "soon"), "--retry-duration must"),
        (("send", here, here, there, *key_there, "--as", "x"), "several"),
        (("send", here, there, *key_there, "--as", "../x"), "separator"),
        (("receive", there, there, *key_there), "local folder"),
        (("receive", url(sshd, "/"), tmp_path / "out", *key_there), "name"),
        (("receive", there, "ssh://other.example/x", tmp_path / "out", *key_there), "one server"),
        (("receive", there, here, *key_there), "cannot be used"),
        (("send", "", there, *key_there), "A source is empty"),
        (("send", here, "", there, *key_there), "A source is empty"),
        (("receive", there, "", *key_there), "The local folder is empty"),
        (("send", here, there, *key_there, "--exclude-newer-than", ""), "No time is given"),
        (("send", here, there, *key_there, "--exclude-older-than", ""), "No time is given"),
    ]
    for arguments, word in cases:
        tried = CliRunner().invoke(app, list(map(str, arguments)), env={"CONNECT_HELPER_HOME": str(home)})
        assert (tried.exit_code, tried.stdout) == (2, ""), (arguments, tried.stderr)
        assert word in tried.stderr, (arguments, tried.stderr)
        assert "hunter2" not in tried.stderr
    assert list(far.iterdir()) == []
    assert not (tmp_path / "out").exists()


async def test_connection_and_login_failures_end_with_3(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("a")
    wrong = tmp_path / "wrong"
    wrong.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    known = ("--host-key", sshd.fingerprint)
    cases: list[tuple[tuple[str | Path, ...], str, str]] = [
        ((url(sshd, far), "-i", wrong, *known), "auth_failed", "refused the login"),
        ((url(sshd, far, port=free_port()), "-i", key, *known), "connect_refused", "refused the connection"),
        (("ssh://no-such-host.invalid/x", "-i", key), "host_not_found", "cannot be found"),
        ((url(sshd, far), "-i", key), "host_key_unknown", "was not accepted"),
        (
            (url(sshd, far), "-i", key, "--host-key", "SHA256:" + "A" * 43),
            "host_key_mismatch",
            sshd.fingerprint,
        ),
    ]
    for arguments, code, words in cases:
        tried = await ran(home, "send", tmp_path / "a", *arguments, "--json")
        assert (tried.code, tried.err) == (3, ""), (arguments, tried)
        result = tried.lines[-1]
        assert (result["type"], result["outcome"], result["code"]) == ("result", "failed", code)
        assert words in result["message"]
    tried = await ran(home, "send", tmp_path / "a", url(sshd, far), "-i", wrong, *known)
    assert tried.code == 3
    assert "refused the login" in tried.err
    assert "Traceback" not in tried.err
    assert list(far.iterdir()) == []


async def test_an_accepted_key_is_remembered_and_a_changed_one_refused(
    tmp_path: Path, home: Path, key: Path
) -> None:
    (tmp_path / "a").write_text("a")
    with SshServer() as own:
        key.write_text(own.client_key)
        sending = ("send", tmp_path / "a", url(own, own.root), "-i", key)
        assert (await ran(home, *sending)).code == 3
        assert (await ran(home, *sending, "--host-key", "accept-new")).code == 0
        assert own.host_key_line in (home / "state" / "known_hosts").read_text()
        assert (await ran(home, *sending)).code == 0
        own.kill()
        own.set_host_key(asyncssh.generate_private_key("ssh-ed25519"))
        own.start()
        for mode in ("ask", "accept-new"):
            tried = await ran(home, *sending, "--host-key", mode)
            assert tried.code == 3
            assert "has changed" in tried.err


async def test_a_password_comes_by_standard_input_and_shows_nowhere(
    tmp_path: Path, home: Path, passwords: PasswordServer
) -> None:
    (tmp_path / "a").write_text("a")
    sending = ("send", tmp_path / "a", url(passwords, "/in"), "--password-stdin", "--debug")
    sent = await ran(home, *sending, "--host-key", "accept-new", given=b"correct horse\n")
    assert sent.code == 0
    assert (passwords.root / "in" / "a").read_text() == "a"
    refused = await ran(home, *sending, given=b"battery staple\n")
    assert refused.code == 3
    for text in (sent.out, sent.err, refused.out, refused.err):
        assert "correct horse" not in text
        assert "battery staple" not in text
    kept = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"correct horse" in data or b"battery staple" in data for data in kept)


async def test_a_password_that_is_no_utf8_is_refused_with_a_sentence(
    tmp_path: Path, home: Path, passwords: PasswordServer
) -> None:
    (tmp_path / "a").write_text("a")
    sending = ("send", tmp_path / "a", url(passwords, "/in"), "--host-key", "accept-new", "--password-stdin")
    sent = await ran(home, *sending, given=b"pa\xdfwort\n")
    assert sent == Ran(2, "", '"password" must be UTF-8 text.\n')
    assert passwords.auth_requests == []


async def test_at_a_terminal_it_asks_for_key_and_password_and_shows_bars(
    tmp_path: Path, home: Path, passwords: PasswordServer
) -> None:
    film = tmp_path / "film \x1b[31m[bold].mov"
    film.write_bytes(noise(1_500_000))
    sending = ("send", film, url(passwords, "/in"), "--rate", "8M")
    async with terminal(home, *sending) as shown:
        await shown.until("Password of ana on 127.0.0.1: ")
        shown.type("correct horse\n")
        await shown.until("Trust it and remember it?")
        assert passwords.fingerprint in shown.text
        assert passwords.passwords == []
        shown.type("yes\n")
        await shown.until(" left")
        assert await shown.code() == 0, shown.text
        await shown.until("Done: 1 file, 1.5 MB in ")
    assert "━" in shown.text
    assert "Mbit/s" in shown.text
    assert "[bold]" in shown.text
    assert "\x1b[31m[bold]" not in shown.text
    assert "correct horse" not in shown.text
    assert (passwords.root / "in" / film.name).read_bytes() == film.read_bytes()


async def test_no_to_the_host_key_sends_nothing(
    tmp_path: Path, home: Path, passwords: PasswordServer
) -> None:
    (tmp_path / "a").write_text("a")
    async with terminal(home, "send", tmp_path / "a", url(passwords, "/in")) as shown:
        await shown.until("Password of ana")
        shown.type("correct horse\n")
        await shown.until("Trust it and remember it?")
        shown.type("what\n")
        await shown.until("(yes/no) what\r\nTrust it and remember it?")
        shown.type("no\n")
        assert await shown.code() == 3
    assert passwords.passwords == []
    assert not (home / "state" / "known_hosts").exists()


async def test_ctrl_c_at_the_question_ends_it(tmp_path: Path, home: Path, passwords: PasswordServer) -> None:
    (tmp_path / "a").write_text("a")
    async with terminal(home, "send", tmp_path / "a", url(passwords, "/in")) as shown:
        await shown.until("Password of ana")
        shown.type("correct horse\n")
        await shown.until("Trust it and remember it?")
        shown.type("\x03")
        assert await shown.code() == 130
    assert "Traceback" not in shown.text


async def test_ctrl_c_at_the_password_ends_it(tmp_path: Path, home: Path, passwords: PasswordServer) -> None:
    (tmp_path / "a").write_text("a")
    async with terminal(home, "send", tmp_path / "a", url(passwords, "/in")) as shown:
        await shown.until("Password of ana")
        shown.type("\x03")
        assert await shown.code() == 130
    assert "Traceback" not in shown.text


async def test_a_locked_key_is_opened_with_its_passphrase(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("a")
    locked = asyncssh.import_private_key(sshd.client_key)
    key.write_bytes(locked.export_private_key(passphrase="open sesame", rounds=50))
    sending = ("send", tmp_path / "a", url(sshd, far), "-i", key, "--host-key", sshd.fingerprint)
    async with terminal(home, *sending) as shown:
        await shown.until(f"Passphrase of {key}: ")
        shown.type("open sesame\n")
        assert await shown.code() == 0, shown.text
    (far / "a").unlink()
    assert (await ran(home, *sending, "--password-stdin", given=b"open sesame")).code == 0
    assert (await ran(home, *sending)).code == 2


async def test_sources_are_removed_moved_or_hidden(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    login = ("-i", key, "--host-key", sshd.fingerprint, "-q")
    for name in ("a", "b"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "note").write_text(name)
    tree = tmp_path / "tree"
    moving = ("send", tree / "a", url(sshd, far), *login, "--move-after-transfer", tmp_path / "sent")
    assert await ran(home, *moving, "--remove-empty-source-directory") == Ran(0, "", "")
    assert (tmp_path / "sent" / "a" / "note").read_text() == "a"
    assert not (tree / "a").exists()
    hiding = ("--obfuscate-file-names", "--delete-source")
    assert await ran(home, "send", tree, url(sshd, far), *login, *hiding) == Ran(0, "", "")
    assert not tree.exists()
    [hidden] = (far / "tree" / "b").iterdir()
    assert (len(hidden.name), hidden.read_text()) == (32, "b")
    removing = ("--remove-after-transfer", "--remove-empty-directories")
    assert (await ran(home, "receive", url(sshd, far / "a"), tmp_path / "out", *login, *removing)).code == 0
    assert list((far / "a").iterdir()) == []


async def test_a_source_that_cannot_be_moved_stays_and_is_told_of(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "plain").write_text("text")
    (tmp_path / "tree" / "link").symlink_to("plain")
    login = ("-i", key, "--host-key", sshd.fingerprint, "--remove-after-transfer")
    sent = await ran(home, "send", tmp_path / "tree", url(sshd, far), *login)
    assert sent.code == 0
    assert f"note: {tmp_path / 'tree' / 'link'}: The source stays" in sent.err


@pytest.mark.parametrize("name", ["film", "tree"])
async def test_what_a_link_named_as_source_leads_to_stays(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path, name: str
) -> None:
    (tmp_path / "tree").mkdir()
    for file in ("film", "tree/note"):
        (tmp_path / file).write_text("text")
    (tmp_path / "link").symlink_to(name)
    login = ("-i", key, "--host-key", sshd.fingerprint, "--delete-source")
    sent = await ran(home, "send", tmp_path / "link", url(sshd, far), *login)
    assert sent.code == 0
    assert "The source stays: it was reached through a link." in sent.err
    assert (tmp_path / "film").exists()
    assert (tmp_path / "tree" / "note").exists()
    assert (far / "link").exists()


async def test_files_are_encrypted_with_a_passphrase_that_comes_after_the_password(
    tmp_path: Path, home: Path, passwords: PasswordServer
) -> None:
    (tmp_path / "note").write_text("text")
    login = ("--password-stdin", "--passphrase-stdin", "--host-key", "accept-new", "--content-protection")
    given = b"correct horse\nopen sesame\n"
    sent = await ran(home, "send", tmp_path / "note", url(passwords, "/in"), *login, "encrypt", given=given)
    assert (sent.code, sent.err) == (0, "")
    assert (passwords.root / "in" / "note.age").read_bytes().startswith(b"age-encryption.org/v1\n")
    there, out = url(passwords, "/in/note.age"), tmp_path / "out"
    wrong = await ran(home, "receive", there, out, *login, "decrypt", given=b"correct horse\nsesame\n")
    assert wrong.code == 1
    assert list(out.iterdir()) == []
    got = await ran(home, "receive", there, out, *login, "decrypt", given=given)
    assert (got.code, (out / "note").read_text()) == (0, "text")


async def test_at_a_terminal_it_asks_twice_for_a_passphrase_to_encrypt_with(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "note").write_text("text")
    login = ("-i", key, "--host-key", sshd.fingerprint, "--content-protection", "encrypt")
    for second, code in (("open barley", 2), ("open sesame", 0)):
        async with terminal(home, "send", tmp_path / "note", url(sshd, far), *login) as shown:
            await shown.until("Passphrase to encrypt the files with: ")
            shown.type("open sesame\n")
            await shown.until("The same again: ")
            shown.type(f"{second}\n")
            assert await shown.code() == code, shown.text
        assert (far / "note.age").exists() == (code == 0)
        assert "open sesame" not in shown.text


async def interrupted(process: asyncio.subprocess.Process, after: int) -> Ran:
    """End it with Ctrl-C once it has moved so many bytes."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while json.loads(await process.stdout.readline()).get("bytes_written", 0) < after:
            pass
    process.send_signal(signal.SIGINT)
    return await finish(process)


@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_ctrl_c_keeps_the_partial_file_and_the_same_command_goes_on(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path, direction: str
) -> None:
    size = 12_000_000
    source = (tmp_path if direction == "send" else far) / "film"
    target = (far if direction == "send" else tmp_path / "out") / "film"
    source.write_bytes(noise(size))
    ends = (source, url(sshd, far)) if direction == "send" else (url(sshd, source), tmp_path / "out")
    arguments = (direction, *ends, "-i", key, "--host-key", sshd.fingerprint, "--json")
    process = await start(home, *arguments, "--rate", "24M")
    stopped = await interrupted(process, 3_000_000)
    assert (stopped.code, stopped.lines[-1]["outcome"]) == (130, "stopped")
    assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["film.partial"]

    resumed = await ran(home, *arguments, "--rate", "40M")
    assert resumed.code == 0, resumed
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["film"]
    written = [line["bytes_written"] for line in resumed.lines if line["type"] == "progress"]
    assert next(filter(None, written)) > 2_000_000  # it did not start from nothing


async def test_letters_that_the_output_does_not_have_stop_nothing(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")  # as where LANG is de_DE.ISO-8859-1
    (tmp_path / "日本").write_text("text")
    login = ("-i", key, "--host-key", sshd.fingerprint)
    sent = await ran(home, "send", tmp_path / "日本", url(sshd, far), *login)
    assert (sent.code, sent.err) == (0, "")
    assert sent.out.startswith("Connecting?\n")
    assert (far / "日本").read_text() == "text"


async def test_closed_streams_lead_nowhere(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("text")

    async def closed(*arguments: str | Path) -> Ran:
        script = 'exec "$@" <&- >&-'
        return await finish(await start(home, *arguments, through=("sh", "-c", script, "sh")))

    there = url(sshd, far)
    sent = await closed("send", tmp_path / "a", there, "-i", key, "--host-key", sshd.fingerprint)
    assert (sent.code, sent.out, sent.err) == (0, "", "")
    assert (far / "a").read_text() == "text"
    unknown = await closed("send", tmp_path / "a", there, "-i", key)
    assert unknown.code == 3
    assert "is not known and was not accepted" in unknown.err
    for option in ((), ("--password-stdin",)):
        refused = await closed("send", tmp_path / "a", there, *option)
        assert refused.code == 2
        assert "password" in refused.err
        assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("options", "given", "says"),
    [
        ((), b"gr\xfcn\n", '"password" must be UTF-8 text.'),
        (
            ("--content-protection", "encrypt", "--passphrase-stdin"),
            b"geheim\ngr\xfcn\n",
            "--passphrase-stdin contains a character that is not allowed.",
        ),
    ],
)
async def test_a_secret_that_is_no_text_is_refused_with_a_sentence(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    given: bytes,
    says: str,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as where LANG is de_DE.UTF-8
    (tmp_path / "a").write_text("text")
    login = ("--password-stdin", *options)
    refused = await ran(home, "send", tmp_path / "a", "ssh://user@127.0.0.1/", *login, given=given)
    assert (refused.code, refused.out, refused.err) == (2, "", f"{says}\n")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), GOES_ON),
        (("--overwrite", "older"), GOES_ON),
        (("--obfuscate-file-names",), BEGINS_ANEW),
        (("--overwrite", "always"), ALL_ANEW),
        (("--resume", "none"), ALL_ANEW),
        (("--resume", "none", "--overwrite", "older"), OTHERS_ANEW),
        (("--content-protection", "encrypt", "--passphrase-stdin"), OTHERS_ANEW),
    ],
)
async def test_after_ctrl_c_it_says_what_the_same_command_does(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path, options: tuple[str, ...], says: str
) -> None:
    (tmp_path / "film").write_bytes(noise(12_000_000))
    login = ("-i", key, "--host-key", sshd.fingerprint, "--json", "--rate", "24M")
    process = await start(home, "send", tmp_path / "film", url(sshd, far), *login, *options)
    assert process.stdin is not None
    process.stdin.write(b"passphrase\n")
    stopped = await interrupted(process, 1_000_000)
    assert (stopped.code, stopped.lines[-1]["message"]) == (130, says)


async def test_a_cut_line_is_tried_again(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "film").write_bytes(noise(3_000_000))
    async with FaultProxy(sshd.host, sshd.port, cut_after=1_500_000) as proxy:
        there = url(sshd, far, port=proxy.port)
        sent = await ran(
            home, "send", tmp_path / "film", there, "-i", key, "--host-key", "accept-new", "--json"
        )
    assert sent.code == 0, sent
    assert (far / "film").read_bytes() == (tmp_path / "film").read_bytes()
    waits = [line for line in sent.lines if line.get("phase") == "waiting"]
    assert waits
    assert waits[0]["retry_in_s"] > 0
    assert sent.lines[-1]["sessions"] == 2


async def test_a_cut_line_is_given_up_where_no_tries_are_wanted(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "film").write_bytes(noise(3_000_000))
    async with FaultProxy(sshd.host, sshd.port, cut_after=1_500_000) as proxy:
        there = url(sshd, far, port=proxy.port)
        login = ("-i", key, "--host-key", "accept-new", "--retries", "0")
        sent = await ran(home, "send", tmp_path / "film", there, *login)
    assert sent.code == 3, sent
    assert not (far / "film").exists()


async def test_the_rate_is_kept(tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path) -> None:
    (tmp_path / "film").write_bytes(noise(1_000_000))
    login = ("-i", key, "--host-key", sshd.fingerprint, "--rate", "4M", "--json")
    sent = await ran(home, "send", tmp_path / "film", url(sshd, far), *login)
    assert sent.code == 0
    assert sent.lines[-1]["elapsed_s"] > 1.7  # 8 Mbit at 4 Mbit/s


async def test_quiet_says_nothing_when_all_is_well(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, far: Path
) -> None:
    (tmp_path / "a").write_text("a")
    sent = await ran(
        home, "send", tmp_path / "a", url(sshd, far), "-i", key, "-q", "--host-key", "accept-new"
    )
    assert (sent.code, sent.out, sent.err) == (0, "", "")
