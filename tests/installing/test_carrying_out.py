"""Installing and uninstalling, on a folder and a registry of the test's own."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from connect_helper.errors import Unavailable
from connect_helper.installing import linux, macos, windows
from connect_helper.installing.carrying_out import Installer
from connect_helper.installing.linux import Surroundings
from connect_helper.installing.steps import MARK

COMPILER = """#!/bin/sh
# osacompile -o BUNDLE SOURCE
mkdir -p "$2/Contents/Resources"
cp "$3" "$2/Contents/Resources/main.scpt"
printf '<plist version="1.0"><dict><key>CFBundleExecutable</key><string>applet</string></dict></plist>' \\
    > "$2/Contents/Info.plist"
"""


class Keys:
    """A registry in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, str]] = {}

    def has(self, key: str) -> bool:
        return any(one == key or one.startswith(f"{key}\\") for one in self.keys)

    def read(self, key: str, name: str) -> str | None:
        return self.keys.get(key, {}).get(name)

    def write(self, key: str, name: str, value: str) -> None:
        names = key.split("\\")
        for depth in range(1, len(names) + 1):  # the system makes the keys above as well
            self.keys.setdefault("\\".join(names[:depth]), {})
        self.keys[key][name] = value

    def delete_value(self, key: str, name: str) -> None:
        del self.keys[key][name]

    def delete_tree(self, key: str) -> None:
        self.keys = {
            one: values for one, values in self.keys.items() if one != key and not one.startswith(f"{key}\\")
        }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    (tmp_path / "state").mkdir()
    return Installer(tmp_path / "state" / "installed.json", registry=Keys(), find=lambda name, folders: None)


def around(home: Path, *, systemd: bool = True) -> Surroundings:
    return Surroundings(home / ".local" / "share", home / ".config", systemd)


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder, with its content or target."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return path.read_text() if path.is_file() else "folder"


@pytest.mark.parametrize("systemd", [True, False])
def test_uninstall_leaves_an_empty_home_empty(home: Path, installer: Installer, systemd: bool) -> None:
    plan = linux.plan(around(home, systemd=systemd), None)
    made = installer.install(plan)
    assert {one.what for one in made} == {"made"}
    assert len(tree(home)) > 5
    removed = installer.uninstall(plan)
    assert {one.what for one in removed} == {"removed"}
    assert tree(home) == {}
    assert not installer.record.exists()
    assert installer.uninstall(plan) == []


def test_uninstall_leaves_a_lived_in_home_as_it_was(home: Path, installer: Installer) -> None:
    config = home / ".config"
    (config / "autostart").mkdir(parents=True)
    (config / "autostart" / "other.desktop").write_text("[Desktop Entry]\n")
    dots = home / "dots"
    dots.mkdir()
    (dots / "mime").write_text("[Default Applications]\nx-scheme-handler/fasp=aspera.desktop\n# \xe9\n")
    (dots / "mime").chmod(0o644)
    (config / "mimeapps.list").symlink_to(dots / "mime")
    (home / ".local" / "share" / "applications").mkdir(parents=True)
    before = tree(home)
    plan = linux.plan(around(home), None)
    installer.install(plan)
    assert (config / "mimeapps.list").is_symlink()
    assert (dots / "mime").stat().st_mode & 0o777 == 0o644
    installer.uninstall(plan)
    assert tree(home) == before


def test_a_second_time_changes_nothing(home: Path, installer: Installer) -> None:
    plan = linux.plan(around(home), None)
    installer.install(plan)
    before = tree(home)
    assert {one.what for one in installer.install(plan)} == {"unchanged"}
    assert tree(home) == before
    installer.uninstall(plan)
    assert tree(home) == {}


def test_a_machine_that_changed_to_systemd_and_back_has_what_it_needs(
    home: Path, installer: Installer
) -> None:
    entry = home / ".config" / "autostart" / "connect-helper.desktop"
    units = home / ".config" / "systemd"
    for systemd in (False, True, False, True):
        installer.install(linux.plan(around(home, systemd=systemd), None))
        assert ("X-systemd-skip=true" in entry.read_text()) == systemd
        assert any(path.is_symlink() for path in units.rglob("*.service")) == systemd
    installer.uninstall(linux.plan(around(home, systemd=False), None))
    assert tree(home) == {}


def test_what_others_put_there_is_neither_replaced_nor_removed(home: Path, installer: Installer) -> None:
    plan = linux.plan(around(home), None)
    own = home / ".config" / "systemd" / "user" / "connect-helper.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\nExecStart=/usr/bin/true\n")
    with pytest.raises(Unavailable, match="in the way"):
        installer.install(plan)
    assert list(tree(home)) == [
        ".config",
        ".config/systemd",
        ".config/systemd/user",
        str(own.relative_to(home)),
    ]
    own.unlink()
    installer.install(plan)
    own.write_text("[Service]\nExecStart=/usr/bin/true\n")
    done = {one.where: one.what for one in installer.uninstall(plan)}
    assert done[str(own)] == "left alone"
    assert own.exists()


def test_half_an_installation_is_told_and_can_be_taken_back(home: Path, installer: Installer) -> None:
    plan = linux.plan(around(home, systemd=False), None)
    (home / ".config").mkdir()
    (home / ".config" / "autostart").write_text("no folder")
    with pytest.raises(Unavailable, match="autostart"):
        installer.install(plan)
    assert (home / ".local" / "share" / "applications" / "connect-helper.desktop").exists()
    installer.uninstall(plan)
    assert list(tree(home)) == [".config", ".config/autostart"]


def test_folders_that_others_use_by_now_stay(home: Path, installer: Installer) -> None:
    plan = linux.plan(around(home), None)
    installer.install(plan)
    theirs = home / ".local" / "share" / "applications" / "other.desktop"
    theirs.write_text("[Desktop Entry]\n")
    installer.uninstall(plan)
    assert list(tree(home)) == [
        ".local",
        ".local/share",
        ".local/share/applications",
        str(theirs.relative_to(home)),
    ]


def test_the_registry_is_filled_and_emptied_but_for_what_others_own(installer: Installer) -> None:
    keys = installer.registry
    assert isinstance(keys, Keys)
    theirs = {
        r"Software\Classes\aspera\shell\open\command": {"": "aspera.exe"},
        r"Software\RegisteredApplications": {"Other": "there"},
    }
    keys.keys = {key: dict(values) for key, values in theirs.items()}
    plan = windows.plan(None)
    done = {one.where: one.what for one in installer.install(plan)}
    assert done[r"Software\Classes\aspera"] == "left alone"
    assert done[r"Software\Classes\fasp"] == "made"
    assert keys.read(r"Software\Classes\fasp\shell\open\command", "").endswith('"%1"')  # type: ignore[union-attr]
    assert {one.what for one in installer.install(plan)} == {"unchanged", "left alone"}
    installer.uninstall(plan)
    assert {key: values for key, values in keys.keys.items() if values} == theirs
    assert [key for key in keys.keys if "connect-helper" in key] == []


def test_an_installation_of_before_the_whole_key_was_marked_is_ours(installer: Installer) -> None:
    keys = installer.registry
    assert isinstance(keys, Keys)
    keys.write(windows.CAPABILITIES, "ConnectHelperNote", MARK)
    plan = windows.plan(None)
    assert "left alone" not in {one.what for one in installer.install(plan)}
    installer.uninstall(plan)
    assert [key for key in keys.keys if "connect-helper" in key] == []


def test_the_applet_is_compiled_and_told_which_links_it_opens(
    home: Path, installer: Installer, tmp_path: Path
) -> None:
    compiler = tmp_path / "osacompile"
    compiler.write_text(COMPILER)
    compiler.chmod(0o700)
    installer.find = lambda name, folders: str(compiler) if name == "osacompile" else None
    plan = macos.plan(home, None, uid=501)
    installer.install(plan)
    bundle = home / "Applications" / "connect-helper links.app"
    info = plistlib.loads((bundle / "Contents" / "Info.plist").read_bytes())
    assert info["CFBundleExecutable"] == "applet"
    assert "faspe" in info["CFBundleURLTypes"][0]["CFBundleURLSchemes"]
    assert (bundle / "Contents" / "Resources" / "main.scpt").read_text() == macos.script(None)
    installer.install(plan)
    installer.uninstall(plan)
    assert tree(home) == {}
