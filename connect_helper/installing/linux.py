"""Linux desktops: a desktop file for the links, an autostart entry and, with systemd, a user unit.

Sources: freedesktop.org on desktop entries, autostart and default programs; systemd.service(5),
systemd-xdg-autostart-generator(8).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.installing.program import command
from connect_helper.installing.steps import MARK, DefaultHandler, Plan, Step, Symlink, Tell, TextFile
from connect_helper.spec.launch_links import SCHEMES

ENTRY: Final = "connect-helper.desktop"
UNIT: Final = "connect-helper.service"
KINDS: Final = tuple(f"x-scheme-handler/{scheme}" for scheme in SCHEMES)
_BOOTED: Final = Path("/run/systemd/system")  # is there where systemd runs the system: sd_booted(3)
_QUOTED_IN_ENTRY: Final = frozenset(" \t\n\"'\\><~|&;$*?#()`")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a desktop looks for things."""

    data: Path  # XDG_DATA_HOME
    config: Path  # XDG_CONFIG_HOME
    systemd: bool

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, booted: Path = _BOOTED
    ) -> Surroundings:
        """As the XDG base directory specification has it: only full paths count."""
        home = Path(environment.get("HOME") or Path.home())
        return cls(
            data=_folder(environment.get("XDG_DATA_HOME"), home / ".local" / "share"),
            config=_folder(environment.get("XDG_CONFIG_HOME"), home / ".config"),
            systemd=booted.is_dir(),
        )

    @property
    def defaults(self) -> Path:
        """The user's list of default programs."""
        return self.config / "mimeapps.list"


def _folder(value: str | None, otherwise: Path) -> Path:
    return Path(value) if value and Path(value).is_absolute() else otherwise


def plan(around: Surroundings, home: Path | None) -> Plan:
    """Links in any case; started by the desktop's autostart, or by systemd in sessions that it runs.

    Many sessions on a system with systemd never reach graphical-session.target, so both are there; whichever
    comes second finds the helper running and ends.
    """
    run = command("run", home=home)
    links: tuple[Step, ...] = (
        TextFile(around.data / "applications" / ENTRY, _links_entry(home)),
        DefaultHandler(around.defaults, ENTRY, KINDS),
    )
    units = around.config / "systemd" / "user"
    unit: tuple[Step, ...] = (
        TextFile(units / UNIT, _unit(run)),
        Symlink(units / "graphical-session.target.wants" / UNIT, units / UNIT),
        Tell("systemctl", ("--user", "daemon-reload"), undo=("--user", "daemon-reload")),
    )
    entry = _autostart_entry(run, beside_unit=around.systemd)
    autostart = TextFile(around.config / "autostart" / ENTRY, entry)
    if around.systemd:
        return Plan((*links, autostart, *unit))
    return Plan((*links, autostart), instead=unit)


def _links_entry(home: Path | None) -> str:
    return _entry(
        "connect-helper",  # browsers ask with this name whether to open a link
        "Opens links that start connect-helper or carry a download",
        # Only what the desktop puts in for %u comes from outside, and as one argument.
        f"{entry_command(command('open-link', '--', home=home))} %u",
        f"MimeType={';'.join(KINDS)};",
    )


def _autostart_entry(run: Sequence[str], *, beside_unit: bool) -> str:
    keys = ["X-GNOME-Autostart-enabled=true"]
    if beside_unit:  # where systemd would start this entry, it starts the unit
        keys += ["X-systemd-skip=true", "X-GNOME-HiddenUnderSystemd=true"]
    return _entry("connect-helper", "Moves files for web pages", entry_command(run), *keys)


def _entry(name: str, comment: str, execute: str, *more: str) -> str:
    lines = [
        f"# {MARK}",
        "[Desktop Entry]",
        "Type=Application",
        f"Name={name}",
        f"Comment={comment}",
        f"Exec={execute}",
        "Terminal=false",
        "NoDisplay=true",
        *more,
    ]
    return "".join(f"{line}\n" for line in lines)


def _unit(run: Sequence[str]) -> str:
    # At the session's end, not the user's: dialogs need its display. "process": a browser that the helper
    # opened is not its own to end. 3: another helper of this user runs, which is as good.
    return f"""# {MARK}
[Unit]
Description=connect-helper: moves files for web pages
PartOf=graphical-session.target
After=graphical-session.target

[Service]
ExecStart={unit_command(run)}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=3
SuccessExitStatus=3
KillMode=process

[Install]
WantedBy=graphical-session.target
"""


def entry_command(arguments: Sequence[str]) -> str:
    """A command line as the key Exec has it: arguments quoted, then the value escaped."""
    return " ".join(_entry_argument(argument) for argument in arguments)


def _entry_argument(argument: str) -> str:
    _refuse_controls(argument)
    text = argument.replace("%", "%%")
    if not any(letter in _QUOTED_IN_ENTRY for letter in text) and text:
        return text
    for letter in '\\"`$':
        text = text.replace(letter, f"\\{letter}")
    return '"' + text.replace("\\", "\\\\") + '"'


def unit_command(arguments: Sequence[str]) -> str:
    """A command line as ExecStart has it: every argument in quotes."""
    return " ".join(_unit_argument(argument) for argument in arguments)


def _unit_argument(argument: str) -> str:
    _refuse_controls(argument)
    text = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


def _refuse_controls(argument: str) -> None:
    if any(letter < " " or letter == "\x7f" for letter in argument):
        raise Unavailable("The folder connect-helper is installed in has a name that cannot be written down.")
