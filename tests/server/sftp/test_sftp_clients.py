"""Clients as people have them: each sends, fetches, lists and changes files on our server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.sftp_server import USER, FarEnd

CONTENT = os.urandom(3_000_001)  # several requests of any client, and no round number


def source(end: FarEnd) -> Path:
    path = end.folder / "film"
    path.write_bytes(CONTENT)
    return path


async def test_sftp_sends_and_fetches_a_file(end: FarEnd) -> None:
    ran = await end.sftp(f"put {source(end)} movie", f"get movie {end.folder / 'back'}")
    assert ran.code == 0, ran.err
    assert (end.root / "movie").read_bytes() == CONTENT
    assert (end.folder / "back").read_bytes() == CONTENT


async def test_openssh_gets_the_quick_cipher_though_it_would_choose_another(end: FarEnd) -> None:
    ran = await end.sftp("pwd", options=("-v",))
    assert ran.code == 0, ran.err
    assert "cipher: aes128-gcm@openssh.com" in ran.err


async def test_sftp_with_a_cipher_of_old_clients(end: FarEnd) -> None:
    commands = (f"put {source(end)} movie", f"get movie {end.folder / 'back'}")
    ran = await end.sftp(*commands, options=("-c", "aes256-ctr"))
    assert ran.code == 0, ran.err
    assert (end.folder / "back").read_bytes() == CONTENT


async def test_a_cipher_without_authentication_is_refused(end: FarEnd) -> None:
    ran = await end.sftp("pwd", options=("-c", "aes128-cbc"))
    assert ran.code != 0
    assert not end.sessions.history()


async def test_new_keys_in_the_middle_of_a_transfer(end: FarEnd) -> None:
    ran = await end.sftp(
        f"put {source(end)} movie",
        f"get movie {end.folder / 'back'}",
        options=("-o", "RekeyLimit=256K", "-c", "aes128-gcm@openssh.com"),
    )
    assert ran.code == 0, ran.err
    assert (end.root / "movie").read_bytes() == CONTENT
    assert (end.folder / "back").read_bytes() == CONTENT


async def test_sftp_changes_names_and_properties(end: FarEnd) -> None:
    (end.root / "old").write_bytes(b"12345")
    ran = await end.sftp(
        "mkdir d", "rename old d/new", "chmod 600 d/new", "ln -s d/new link", "ls -la", "ls -l d", "df"
    )
    assert ran.code == 0, ran.err
    assert (end.root / "d/new").stat().st_mode & 0o777 == 0o600
    assert (end.root / "link").readlink() == Path("d/new")
    assert f"{USER}" in ran.out
    assert "Avail" in ran.out


async def test_sftp_preserves_times_and_goes_on_with_a_part(end: FarEnd) -> None:
    film = source(end)
    os.utime(film, (1_000_000_000, 1_100_000_000))
    (end.root / "movie").write_bytes(CONTENT[:1_000_000])
    ran = await end.sftp(f"reput {film} movie", f"put -p {film} other")
    assert ran.code == 0, ran.err
    assert (end.root / "movie").read_bytes() == CONTENT
    assert (end.root / "other").stat().st_mtime == 1_100_000_000


async def test_sftp_sends_and_fetches_a_folder(end: FarEnd) -> None:
    tree = end.folder / "tree"
    (tree / "a/b").mkdir(parents=True)
    for number in range(30):
        (tree / "a/b" / f"{number}").write_bytes(os.urandom(number * 1000))
    ran = await end.sftp(f"put -R {tree} tree", f"get -R tree {end.folder / 'back'}")
    assert ran.code == 0, ran.err
    for number in range(30):
        sent = (tree / "a/b" / f"{number}").read_bytes()
        assert (end.root / "tree/a/b" / f"{number}").read_bytes() == sent
        assert (end.folder / "back/a/b" / f"{number}").read_bytes() == sent


async def test_scp_sends_and_fetches(end: FarEnd) -> None:
    film, options = source(end), (*end.ssh_options, "-P", str(end.port))
    up = await end.run("scp", *options, "-p", str(film), f"{USER}@127.0.0.1:movie")
    down = await end.run("scp", *options, f"{USER}@127.0.0.1:movie", str(end.folder / "back"))
    assert (up.code, down.code) == (0, 0), up.err + down.err
    assert (end.folder / "back").read_bytes() == CONTENT


async def test_the_old_protocol_of_scp_and_a_shell_are_refused(end: FarEnd) -> None:
    options = (*end.ssh_options, "-P", str(end.port))
    old = await end.run("scp", "-O", *options, str(source(end)), f"{USER}@127.0.0.1:movie")
    shell = await end.run("ssh", *end.ssh_options, "-p", str(end.port), f"{USER}@127.0.0.1", "id")
    assert old.code != 0
    assert shell.code != 0
    assert not (end.root / "movie").exists()


async def test_rclone_copies_both_ways_and_finds_no_difference(end: FarEnd) -> None:
    tree = end.folder / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/film").write_bytes(CONTENT)
    (tree / "empty").write_bytes(b"")
    remote = (
        f":sftp,host=127.0.0.1,port={end.port},user={USER},key_file={end.key_file},shell_type=none,"
        "md5sum_command=none,sha1sum_command=none:"
    )
    common = ("--config", str(end.folder / "none"), "--retries", "1")
    up = await end.run("rclone", *common, "copy", str(tree), f"{remote}there")
    check = await end.run("rclone", *common, "check", "--download", str(tree), f"{remote}there")
    down = await end.run("rclone", *common, "sync", f"{remote}there", str(end.folder / "back"))
    assert (up.code, check.code, down.code) == (0, 0, 0), up.err + check.err + down.err
    assert (end.root / "there/sub/film").read_bytes() == CONTENT
    assert (end.folder / "back/sub/film").read_bytes() == CONTENT


async def test_lftp_mirrors_both_ways(end: FarEnd) -> None:
    tree = end.folder / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/film").write_bytes(CONTENT)
    ssh = " ".join(("ssh", "-a", "-x", *end.ssh_options))
    script = (
        f"set sftp:connect-program '{ssh}'; set net:max-retries 1; set cmd:fail-exit yes; "
        f"open -u {USER}, -p {end.port} sftp://127.0.0.1; "
        f"mirror -R {tree} there; mirror there {end.folder / 'back'}; ls there; "
        "mv there away; rm -r away; bye"
    )
    ran = await end.run("lftp", "-c", script)
    assert ran.code == 0, ran.err
    assert (end.folder / "back/sub/film").read_bytes() == CONTENT
    assert not any(end.root.iterdir())


async def test_two_channels_share_one_connection(end: FarEnd) -> None:
    (end.root / "movie").write_bytes(CONTENT)
    master = end.folder / "master"
    share = ("-o", f"ControlPath={master}", "-o", "ControlMaster=auto", "-o", "ControlPersist=10")
    place = f"{USER}@127.0.0.1"
    try:
        first = await end.sftp(f"get movie {end.folder / 'one'}", options=share)
        second = await end.sftp(f"get movie {end.folder / 'two'}", f"put {source(end)} three", options=share)
    finally:
        await end.run("ssh", *share, "-O", "exit", "-p", str(end.port), place)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert len(end.sessions.history()) + len(end.sessions.listing()) == 1
    assert (end.folder / "two").read_bytes() == CONTENT
    assert (end.root / "three").read_bytes() == CONTENT


def test_the_clients_of_these_tests_are_installed() -> None:
    assert all(map(shutil.which, ("sftp", "scp", "rclone", "lftp")))
