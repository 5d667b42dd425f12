"""What `doctor` looks at: each check finds out one thing, says it, and advises where it is bad."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal

from connect_helper.api.desktop.listening import describe_desktop
from connect_helper.api.instance import Record, running_record
from connect_helper.api.listening import DESKTOP_PORTS, PAGE_PORTS, bind_first_free, describe_holders
from connect_helper.errors import ConnectHelperError, Unavailable
from connect_helper.installing import linux
from connect_helper.installing.here import plan_here
from connect_helper.installing.mimeapps import has_default
from connect_helper.installing.program import isolation
from connect_helper.installing.registry import Registry, own_registry
from connect_helper.installing.steps import Applet, DefaultHandler, RegistryTree, Symlink, TextFile
from connect_helper.picking.native import find_desktop
from connect_helper.picking.programs import find_program
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.spec.launch_links import SCHEMES

State = Literal["good", "warning", "bad"]
SAFE_PYTHON: Final = (3, 11, 13)
"""Below it, Python's own libraries lack fixes that this program counts on."""

FLOORS: Final = {"aiohttp": (3, 14, 5), "asyncssh": (2, 24, 1)}
"""Older releases accept several Host headers, or let a server write outside of the destination."""

INSTALL: Final = "Run: connect-helper install"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. Only "bad" keeps the helper from doing its work."""

    name: str
    state: State
    says: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """`{"name", "state", "says", "advice"}`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Here:
    """What is looked at."""

    folders: Folders
    environment: Mapping[str, str]
    python: tuple[int, int, int] = sys.version_info[:3]
    platform: str = sys.platform
    page_ports: Sequence[int] = PAGE_PORTS
    desktop_ports: Sequence[int] = DESKTOP_PORTS
    version_of: Callable[[str], str] = importlib.metadata.version
    registry: Registry | None = None

    @classmethod
    def now(cls, folders: Folders) -> Here:
        """This computer as it is."""
        return cls(folders, os.environ, registry=own_registry())


def look(here: Here) -> Iterator[Check]:
    """Every check, one after the other, in the order in which one looks for a fault."""
    yield _python(here)
    yield from _libraries(here)
    folders = _own_folders(here)
    yield folders
    if folders.state == "bad":
        return
    record = running_record(here.folders)
    yield _helper(record)
    yield _ports(here, record)
    yield _desktop_port(here, record)
    yield _downloads(here)
    browser, dialogs = _browser(here), _dialogs(here)
    yield browser
    yield dialogs
    yield _links(here)
    yield _autostart(here)
    yield _account(here)


def _python(here: Here) -> Check:
    version = ".".join(map(str, here.python))
    if here.python < SAFE_PYTHON:
        floor = ".".join(map(str, SAFE_PYTHON))
        return Check(
            "python", "warning", f"Python {version} lacks security fixes.", f"Use Python {floor} or newer."
        )
    alone = "" if isolation() == ["-I"] else ", with the packages of this account"
    return Check("python", "good", f"Python {version}{alone}.")


def _libraries(here: Here) -> Iterator[Check]:
    for name, floor in FLOORS.items():
        wanted = ".".join(map(str, floor))
        try:
            found = here.version_of(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "bad", f"{name} is missing.", "Install connect-helper again.")
            continue
        if _numbers(found) < floor:
            yield Check(
                name, "bad", f"{name} {found} is not safe to use.", f"Run: pip install '{name}>={wanted}'"
            )
        else:
            yield Check(name, "good", f"{name} {found}.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


def _own_folders(here: Here) -> Check:
    try:
        here.folders.create()
        PreferencesStore(here.folders)
    except ConnectHelperError as error:
        return Check("folders", "bad", error.user_message)
    return Check("folders", "good", f"Its own folders are in order: {here.folders.state}")


def _helper(record: Record | None) -> Check:
    if record is None:
        return Check("helper", "warning", "The helper does not run.", "Run: connect-helper run")
    return Check("helper", "good", f"The helper runs at {record.pages} (process {record.pid}).")


def _ports(here: Here, record: Record | None) -> Check:
    """Pages take the lowest port that answers, so a port is looked at up to that of the helper."""
    own = _port_of(record.pages) if record else _first_free(here.page_ports)
    if own is None:
        taken = f"All ports from {here.page_ports[0]} to {here.page_ports[-1]} are held by other programs."
        return Check("ports", "bad", taken, "End one of them; the helper needs one of these ports.")
    below = list(takewhile(lambda port: port != own, here.page_ports))
    held = describe_holders(below)
    if not held and record is None:  # who holds them is not to be found out on every system
        held = [f"Port {port} is held by another program." for port in below]
    if held:
        return Check("ports", "warning", " ".join(held), "End that program if pages do not find the helper.")
    return Check("ports", "good", f"Port {own}, the first that pages look at, is the helper's or free.")


def _desktop_port(here: Here, record: Record | None) -> Check:
    """Pages of the newer SDK know one port only."""
    port = _port_of(record.desktop) if record else _first_free(here.desktop_ports)
    held = describe_desktop(port, here.desktop_ports)
    if held:
        advice = "End the program there if such pages are used, and start the helper again."
        return Check("desktop port", "warning", " ".join(held), advice)
    says = f"Port {port}, where pages of the newer Aspera SDK look, is the helper's or free."
    return Check("desktop port", "good", says)


def _port_of(address: str) -> int | None:
    return int(address.rsplit(":", 1)[1]) if address else None


def _first_free(ports: Sequence[int]) -> int | None:
    try:
        with bind_first_free(ports) as free:
            return int(free.getsockname()[1])
    except Unavailable:
        return None


def _downloads(here: Here) -> Check:
    folder = PreferencesStore(here.folders).download_folder
    # The folder is made with the first download, so it is the nearest that exists that counts.
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return Check("downloads", "good", f"Downloads go to {folder}, which can be written to.")
    except OSError as error:
        return Check(
            "downloads",
            "bad",
            f"Downloads go to {folder}, which cannot be written to ({error.strerror}).",
            "Choose another folder in the preferences: connect-helper open",
        )


def _browser(here: Here) -> Check:
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return Check(
            "browser", "warning", "No browser was found to show the helper's window.", "Set BROWSER to one."
        )
    name = getattr(found, "name", "") or type(found).__name__
    return Check("browser", "good", f"The helper's window opens with {name}.")


def _dialogs(here: Here) -> Check:
    by_choice = PreferencesStore(here.folders).current.dialogs == "browser"
    if not by_choice and find_desktop(here.environment, platform=here.platform) is not None:
        return Check("dialogs", "good", "Files are chosen in dialogs of the desktop.")
    shown = here.environment.get("DISPLAY") or here.environment.get("WAYLAND_DISPLAY")
    advice = "Install zenity or kdialog for dialogs of the desktop." if shown else ""
    try:
        webbrowser.get()
    except webbrowser.Error:
        says = "There are neither dialogs of a desktop nor a browser, so nothing can be asked."
        return Check("dialogs", "bad", says, advice or "Set BROWSER to a browser.")
    says = "Files are chosen in the browser, in pages of the helper."
    if by_choice:
        return Check("dialogs", "good", f"{says} The preferences say so.")
    return Check("dialogs", "warning", says, advice)


def _links(here: Here) -> Check:
    """Whether the desktop really brings links here, which another program can have changed since."""
    missing = [scheme for scheme in SCHEMES if not _opens(here, scheme)]
    if not missing:
        return Check("links", "good", f"Links with {', '.join(f'{one}:' for one in SCHEMES)} open here.")
    words = ", ".join(f"{one}:" for one in missing)
    return Check(
        "links", "warning", f"Links with {words} do not open here, so pages cannot start it.", INSTALL
    )


def _opens(here: Here, scheme: str) -> bool:
    steps = plan_here(here.environment, platform=here.platform).steps
    for step in steps:
        if isinstance(step, DefaultHandler):
            return _is_default(here, step, f"x-scheme-handler/{scheme}")
        if isinstance(step, Applet):
            return (step.path / "Contents" / "Info.plist").exists()
    trees = {step.key: step.values for step in steps if isinstance(step, RegistryTree)}
    key = rf"Software\Classes\{scheme}"
    command = rf"{key}\shell\open\command"
    return (
        here.registry is not None and here.registry.read(command, "") == trees[key][r"shell\open\command"][""]
    )


def _is_default(here: Here, step: DefaultHandler, kind: str) -> bool:
    entry = linux.Surroundings.from_environment(here.environment).data / "applications" / step.entry
    if not entry.exists():
        return False
    asks = find_program("xdg-mime")
    if asks is None:
        text = step.path.read_text(encoding="utf-8", errors="replace") if step.path.exists() else ""
        return has_default(text, step.entry, kind)
    answer = subprocess.run(  # noqa: S603 - a program of the system by its full path
        [asks, "query", "default", kind],
        capture_output=True,
        text=True,
        check=False,
        env=dict(here.environment),
    )
    return answer.stdout.strip() == step.entry


def _autostart(here: Here) -> Check:
    plan = plan_here(here.environment, platform=here.platform)
    made = [step.path for step in plan.steps if isinstance(step, TextFile | Symlink)]
    # The links' own file says nothing about the start; the others all have to be there.
    needed = [path for path in made if "applications" not in path.parts]
    there = [path for path in needed if os.path.lexists(path)]
    if needed and there == needed:
        return Check("autostart", "good", "It starts at login.", _bare_sessions(here))
    if there and not any("autostart" in path.parts for path in there) and here.platform == "linux":
        says = "It starts at login only where systemd runs the desktop, as with GNOME and KDE Plasma."
        return Check("autostart", "warning", says, INSTALL)
    if here.registry is not None and here.registry.read(
        r"Software\Microsoft\Windows\CurrentVersion\Run", "connect-helper"
    ):
        return Check("autostart", "good", "It starts at login.")
    return Check("autostart", "warning", "It does not start at login.", INSTALL)


def _bare_sessions(here: Here) -> str:
    """What no installation can do on Linux: some window managers start nothing at all."""
    if here.platform != "linux":
        return ""
    return "A window manager without a desktop, such as i3, has to be told to start: connect-helper run"


def _account(here: Here) -> Check:
    if os.name == "posix" and os.geteuid() == 0:
        return Check(
            "account",
            "warning",
            "This is root: a mistake in choosing a file weighs more.",
            "Use your own account.",
        )
    return Check("account", "good", f"The account is {Path.home().name}.")
