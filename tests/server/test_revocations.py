"""The list of revoked tokens: shared between programs, never half read, closed when damaged."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from connect_helper.server.revocations import Revocations, RevocationsUnreadable

LATER = int(time.time()) + 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revoked"


def test_without_a_list_nothing_is_revoked(path: Path) -> None:
    assert not Revocations(path).revoked("abc")


def test_another_program_s_revocation_is_seen_at_once(path: Path) -> None:
    server, command = Revocations(path), Revocations(path)
    assert not server.revoked("abc")
    command.revoke("abc", LATER)
    assert server.revoked("abc")
    assert not server.revoked("abd")
    command.revoke("abd", LATER)
    assert server.revoked("abc")
    assert server.revoked("abd")
    path.unlink()
    assert not server.revoked("abc")


def test_the_list_forgets_tokens_that_ended_long_ago(path: Path) -> None:
    revocations = Revocations(path)
    revocations.revoke("old", int(time.time()) - 26 * 3600)
    assert revocations.revoked("old")
    revocations.revoke("new", LATER)
    assert not revocations.revoked("old")
    assert path.read_text() == f"new {LATER}\n"


def test_the_list_is_private(path: Path) -> None:
    Revocations(path).revoke("abc", LATER)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {entry.name for entry in path.parent.iterdir()} == {"revoked", "revoked.lock"}


@pytest.mark.parametrize("text", ["what is this\n", "abc\n", "abc -1\n", "../x 5\n", "\x00", "é 5\n"])
def test_a_damaged_list_refuses_everything(path: Path, text: str) -> None:
    path.write_text(text)
    revocations = Revocations(path)
    with pytest.raises(RevocationsUnreadable) as caught:
        revocations.revoked("abc")
    assert str(path) not in caught.value.user_message
    with pytest.raises(RevocationsUnreadable):
        revocations.revoke("abc", LATER)
    assert path.read_text() == text


@pytest.mark.parametrize("token_id", ["", "a b", "a\nb", "a/b", "é", "a" * 65])
def test_only_ids_of_tokens_go_in(path: Path, token_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        Revocations(path).revoke(token_id, LATER)
    assert not path.exists()


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    def write(writer: int) -> None:
        own = Revocations(path)
        for number in range(10):
            own.revoke(f"{writer}-{number}", LATER)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(Revocations(path).revoked(f"{writer}-{number}") for writer in range(4) for number in range(10))
