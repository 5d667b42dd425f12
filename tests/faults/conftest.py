"""A server and a scene for each test of faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.settings import HOME_VARIABLE, Folders
from tests.support.faults import Scene
from tests.support.sshd import SshServer


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    """A stock OpenSSH server for all tests of a module."""
    with SshServer() as server:
        yield server


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """The program's folders, below a temporary one."""
    found = Folders.from_environment({HOME_VARIABLE: str(tmp_path / "home")})
    found.create()
    return found


@pytest.fixture
def scene(sshd: SshServer, folders: Folders, tmp_path: Path) -> Scene:
    near, far = tmp_path / "near", sshd.root / tmp_path.name
    near.mkdir()
    far.mkdir()
    return Scene(sshd, folders, near, far)
