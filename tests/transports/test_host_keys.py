"""The judgement on host keys, and the list of known servers."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import asyncssh
import pytest

from connect_helper.errors import Unavailable
from connect_helper.settings import HOME_VARIABLE, Folders
from connect_helper.transports.host_keys import (
    KnownKeys,
    Verdict,
    algorithms_to_offer,
    fingerprint,
    judge,
    refusal,
)
from connect_helper.transports.known_hosts import KnownHosts
from connect_helper.transports.ssh_connection import key_line

# Always the same key: the names of some tests below are made of it.
KEY = asyncssh.import_public_key(
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINCT6pzdjbcsdNSbQnAFFwyR4DoUqD8ERxWcDSTvKphX"
)
LINE = key_line(KEY)
OTHER = key_line(asyncssh.generate_private_key("ssh-ed25519"))
BLOB = KEY.public_data
SHA1 = hashlib.sha1(BLOB).digest()
SHA256 = hashlib.sha256(BLOB).digest()
MD5 = hashlib.md5(BLOB).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "sshfp",
    [
        SHA1.hex(),
        SHA1.hex().upper(),
        SHA1.hex(":"),
        SHA256.hex(),
        SHA256.hex(":").upper(),
        "SHA256:" + b64(SHA256),
        "SHA256:" + b64(SHA256).rstrip("="),
        "sha256:" + b64(SHA256).rstrip("="),
        "SHA1:" + b64(SHA1),
        "SHA1:" + SHA1.hex(":"),
        "SHA-256:" + SHA256.hex(),
        b64(SHA1),
        b64(SHA256),
        f"  {SHA1.hex()}\n",
    ],
)
def test_fingerprints_in_every_spelling_are_understood(sshfp: str) -> None:
    assert judge(KnownKeys(sshfp=sshfp), LINE) is Verdict.TRUSTED
    assert judge(KnownKeys(sshfp=sshfp), OTHER) is Verdict.MISMATCH


@pytest.mark.parametrize(
    "sshfp",
    ["", "x", MD5, f"MD5:{MD5}", SHA1.hex()[:-1], "SHA256:", "SHA256:" + b64(SHA1), b64(SHA256)[:-4], "é"],
)
def test_anything_else_matches_nothing(sshfp: str) -> None:
    assert judge(KnownKeys(trusted=(LINE,), sshfp=sshfp), LINE) is Verdict.MISMATCH


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (KnownKeys(), Verdict.UNKNOWN),
        (KnownKeys(trusted=(LINE,)), Verdict.TRUSTED),
        (KnownKeys(trusted=(OTHER, LINE)), Verdict.TRUSTED),
        (KnownKeys(trusted=(OTHER,)), Verdict.CHANGED),
        (KnownKeys(revoked=(LINE,)), Verdict.REVOKED),
        (KnownKeys(trusted=(LINE,), revoked=(LINE,)), Verdict.REVOKED),
        (KnownKeys(revoked=(LINE,), sshfp=SHA256.hex()), Verdict.REVOKED),
        (KnownKeys(trusted=("nonsense",)), Verdict.CHANGED),
        # A page's fingerprint does not talk a changed key through, nor replace a known one.
        (KnownKeys(trusted=(OTHER,), sshfp=SHA256.hex()), Verdict.CHANGED),
        (KnownKeys(trusted=(LINE,), sshfp=SHA256.hex()), Verdict.TRUSTED),
    ],
)
def test_every_case_has_its_verdict(known: KnownKeys, verdict: Verdict) -> None:
    assert judge(known, LINE) is verdict
    if verdict is not Verdict.TRUSTED:
        assert fingerprint(LINE) in refusal(verdict, known, LINE, "h.example").user_message


def test_known_types_are_asked_for_first() -> None:
    rsa = key_line(asyncssh.generate_private_key("ssh-rsa", key_size=2048))
    assert algorithms_to_offer(KnownKeys(trusted=(rsa,)))[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    assert algorithms_to_offer(KnownKeys())[0] == "ssh-ed25519"
    assert not any("rsa" in name for name in algorithms_to_offer(KnownKeys(), without=frozenset({"ssh-rsa"})))


def test_fingerprints_are_those_of_openssh(tmp_path: Path) -> None:
    KEY.write_public_key(str(tmp_path / "key.pub"))
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True
    )
    assert fingerprint(LINE) == shown.stdout.split()[1]


@pytest.fixture
def known_hosts(tmp_path: Path) -> KnownHosts:
    folders = Folders.from_environment({HOME_VARIABLE: str(tmp_path)})
    folders.create()
    return KnownHosts(folders)


def test_a_key_is_known_for_its_host_and_port_only(known_hosts: KnownHosts) -> None:
    assert known_hosts.lookup("h.example", 22) == ((), ())
    known_hosts.add("H.example", 22, LINE)
    known_hosts.add("h.example", 2222, OTHER)
    known_hosts.add("h.example", 22, LINE)
    assert known_hosts.lookup("h.EXAMPLE", 22) == ((LINE,), ())
    assert known_hosts.lookup("h.example", 2222) == ((OTHER,), ())
    assert known_hosts.lookup("h.example", 33001) == ((), ())
    assert known_hosts.lookup("example", 22) == ((), ())
    assert known_hosts.path.stat().st_mode & 0o777 == 0o600
    assert known_hosts.path.read_text().count(LINE) == 1


def test_openssh_reads_the_file(known_hosts: KnownHosts) -> None:
    known_hosts.add("h.example", 2222, LINE)
    found = subprocess.run(
        ["ssh-keygen", "-F", "[h.example]:2222", "-f", str(known_hosts.path)], capture_output=True, text=True
    )
    assert LINE in found.stdout


def test_revoked_and_strange_lines(known_hosts: KnownHosts) -> None:
    known_hosts.path.write_text(
        f"# comment\n\n@revoked h.example {LINE}\n@cert-authority h.example {OTHER}\n"
        f"|1|abc= {OTHER}\nh.example\n"
        f"a.example,h.example {OTHER} a comment\n"
    )
    assert known_hosts.lookup("h.example", 22) == ((OTHER,), (LINE,))
    known_hosts.add("new.example", 22, LINE)
    assert known_hosts.forget("h.example", 22) == 1
    assert known_hosts.lookup("h.example", 22) == ((), (LINE,))
    assert "@cert-authority" in known_hosts.path.read_text()


def test_a_list_that_cannot_be_read_is_no_empty_list(known_hosts: KnownHosts) -> None:
    known_hosts.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Unavailable):
        known_hosts.lookup("h.example", 22)


def test_a_key_that_cannot_be_remembered_is_said(known_hosts: KnownHosts) -> None:
    known_hosts.path.parent.rmdir()
    with pytest.raises(Unavailable) as raised:
        known_hosts.add("h.example", 22, LINE)
    assert "known_hosts cannot be written: No such file" in raised.value.user_message
