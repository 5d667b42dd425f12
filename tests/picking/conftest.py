"""What the tests of dialogs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect_helper.settings import Folders, PreferencesStore

# Page text that would run something, or break out of its place, in a program that pastes it together.
HOSTILE_TEXTS = (
    '"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    '" & (do shell script "touch pwned") & "',
    "'; New-Item pwned; '",
    "<b>bold</b> & <img src=x onerror=alert(1)>",
    "--file-selection",
    "-e",
    "line\nbreak\r\nand\ttab",
    "a\x00b",
    "%s %n \\n \\x41 _under_ \x1f//\x1f",
    "\u202egpj.exe\u200b\ufeff",
    "| * | rm -rf",
    "x" * 5_000,
)


@pytest.fixture(params=HOSTILE_TEXTS, ids=lambda text: repr(text[:20]))
def hostile(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture
def preferences(tmp_path: Path) -> PreferencesStore:
    folders = Folders.from_environment({"CONNECT_HELPER_HOME": str(tmp_path / "helper")})
    folders.create()
    return PreferencesStore(folders)
