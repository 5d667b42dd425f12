"""What `doctor` finds, on a computer that a test makes up around it."""

from __future__ import annotations

import importlib.metadata
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.instance import Instance
from connect_helper.commands.checks import Check, Here, look
from connect_helper.installing import linux
from connect_helper.installing.carrying_out import Installer
from connect_helper.installing.here import plan_here
from connect_helper.settings import Folders
from tests.support.command import ran
from tests.support.sshd import free_port


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    user = tmp_path / "user"
    user.mkdir()
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(user),
        "CONNECT_HELPER_HOME": str(tmp_path / "home"),
        "DISPLAY": ":1",
    }


@pytest.fixture
def folders(environment: dict[str, str]) -> Folders:
    return Folders.from_environment(environment)


@pytest.fixture(autouse=True)
def some_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser._tryorder", ["true"])
    monkeypatch.setattr(
        "webbrowser._browsers", {"true": [None, type("Some", (), {"name": "some browser"})()]}
    )


def found(folders: Folders, environment: dict[str, str], **more: Any) -> dict[str, Check]:
    return {check.name: check for check in look(Here(folders, environment, **more))}


def test_old_python_and_libraries_are_told(folders: Folders, environment: dict[str, str]) -> None:
    old = found(folders, environment, python=(3, 11, 12), version_of=lambda name: "2.24.0")
    assert (old["python"].state, old["aiohttp"].state, old["asyncssh"].state) == ("warning", "bad", "bad")
    assert "3.11.13" in old["python"].advice
    new = found(folders, environment, python=(3, 11, 13), version_of=lambda name: "3.14.10rc1")
    assert (new["python"].state, new["aiohttp"].state, new["asyncssh"].state) == ("good", "good", "good")

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    assert found(folders, environment, version_of=none)["aiohttp"].state == "bad"


def test_ports_of_others_are_told(folders: Folders, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        all_taken = found(folders, environment, page_ports=range(port, port + 1))["ports"]
        assert all_taken.state == "bad"
        lower = found(folders, environment, page_ports=(port, free_port()))["ports"]
        assert lower.state == "warning"
        assert f"Port {port} is held by" in lower.says


def test_the_port_of_the_newer_sdk_is_looked_at_with_and_without_a_helper(
    folders: Folders, environment: dict[str, str]
) -> None:
    def seen(*ports: int) -> Check:
        return found(folders, environment, desktop_ports=ports)["desktop port"]

    free = free_port()
    assert (seen(free).state, str(free) in seen(free).says) == ("good", True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for ports in ((port,), (port, free)):
            told = seen(*ports)
            assert told.state == "warning"
            assert f"look for port {port} and do not find this helper" in told.says
            assert "End the program" in told.advice
        folders.create()
        with Instance(folders) as running:
            for desktop, state in (
                ("", "warning"),
                (f"http://127.0.0.1:{free}", "warning"),
                (f"http://127.0.0.1:{port}", "good"),
            ):
                running.record("http://127.0.0.1:33003", "http://127.0.0.1:33030", desktop)
                assert seen(port, free).state == state


def test_a_download_folder_that_cannot_be_written_to_is_bad(
    folders: Folders, environment: dict[str, str], tmp_path: Path
) -> None:
    assert found(folders, environment)["downloads"].state == "good"  # it is made when it is needed
    assert not folders.downloads.exists()
    (folders.config / "preferences.json").write_text(json.dumps({"download_folder": "/proc"}))
    bad = found(folders, environment)["downloads"]
    assert (bad.state, "/proc" in bad.says) == ("bad", True)


def test_damaged_preferences_end_the_look(folders: Folders, environment: dict[str, str]) -> None:
    folders.create()
    (folders.config / "preferences.json").write_text("{")
    seen = found(folders, environment)
    assert seen["folders"].state == "bad"
    assert str(folders.config) in seen["folders"].says
    assert "ports" not in seen


def test_links_and_start_are_good_once_installed(folders: Folders, environment: dict[str, str]) -> None:
    before = found(folders, environment)
    assert (before["links"].state, before["autostart"].state) == ("warning", "warning")
    installer = Installer(folders.state / "installed.json", find=lambda name, folders: None)
    plan = plan_here(environment)
    installer.install(plan)
    after = found(folders, environment)
    assert (after["links"].state, after["autostart"].state) == ("good", "good")
    theirs = Path(environment["HOME"]) / ".local" / "share" / "applications" / "aspera.desktop"
    theirs.write_text("[Desktop Entry]\nType=Application\nName=Other\nExec=true %u\n")
    defaults = Path(environment["HOME"]) / ".config" / "mimeapps.list"
    defaults.write_text(defaults.read_text().replace("fasp=connect-helper", "fasp=aspera", 1))
    taken = found(folders, environment)["links"]
    assert (taken.state, "fasp:" in taken.says, "faspe:" in taken.says) == ("warning", True, False)
    installer.uninstall(plan)
    assert found(folders, environment)["links"].state == "warning"


def test_a_unit_of_systemd_alone_does_not_start_it_in_every_session(
    folders: Folders, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders.create()
    around = linux.Surroundings.from_environment(environment, booted=tmp_path)
    monkeypatch.setattr(linux.Surroundings, "from_environment", lambda *_: around)
    Installer(folders.state / "installed.json", find=lambda name, folders: None).install(
        plan_here(environment)
    )
    whole = found(folders, environment)["autostart"]
    assert (whole.state, "window manager" in whole.advice) == ("good", True)
    (around.config / "autostart" / "connect-helper.desktop").unlink()  # as earlier versions installed it
    half = found(folders, environment)["autostart"]
    assert (half.state, "only where systemd" in half.says) == ("warning", True)


def test_nothing_to_ask_with_is_bad(
    folders: Folders, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(folders, environment)["dialogs"].state == "good"
    (folders.config / "preferences.json").write_text('{"dialogs": "browser"}')
    assert "in the browser" in found(folders, environment)["dialogs"].says
    (folders.config / "preferences.json").unlink()
    del environment["DISPLAY"]
    assert found(folders, environment)["dialogs"].state == "warning"
    monkeypatch.setattr("webbrowser._tryorder", [])
    monkeypatch.setattr("webbrowser._browsers", {})
    bare = found(folders, environment)
    assert (bare["browser"].state, bare["dialogs"].state) == ("warning", "bad")


async def test_the_command_says_it_in_words_and_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\n")
    browser.chmod(stat.S_IRWXU)
    monkeypatch.setenv("BROWSER", str(browser))
    said = await ran(tmp_path, "doctor")
    as_json = await ran(tmp_path, "doctor", "--json")
    assert (said.code, as_json.code) == (0, 0), said.out
    facts = json.loads(as_json.out)
    assert facts["works"] is True
    assert all(check["says"] in said.out for check in facts["checks"] if "port" not in check["name"])
    (tmp_path / "config" / "preferences.json").write_text("{")
    bad = await ran(tmp_path, "doctor", "--json")
    assert (bad.code, json.loads(bad.out)["works"]) == (1, False)
