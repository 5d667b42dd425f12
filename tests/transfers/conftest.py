"""Fixtures for tests of the transfer manager and its sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect_helper.settings import HOME_VARIABLE, Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """The program's folders, below a temporary one."""
    found = Folders.from_environment({HOME_VARIABLE: str(tmp_path / "home")})
    found.create()
    return found
