"""Hidden names and encrypted files, with another program's age format as the judge, on a real server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pyrage
import pytest
from pydantic import SecretStr

from connect_helper.transfers import sealing
from connect_helper.transfers.messages import Ended
from connect_helper.transfers.plan import Login, Protect
from connect_helper.transfers.session import Session
from connect_helper.transports import age
from tests.support.policies import Trip, plant, tree
from tests.support.sessions import download, noise, plan_for, run, upload
from tests.support.sshd import SshServer

HIDDEN = re.compile(r"[a-z2-7]{32}")
SALT = "00112233445566778899aabbccddeeff"
PHRASE = "correct horse battery"
SIZES = [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_003]


@pytest.fixture
def light_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are encrypted with less work for the passphrase, where that is not what the test is about."""
    for module in (age, sealing):
        monkeypatch.setattr(module, "WORK_FACTOR", 10)


def login(sshd: SshServer, phrase: str | None = PHRASE) -> Login:
    secret = SecretStr(phrase) if phrase else None
    return Login(user=sshd.user, private_key=SecretStr(sshd.client_key), file_passphrase=secret)


def encrypting(sshd: SshServer, **more: Any) -> dict[str, Any]:
    return {"login": login(sshd), "protect": Protect(action="encrypt", salt=SALT), **more}


def decrypting(sshd: SshServer, phrase: str = PHRASE, *, strict: bool = False, **more: Any) -> dict[str, Any]:
    return {"login": login(sshd, phrase), "protect": Protect(action="decrypt", strict=strict), **more}


async def test_names_on_the_server_tell_nothing_and_are_the_same_on_a_retry(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    plant(near, "proj/secret plan.txt", "proj/sub/secret plan.txt")
    trip = Trip(sshd, "send", near, far, resume)
    for _ in range(2):
        ended = await trip.go("proj", hidden_key="ab" * 32)
        assert ended.outcome == "completed", ended.internal_message
    files = {path for path in far.rglob("*") if path.is_file()}
    assert len(files) == 2
    assert all(HIDDEN.fullmatch(path.name) for path in files)
    assert {path.parent.name for path in files} == {"proj", "sub"}
    assert sorted(path.read_text() for path in files) == ["proj/secret plan.txt", "proj/sub/secret plan.txt"]


@pytest.mark.usefixtures("light_work")
async def test_what_is_encrypted_here_opens_with_any_age_program(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    (near / "set").mkdir()
    for size in SIZES:
        (near / "set" / f"{size}.bin").write_bytes(noise(size))
    trip = Trip(sshd, "send", near, far, resume)
    ended = await trip.go("set", **encrypting(sshd, policies={"checksum": "sha-256"}))
    assert ended.outcome == "completed", ended.message
    assert set(tree(far)) == {"set", *(f"set/{size}.bin.age" for size in SIZES)}
    for size in SIZES:
        sealed = (far / "set" / f"{size}.bin.age").read_bytes()
        assert pyrage.passphrase.decrypt(sealed, PHRASE) == noise(size), size
    assert trip.listener.totals().bytes_expected == sum(
        path.stat().st_size for path in (far / "set").iterdir()
    )


@pytest.mark.usefixtures("light_work")
async def test_no_two_files_share_a_nonce(sshd: SshServer, near: Path, far: Path, resume: Path) -> None:
    for name in ("a", "b"):
        (near / name).write_bytes(bytes(1000))
    trip = Trip(sshd, "send", near, far, resume)
    assert (await trip.go("a", "b", **encrypting(sshd))).outcome == "completed"
    assert (far / "a.age").read_bytes()[-1016:] != (far / "b.age").read_bytes()[-1016:]


async def test_what_another_age_program_encrypted_is_opened_here(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    (far / "film.age").write_bytes(pyrage.passphrase.encrypt(noise(300_000), PHRASE))
    (far / "plain.txt").write_text("plain")
    ended = await fetch(sshd, far, near, resume, ["film.age", "plain.txt"], **decrypting(sshd))
    assert ended.outcome == "completed", ended.message
    assert {path.name for path in near.iterdir()} == {"film", "plain.txt"}
    assert (near / "film").read_bytes() == noise(300_000)
    assert (near / "plain.txt").read_text() == "plain"


async def fetch(
    sshd: SshServer, far: Path, near: Path, resume: Path, names: list[str], **changes: Any
) -> Ended:
    items = [download(far / name, near, name) for name in names]
    return await run(plan_for(sshd, items, resume, **changes))


async def sealed_files(sshd: SshServer, tmp_path: Path, far: Path, resume: Path) -> None:
    """Files of every size, encrypted by this program, in `far`."""
    source = tmp_path / "sealing"
    source.mkdir()
    for size in SIZES:
        (source / f"{size}.bin").write_bytes(noise(size))
    items = [upload(source / f"{size}.bin", far / f"{size}.bin") for size in SIZES]
    assert (await run(plan_for(sshd, items, resume, **encrypting(sshd)))).outcome == "completed"


async def test_there_and_back_again(
    sshd: SshServer, near: Path, far: Path, resume: Path, tmp_path: Path
) -> None:
    await sealed_files(sshd, tmp_path, far, resume)
    names = [f"{size}.bin.age" for size in SIZES]
    for name in names:  # the full work of a passphrase: 2^17
        assert re.match(rb"age-encryption\.org/v1\n-> scrypt \S{22} 17\n", (far / name).read_bytes()), name
    for _ in range(2):  # the second time everything is there already
        ended = await fetch(sshd, far, near, resume, names, **decrypting(sshd))
        assert ended.outcome == "completed", ended.message
        assert {path.name: path.read_bytes() for path in near.iterdir()} == {
            f"{size}.bin": noise(size) for size in SIZES
        }


@pytest.mark.usefixtures("light_work")
async def test_encrypted_files_that_are_there_already_are_skipped(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    (near / "film").write_bytes(noise(200_000))
    trip = Trip(sshd, "send", near, far, resume)
    assert (await trip.go("film", **encrypting(sshd))).outcome == "completed"
    again = encrypting(sshd, protect=Protect(action="encrypt", salt="ff" * 16), transfer_id="another")
    assert (await trip.go("film", **again)).outcome == "completed"
    assert trip.reports()["film.age"].state == "skipped"
    (near / "film").write_bytes(noise(200_000, seed=2))
    assert (await trip.go("film", **{**again, "transfer_id": "third"})).outcome == "completed"
    assert pyrage.passphrase.decrypt((far / "film.age").read_bytes(), PHRASE) == noise(200_000, seed=2)


@pytest.mark.usefixtures("light_work")
@pytest.mark.parametrize("strict", [True, False])
async def test_a_wrong_passphrase_leaves_nothing_behind(
    sshd: SshServer, near: Path, far: Path, resume: Path, tmp_path: Path, strict: bool
) -> None:
    await sealed_files(sshd, tmp_path, far, resume)
    (far / "plain.txt").write_text("plain")
    names = ["1.bin.age", "plain.txt"]
    ended = await fetch(sshd, far, near, resume, names, **decrypting(sshd, "wrong", strict=strict))
    assert ended.outcome == "failed"
    assert ended.code == "bad_passphrase"
    assert ended.error_code == (49 if strict else 27)
    assert not ended.retryable
    assert {path.name for path in near.iterdir()} <= {"plain.txt"}
    assert strict or (near / "plain.txt").exists()


@pytest.mark.usefixtures("light_work")
@pytest.mark.parametrize("strict", [True, False])
async def test_the_file_a_wrong_passphrase_does_not_open_is_told_as_failed(
    sshd: SshServer, near: Path, far: Path, resume: Path, tmp_path: Path, strict: bool
) -> None:
    await sealed_files(sshd, tmp_path, far, resume)
    trip = Trip(sshd, "receive", far, near, resume)
    await trip.go("1.bin.age", **decrypting(sshd, "wrong", strict=strict))
    report = trip.reports()["1.bin.age"]
    assert (report.state, report.code, report.error_code) == ("failed", "bad_passphrase", 49)


@pytest.mark.usefixtures("light_work")
async def test_a_wrong_passphrase_ends_a_file_under_way_without_a_trace(
    sshd: SshServer, near: Path, far: Path, resume: Path, tmp_path: Path
) -> None:
    await sealed_files(sshd, tmp_path, far, resume)
    (far / "slow").write_bytes(noise(5_000_000))
    names = ["slow", "1.bin.age"]
    ended = await fetch(
        sshd, far, near, resume, names, rate_kbps=1_000, **decrypting(sshd, "wrong", strict=True)
    )
    assert ended.code == "bad_passphrase"
    assert list(near.iterdir()) == []
    assert not list(resume.glob("*.json"))


@pytest.mark.usefixtures("light_work")
@pytest.mark.parametrize("damage", ["flip", "cut", "no age", "foreign"])
async def test_a_damaged_file_never_gets_its_name(
    sshd: SshServer, near: Path, far: Path, resume: Path, tmp_path: Path, damage: str
) -> None:
    await sealed_files(sshd, tmp_path, far, resume)
    victim = far / "131072.bin.age"
    data = bytearray(victim.read_bytes())
    match damage:
        case "flip":
            data[100_000] ^= 1
        case "cut":
            del data[-70_000:]
        case "no age":
            data[:] = b"no such thing" * 10
        case _:
            victim = victim.rename(far / "131072.bin.aspera-env")
    victim.write_bytes(data)
    ended = await fetch(sshd, far, near, resume, [victim.name], **decrypting(sshd))
    assert (ended.outcome, ended.code) == ("failed", "cannot_decrypt")
    assert list(near.iterdir()) == []


@pytest.mark.usefixtures("light_work")
async def test_an_unfinished_encrypted_upload_goes_on(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    content = noise(6_000_000)
    (near / "film").write_bytes(content)
    trip = Trip(sshd, "send", near, far, resume)
    plan = plan_for(sshd, [trip.item("film")], resume, rate_kbps=80_000, **encrypting(sshd))
    session = Session(plan, trip.listener)
    running = asyncio.create_task(session.run())
    await trip.listener.until(lambda: trip.listener.written() > 2_000_000)
    session.stop()
    assert (await running).outcome == "stopped"
    (partial,) = far.glob("*.partial")
    begun = partial.stat().st_size
    assert begun > 1_000_000
    assert (await trip.go("film", **encrypting(sshd))).outcome == "completed"
    first = next(event for event in trip.listener.events if getattr(event, "bytes_written", 0) > 0)
    assert first.bytes_written >= 1_000_000
    assert pyrage.passphrase.decrypt((far / "film.age").read_bytes(), PHRASE) == content


async def test_a_missing_passphrase_ends_the_session(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    plant(near, "a")
    plan = plan_for(
        sshd,
        [upload(near / "a", far / "a")],
        resume,
        login=login(sshd, None),
        protect=Protect(action="encrypt", salt=SALT),
    )
    ended = await run(plan)
    assert (ended.outcome, ended.code) == ("failed", "bad_passphrase")
    assert list(far.iterdir()) == []


@pytest.mark.usefixtures("light_work")
async def test_a_name_too_long_for_the_suffix_is_told(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    plant(near, "n" * 255, "short")
    trip = Trip(sshd, "send", near, far, resume)
    ended = await trip.go("n" * 255, "short", **encrypting(sshd))
    assert (ended.outcome, ended.code) == ("failed", "unsafe_name")
    assert set(tree(far)) == {"short.age"}
