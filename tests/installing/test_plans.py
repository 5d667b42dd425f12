"""What is written where, on each system."""

from __future__ import annotations

import plistlib
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from connect_helper.errors import Unavailable
from connect_helper.installing import linux, macos, windows
from connect_helper.installing.here import plan_here
from connect_helper.installing.linux import Surroundings, entry_command, unit_command
from connect_helper.installing.program import PACKAGE, command, isolation
from connect_helper.installing.steps import (
    MARK,
    Applet,
    DefaultHandler,
    Plan,
    RegistryTree,
    RegistryValue,
    Symlink,
    TextFile,
)
from connect_helper.installing.wording import shown

ODD = '/opt/a b/50% "off" $HOME\\n`x`/python'


def text_of(plan: Plan, name: str) -> str:
    [text] = [step.text for step in plan.steps if isinstance(step, TextFile) and step.path.name == name]
    return text


def surroundings(*, systemd: bool) -> Surroundings:
    return Surroundings(Path("/h/share"), Path("/h/config"), systemd)


def test_sec_33_what_is_installed_runs_isolated_from_its_surroundings() -> None:
    assert command("run") == [sys.executable, "-I", "-m", "connect_helper", "run"]
    assert command("run", home=Path("/h"))[-2:] == ["--home", "/h"]
    # -I would leave out the user's own packages, where this one is.
    assert isolation(Path(site.getusersitepackages()) / "connect_helper") == ["-E", "-P"]
    assert isolation(PACKAGE) == ["-I"]


def test_links_open_by_a_desktop_file_that_is_the_default_for_every_scheme() -> None:
    plan = linux.plan(surroundings(systemd=False), None)
    lines = next(step.text for step in plan.steps if isinstance(step, TextFile)).splitlines()
    assert lines[0] == f"# {MARK}"
    assert f"Exec={sys.executable} -I -m connect_helper open-link -- %u" in lines
    [default] = [step for step in plan.steps if isinstance(step, DefaultHandler)]
    assert default.kinds == tuple(
        f"x-scheme-handler/{scheme}"
        for scheme in ("fasp", "faspe", "aspera", "aspera-drive", "com.aspera.drive")
    )
    assert f"MimeType={';'.join(default.kinds)};" in lines


def test_systemd_starts_it_in_sessions_that_it_runs_and_autostart_in_the_others() -> None:
    plan = linux.plan(surroundings(systemd=True), Path("/h/own"))
    unit = text_of(plan, "connect-helper.service")
    assert f'ExecStart="{sys.executable}" "-I" "-m" "connect_helper" "run" "--home" "/h/own"\n' in unit
    [link] = [step for step in plan.steps if isinstance(step, Symlink)]
    assert link.path.parent.name == "graphical-session.target.wants"
    [entry] = [step for step in plan.steps if isinstance(step, TextFile) and "autostart" in step.path.parts]
    assert f"Exec={sys.executable} -I -m connect_helper run --home /h/own\n" in entry.text
    # Where systemd would start the entry as well, it is the unit that starts.
    assert {"X-systemd-skip=true", "X-GNOME-HiddenUnderSystemd=true"} <= set(entry.text.splitlines())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "connect-helper.service"
    unit.write_text(text_of(linux.plan(surroundings(systemd=True), None), unit.name))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    if "Failed to" in found.stderr:
        pytest.skip(f"systemd-analyze does not run here: {found.stderr.splitlines()[0]}")
    assert unit.name not in found.stderr


def test_the_desktop_starts_it_where_there_is_no_systemd() -> None:
    plan = linux.plan(surroundings(systemd=False), None)
    entries = [step for step in plan.steps if isinstance(step, TextFile)]
    assert str(entries[1].path) == "/h/config/autostart/connect-helper.desktop"
    assert f"Exec={sys.executable} -I -m connect_helper run\n" in entries[1].text
    assert "systemd" not in entries[1].text.lower()


def test_folders_follow_the_variables_that_hold_full_paths() -> None:
    found = Surroundings.from_environment({"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "here"})
    assert (found.data, found.defaults) == (Path("/d"), Path("/h/.config/mimeapps.list"))


def test_paths_with_odd_signs_stay_one_argument_and_are_no_code() -> None:
    # In a desktop file the value is unescaped first, then read as quoted words; "%%" is a percent sign.
    unescaped = entry_command([ODD, "run"]).replace("\\\\", "\\")
    read = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {unescaped}"], capture_output=True, text=True)
    assert [word.replace("%%", "%") for word in read.stdout.split("\0")] == [ODD, "run", ""]
    assert unit_command([ODD]) == '"/opt/a b/50%% \\"off\\" $$HOME\\\\n`x`/python"'
    for write in (entry_command, unit_command):
        with pytest.raises(Unavailable):
            write(["/opt/line\nExec=evil/python"])


def test_a_mac_gets_a_launch_agent_and_an_applet() -> None:
    plan = macos.plan(Path("/Users/ana"), None, uid=501)
    agent = plistlib.loads(text_of(plan, "org.connect-helper.helper.plist").encode())
    assert agent["ProgramArguments"] == command("run")
    assert agent["RunAtLoad"] is True
    assert MARK in agent.values()
    [applet] = [step for step in plan.steps if isinstance(step, Applet)]
    [types] = applet.info["CFBundleURLTypes"]
    assert types["CFBundleURLSchemes"][:3] == ["fasp", "faspe", "aspera"]
    assert applet.script.startswith("on open location theLink\n")
    assert '& " " & quoted form of theLink &' in applet.script
    assert f'quoted form of "{sys.executable}" & " " & quoted form of "-I"' in applet.script


def test_windows_gets_values_of_the_current_user_only() -> None:
    plan = windows.plan(None)
    trees = {step.key: step.values for step in plan.steps if isinstance(step, RegistryTree)}
    fasp = trees[r"Software\Classes\fasp"]
    assert fasp[""]["URL Protocol"] == ""
    assert fasp[r"shell\open\command"][""].endswith('-I -m connect_helper open-link -- "%1"')
    own = trees[r"Software\connect-helper"]
    assert own[r"Capabilities\URLAssociations"]["aspera"] == "connect-helper.link"
    values = {step.key.rsplit("\\", 1)[-1]: step for step in plan.steps if isinstance(step, RegistryValue)}
    assert values["RegisteredApplications"].value == windows.CAPABILITIES
    assert values["Run"].value.endswith("-I -m connect_helper run")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_a_home_of_its_own_is_kept_to_by_what_is_installed(platform: str, tmp_path: Path) -> None:
    plan = plan_here({"CONNECT_HELPER_HOME": str(tmp_path)}, platform=platform)
    everything = "\n".join(shown(step) for step in plan.steps)
    assert everything.count(str(tmp_path)) >= 2
    assert str(tmp_path) not in "\n".join(shown(step) for step in plan_here({}, platform=platform).steps)
