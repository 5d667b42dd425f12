"""Fixtures for tests of the transfer manager and its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.settings import HOME_VARIABLE, Folders
from tests.support.policies import Trip
from tests.support.sshd import SshServer


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """The program's folders, below a temporary one."""
    found = Folders.from_environment({HOME_VARIABLE: str(tmp_path / "home")})
    found.create()
    return found


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    """A stock OpenSSH server for all tests of a module."""
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
    """A fresh folder on this side."""
    folder = tmp_path / "near"
    folder.mkdir()
    return folder


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    """Where resume records go."""
    return tmp_path / "resume"


@pytest.fixture(params=["send", "receive"])
def trip(request: pytest.FixtureRequest, sshd: SshServer, far: Path, near: Path, resume: Path) -> Trip:
    """The same test for uploads and downloads."""
    sends = request.param == "send"
    return Trip(sshd, request.param, near if sends else far, far if sends else near, resume)
