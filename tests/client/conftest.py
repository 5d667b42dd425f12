"""Fixtures for the Python interface: a server, a key file, the program's folders below a temporary one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.settings import HOME_VARIABLE
from tests.support.sshd import SshServer


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def key(tmp_path: Path, sshd: SshServer) -> Path:
    path = tmp_path / "key"
    path.write_text(sshd.client_key)
    return path


@pytest.fixture
def address(sshd: SshServer) -> str:
    return f"ssh://{sshd.user}@{sshd.host}:{sshd.port}{sshd.root}"
