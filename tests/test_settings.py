"""Folders are private or refused; preferences are kept, bounded and told about."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import InvalidRequest, Unavailable
from connect_helper.settings import (
    Folders,
    Preferences,
    PreferencesStore,
    parse_pins,
    web_folder,
    write_private,
)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.from_environment({"CONNECT_HELPER_HOME": str(tmp_path / "home")})
    made.create()
    return made


def test_one_variable_moves_everything(folders: Folders, tmp_path: Path) -> None:
    for folder in (folders.config, folders.state, folders.run, folders.logs, folders.downloads):
        assert folder.is_relative_to(tmp_path / "home")


def test_our_folders_are_ours_alone(folders: Folders) -> None:
    folders.state.chmod(0o755)
    folders.create()
    for folder in (folders.config, folders.state, folders.run, folders.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sec_09_a_linked_folder_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (home / "state").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="not a folder of its own"):
        Folders.from_environment({"CONNECT_HELPER_HOME": str(home)}).create()


def test_sec_09_a_folder_of_another_account_is_refused(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: folders.run.stat().st_uid + 1)
    with pytest.raises(Unavailable, match="belongs to another account"):
        folders.create()


def test_private_files_are_0600_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_changes_are_kept_and_told(folders: Folders) -> None:
    store = PreferencesStore(folders)
    told: list[Preferences] = []
    store.on_change(told.append)
    store.change({"concurrent_transfers": 5, "upload_limit_kbps": 20_000})
    assert told == [store.current]
    assert PreferencesStore(folders).current.concurrent_transfers == 5
    assert PreferencesStore(folders).current.upload_limit_kbps == 20_000


@pytest.mark.parametrize(
    "change",
    [
        {"concurrent_transfers": 0},
        {"concurrent_transfers": 21},
        {"upload_limit_kbps": -1},
        {"dialogs": "telepathy"},
        {"reported_version": "four"},
        {"download_folder": "relative/folder"},
        {"certificates_file": "relative/file.pem"},
        {"pinned_certificates": "a.example"},
        {"pinned_certificates": f"={'ab' * 32}"},
        {"pinned_certificates": f"a.example={'ab' * 31}"},
        {"pinned_certificates": f"a.example={'ab' * 32} a.example={'cd' * 32}"},
        {"unknown": 1},
    ],
)
def test_a_wrong_change_names_its_field_and_changes_nothing(folders: Folders, change: dict[str, Any]) -> None:
    store = PreferencesStore(folders)
    (field,) = change
    with pytest.raises(InvalidRequest) as refused:
        store.change(change)
    assert refused.value.field == field
    assert store.current == Preferences()
    assert not (folders.config / "preferences.json").exists()


@pytest.mark.parametrize(
    "damage", ["{", '{"concurrent_transfers": 0}', '{"pinned_certificates": "a.example"}']
)
def test_damaged_preferences_are_not_overwritten(folders: Folders, damage: str) -> None:
    (folders.config / "preferences.json").write_text(damage)
    with pytest.raises(Unavailable) as refused:
        PreferencesStore(folders)
    assert "mend or remove" in refused.value.user_message
    assert (folders.config / "preferences.json").read_text() == damage


def test_the_download_folder_follows_the_choice(folders: Folders, tmp_path: Path) -> None:
    store = PreferencesStore(folders)
    assert store.download_folder == folders.downloads
    store.change({"download_folder": str(tmp_path / "mine")})
    assert store.download_folder == tmp_path / "mine"
    assert json.loads((folders.config / "preferences.json").read_text())["download_folder"]


def test_our_pages_are_found() -> None:
    assert (web_folder() / "helper" / "templates" / "shell.html").is_file()


def test_fingerprints_are_read_as_programs_show_them() -> None:
    colons = ":".join(["AB"] * 32)
    text = f"Files.Example={colons}, b.example=sha256:{'cd' * 32}\n192.0.2.1={'EF' * 32}"
    assert parse_pins(text) == {"files.example": "ab" * 32, "b.example": "cd" * 32, "192.0.2.1": "ef" * 32}
    assert parse_pins("") == {}
