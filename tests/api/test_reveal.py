"""Showing an item in the file manager: selected, never run (SEC-20)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from connect_helper.api.reveal import commands_for, reveal
from connect_helper.errors import NotFound, Unavailable

HOSTILE = ["/d/a b", "/d/$(x)", "/d/';x", "/d/a,b", "/d/a\nb", "/d/-x", '/d/"x"', "/d/\udcff", "/d/%41"]


@pytest.mark.parametrize("path", HOSTILE)
def test_linux_asks_for_selection_first_and_opens_only_the_folder_else(path: str) -> None:
    (gdbus, waits), (dbus_send, _), (opener, opener_waits) = commands_for(path, "linux")
    address = gdbus[-2]
    assert waits
    assert gdbus[0] == "gdbus"
    assert address.startswith("['file:///d/")
    assert not set(address[2:-2]) & set(" $();,\n\"'\\")
    assert dbus_send[-2] == f"array:string:{address[2:-2]}"
    assert opener == ("xdg-open", "/d")
    assert not opener_waits


def test_the_address_of_an_item_means_its_exact_bytes() -> None:
    command = commands_for("/d/\udcff%,é", "linux")[0][0]
    assert command[-2] == "['file:///d/%FF%25%2C%C3%A9']"


@pytest.mark.parametrize("path", HOSTILE)
def test_macos_and_windows_select(path: str) -> None:
    assert commands_for(path, "darwin") == ((("open", "-R", path), True),)
    assert commands_for(path, "win32") == ((("explorer.exe", "/select,", path), False),)


async def test_an_item_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no longer"):
        await reveal(str(tmp_path / "gone"))


def fake_program(folder: Path, name: str, status: int) -> Path:
    """A program that notes its arguments, one a line, and ends with `status`."""
    noted = folder / f"{name}.args"
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {noted}\nexit {status}\n')
    program.chmod(0o700)
    return noted


async def test_the_next_way_is_tried_when_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    failed = fake_program(programs, "gdbus", 1)
    opened = fake_program(programs, "xdg-open", 0)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin/nothing")
    (programs / "sh").symlink_to("/bin/sh")
    item = tmp_path / "a;b.sh"
    item.write_text("#!/bin/sh\ntouch ran\n")
    item.chmod(0o700)
    await reveal(str(item))
    assert failed.read_text().splitlines()[-2].endswith("/a%3Bb.sh']")
    assert opened.read_text().splitlines() == [str(tmp_path)]
    assert not (tmp_path / "ran").exists()


async def test_no_file_manager_is_said_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    item = tmp_path / "film.mov"
    item.touch()
    with pytest.raises(Unavailable, match=str(tmp_path)):
        await reveal(str(item))
