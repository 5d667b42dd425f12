"""`connect-helper server` as a process: set up, check, run, watch, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner, Result

from connect_helper.cli import app
from connect_helper.server.accounts import Accounts
from connect_helper.server.configuration import load
from connect_helper.server.configuration_text import render
from connect_helper.server.passwords import is_hash, matches
from connect_helper.server.setting_up import self_signed
from tests.support.far_server import settings_in, user
from tests.support.server_parts import PASSWORD

COMMAND = str(Path(sys.executable).with_name("connect-helper"))


def command(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["server", *arguments], input=given)


def test_init_makes_a_server_that_check_accepts_and_shows_the_password_once(tmp_path: Path) -> None:
    made = command("init", str(tmp_path / "s"))
    assert made.exit_code == 0
    config = tmp_path / "s" / "server.toml"
    password = next(line for line in made.output.splitlines() if "password" in line).split()[1]
    account = Accounts.from_config(load(config)).get("admin")
    assert account is not None
    assert account.password_hash is not None
    assert matches(account.password_hash.get_secret_value(), password)
    for path in (tmp_path / "s").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
        assert path.is_dir() or password.encode() not in path.read_bytes()
    checked = command("check", "--config", str(config))
    assert (checked.exit_code, checked.output) == (0, f"{config} can be used: 1 user.\n")
    again = command("init", str(tmp_path / "s"))
    assert again.exit_code == 1
    assert "already" in again.output


def test_init_takes_an_aspera_conf_over_and_tells_what_it_could_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    conf = tmp_path / "aspera.conf"
    conf.write_text(
        f"""<CONF><default><file_system><access><paths><path><absolute>{tmp_path}/data</absolute></path></paths>
        </access></file_system><authorization><transfer><in><value>token</value></in></transfer>
        </authorization></default><trunks><trunk><id>1</id></trunk></trunks>
        <aaa><realms><realm><users><user><name>xfer1</name></user></users></realm></realms></aaa></CONF>"""
    )
    made = command("init", str(tmp_path / "s"), "--from-aspera-conf", str(conf))
    assert made.exit_code == 0
    assert "Warning: trunks: not supported." in made.output
    raw = tomllib.loads((tmp_path / "s" / "server.toml").read_text())
    assert [(one["name"], one["upload"]) for one in raw["user"]] == [("admin", "allow"), ("xfer1", "token")]
    assert command("check", "--config", str(tmp_path / "s" / "server.toml")).exit_code == 0


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("<http_server><enable_https>true</enable_https><cert_file>/none.pem</cert_file></http_server>",
         "The certificate /none.pem cannot be read: No such file or directory."),
        ("<server><ssh_host_key_path>/none</ssh_host_key_path></server>",
         "The host key /none cannot be read: No such file or directory."),
    ],
)  # fmt: skip
def test_an_init_that_failed_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, section: str, sentence: str
) -> None:
    conf = tmp_path / "aspera.conf"
    conf.write_text(f"<CONF>{section}</CONF>")
    failed = command("init", str(tmp_path / "s"), "--from-aspera-conf", str(conf))
    assert (failed.exit_code, failed.output) == (1, sentence + "\n")
    assert command("init", str(tmp_path / "s")).exit_code == 0


def test_an_init_for_which_the_disk_had_no_room_says_so_and_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    init = [COMMAND, "server", "init", str(folder)]
    no_room = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"]  # no file may have a single byte
    failed = subprocess.run([*no_room, *init], capture_output=True, text=True)
    assert failed.returncode == 1
    key = folder / "ssh_host_ed25519_key"
    assert failed.stderr == f"The server could not be set up: {key}: File too large.\n"
    made = subprocess.run(init, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")


def test_init_says_so_where_the_password_could_not_be_shown(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        made = subprocess.run(
            [COMMAND, "server", "init", str(tmp_path / "s")], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert made.returncode == 1
    assert made.stderr.startswith(
        f"The server is set up in {tmp_path / 's'}, but the password of admin could"
    )
    assert "Traceback" not in made.stderr
    assert made.stderr.count("\n") == 1


def test_init_says_that_the_folder_has_a_name_that_no_configuration_holds(tmp_path: Path) -> None:
    failed = command("init", str(tmp_path / "s\udcff"))
    assert (failed.exit_code, failed.output) == (
        1, "The folder must have a name in UTF-8: it stands in the configuration.\n",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_init_does_not_touch_what_stands_under_a_name_it_needs(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s" / "token.key").write_text("mine")
    assert command("init", str(tmp_path / "s")).exit_code == 1
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["files", "token.key"]
    assert (tmp_path / "s" / "token.key").read_text() == "mine"


def test_init_does_not_close_a_folder_that_others_use(tmp_path: Path) -> None:
    """`server init /etc`, by root: nobody else could read a file in there any more."""
    (tmp_path / "hosts").touch()
    tmp_path.chmod(0o755)
    refused = command("init", str(tmp_path))
    assert refused.exit_code == 1
    assert "is open to other accounts and not empty" in refused.output
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["hosts"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('[ssh]\nhost_keys = ["none"]\n', "ssh.host_keys"),
        ('[https]\nenabled = true\ncert = "none.pem"\n', "https.cert"),
        ('[[user]]\nname = "a"\ndocroot = "/none"\n', "user[a].docroot: /none is not a folder."),
        ('[[user]]\nname = "a"\ndocroot = "/tmp"\nupload = "token"\n', "user[a]: needs a token"),
        ('[token]\nkey_file = "none"\n[[user]]\nname = "a"\ndocroot = "/tmp"\n', "token.key_file"),
        ("[https]\nport = 70000\n", "https.port"),
        ('[token]\nkey_file = "/"\n', "token.key_file: / cannot be read: Is a directory."),
        ('[https]\ncert = "server.toml"\nkey = "none"\n', "https.key: "),
        ('[https]\ncert = "server.toml"\n', "https.cert, https.key: they need a certificate"),
        ('[[user]]\nname = "a"\ndocroot = "s3://bucket/x"\n',
         "user[a].docroot: give a path of this machine, as /folder/name."),
        ('[[user]]\nname = "a"\ndocroot = "file:///tmp"\n', "user[a].docroot: give a path of this machine"),
        ('[[user]]\nname = "a"\ndocroot = "/a\\u0000b"\n', "user[a].docroot: give a path of this machine"),
        ('[[user]]\nname = "a"\ndocroot = "~nobody-here/x"\n', "this machine has no user ~nobody-here."),
        ('[user]\nname = "a"\ndocroot = "/tmp"\n', "user: each user begins with [[user]]"),
        ('[[token]]\nkey_file = "none"\n', "token: is a section: [token], and below it key = value."),
        ('[ssh]\nhost_keys = "none"\n', 'ssh.host_keys: give a list, as ["one", "two"].'),
        ('[log]\nfile = "none/server.log"\n', "log.file: there is no folder "),
        ('[log]\nfile = "."\n', "is a folder. Name a file."),
        ('[server]\nstate = "server.toml"\n', "server.state: "),
        ('[server]\nstate = "server.toml/state"\n', "server.toml is no folder."),
        (f'[server]\nstate = "{"x" * 100}"\n', "is too long a path for a socket in it"),
        ('[http]\nenabled = true\nport = 9000\n[ssh]\nport = 9000\nhost_keys = ["none"]\n',
         "ssh.port, http.port: both are 9000. Set another port for one of them."),
    ],
)  # fmt: skip
def test_check_names_what_is_wrong(tmp_path: Path, change: str, sentence: str) -> None:
    config = tmp_path / "server.toml"
    rest = {"[ssh]": "enabled = false", "[https]": "enabled = false", "[http]": "enabled = true"}
    text = "".join(f"{head}\n{line}\n" for head, line in rest.items() if head not in change)
    config.write_text(text + change)
    checked = command("check", "--config", str(config))
    assert checked.exit_code == 1
    assert sentence in checked.output
    assert "Traceback" not in checked.output


def test_check_tells_of_a_list_of_revoked_tokens_that_cannot_be_read(tmp_path: Path) -> None:
    assert command("init", str(tmp_path / "s")).exit_code == 0
    (tmp_path / "s" / "revoked-tokens").write_text("a note of the operator's\n")
    told = command("check", "--config", str(tmp_path / "s" / "server.toml"))
    assert (told.exit_code, "token.revocations: " in told.output) == (0, True)


def test_check_makes_nothing(tmp_path: Path) -> None:
    assert command("init", str(tmp_path / "s")).exit_code == 0
    before = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert command("check", "--config", str(tmp_path / "s" / "server.toml")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == before


def test_check_warns_of_a_docroot_that_holds_the_servers_own_files(tmp_path: Path) -> None:
    """Whoever can fetch the token key makes tokens for everybody."""
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s" / "files").mkdir()
    config = tmp_path / "s" / "server.toml"
    (tmp_path / "link").symlink_to(tmp_path / "s")
    rest = "[ssh]\nenabled = false\n[https]\nenabled = false\n[http]\nenabled = true\n"
    for docroot, warned in (("s", True), ("link", True), ("s/files", False), ("s/state", True)):
        (tmp_path / "s" / "state").mkdir(exist_ok=True)
        config.write_text(f'{rest}[[user]]\nname = "ann"\ndocroot = "{tmp_path / docroot}"\n')
        assert ("user[ann].docroot: holds" in command("check", "--config", str(config)).output) is warned, (
            docroot
        )


def test_check_warns_of_an_aspera_conf_with_keys_that_others_can_read(tmp_path: Path) -> None:
    command("init", str(tmp_path / "s"))
    conf = tmp_path / "aspera.conf"
    key = (
        "<authorization><token><encryption_key>0123456789abcdef0123</encryption_key></token></authorization>"
    )
    place = f"<access><paths><path><absolute>{tmp_path}</absolute></path></paths></access>"
    for inside, mode, warned in ((key, 0o644, True), (key, 0o600, False), ("", 0o644, False)):
        user_ = f"<user><name>x</name>{inside}<file_system>{place}</file_system></user>"
        conf.write_text(f"<CONF><aaa><realms><realm><users>{user_}</users></realm></realms></aaa></CONF>")
        conf.chmod(mode)
        told = command("check", "--config", str(tmp_path / "s" / "server.toml"), "--aspera-conf", str(conf))
        assert (f"{conf} holds token keys" in told.output) is warned


def test_check_does_not_ask_for_the_passphrase_of_a_key(tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and a service has none."""
    key = ec.generate_private_key(ec.SECP256R1())
    secret = serialization.BestAvailableEncryption(b"secret")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form, secret))
    certificate = self_signed(key, "localhost").public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(certificate)
    config = tmp_path / "server.toml"
    config.write_text('[ssh]\nenabled = false\n[https]\ncert = "cert.pem"\nkey = "key.pem"\n')
    checked = command("check", "--config", str(config))
    assert checked.exit_code == 1
    assert "the key is protected by a passphrase" in checked.output
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(other.private_bytes(*form, serialization.NoEncryption()))
    assert "the key is not that of the certificate" in command("check", "--config", str(config)).output


def test_a_password_is_hashed_from_standard_input() -> None:
    made = command("hash-password", given="tiger\n")
    assert made.exit_code == 0
    assert is_hash(made.output.strip())
    assert command("hash-password", given="\n").exit_code == 1
    other = subprocess.run(
        [COMMAND, "server", "hash-password"], input=b"\xfft\n", capture_output=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert (other.returncode, other.stdout) == (1, b"")
    assert other.stderr == b"A password must be UTF-8 text.\n"


def test_sessions_says_when_no_server_runs(tmp_path: Path) -> None:
    command("init", str(tmp_path / "s"))
    asked = command("sessions", "--config", str(tmp_path / "s" / "server.toml"))
    assert asked.exit_code == 4
    assert "No server answers" in asked.output


@contextlib.asynccontextmanager
async def running(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The server as a process, and what it says when it runs."""
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "server", "run", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readuntil(b"host key")
        yield process, said.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(*arguments: str) -> tuple[int, str]:
    """Run another command beside the server. In a thread: it has an event loop of its own."""
    result = await asyncio.to_thread(command, *arguments)
    return result.exit_code, result.output


async def test_a_server_runs_is_watched_and_ends_at_sigterm(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "s", user("ann", tmp_path / "ann"), log={"format": "json"})
    config = tmp_path / "s" / "server.toml"
    config.write_text(render(settings))
    async with running(config) as (process, said):
        port = int(next(line for line in said.splitlines() if "http " in line).split()[-1])
        headers = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
        async with aiohttp.ClientSession(headers=headers) as client:
            url = f"http://127.0.0.1:{port}/fallback/v1/files/none"
            async with client.get(url) as response:
                assert response.status == 404
        code, listed = await ask("sessions", "--config", str(config), "--json")
        (session,) = json.loads(listed)["sessions"]
        assert (code, session["account"], session["protocol"]) == (0, "ann", "http")
        code, table = await ask("sessions", "--config", str(config))
        assert session["id"] in table
        assert await ask("sessions", "--config", str(config), "--cancel", session["id"]) == (0, "")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, log = await process.communicate()
        assert process.returncode == 0
    lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
    assert lines[-1]["message"] == "the server has stopped"
    assert PASSWORD not in log.decode()
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "state" / "transfers.sqlite")) as database:
        assert database.execute("select account, status from sessions").fetchall() == [("ann", "cancelled")]
