"""Which dialogs this machine can show by itself, and whether it shows what is dragged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

from connect_helper.picking.base import Asker, Picker
from connect_helper.picking.drags import DragWatch, NoDragWatch
from connect_helper.picking.kdialog import Kdialog
from connect_helper.picking.macos import PROGRAM as OSASCRIPT
from connect_helper.picking.macos import MacDialogs
from connect_helper.picking.macos_drags import PasteboardWatch
from connect_helper.picking.programs import PROGRAM_FOLDERS, find_program
from connect_helper.picking.windows import WindowsDialogs, powershell
from connect_helper.picking.zenity import Zenity

logger = logging.getLogger(__name__)


class Desktop(Picker, Asker, Protocol):
    """Something that shows both file dialogs and questions."""


def find_desktop(
    environment: Mapping[str, str] = os.environ,
    *,
    platform: str = sys.platform,
    folders: Sequence[str] = PROGRAM_FOLDERS,
) -> Desktop | None:
    """The dialogs of this machine; None where there is no desktop or no program to show them.

    Under KDE kdialog is taken first, elsewhere zenity; whichever is installed serves.
    """
    if platform == "darwin":
        # Logged in over SSH there is no window server to show a dialog on.
        return None if "SSH_CONNECTION" in environment else MacDialogs(environment, program=OSASCRIPT)
    if platform == "win32":
        program = powershell(environment)
        return WindowsDialogs(program, environment) if program else None
    if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        return None
    zenity, kdialog = find_program("zenity", folders), find_program("kdialog", folders)
    prefers_kde = "KDE" in environment.get("XDG_CURRENT_DESKTOP", "").upper().split(":")
    if kdialog and (prefers_kde or not zenity):
        return Kdialog(kdialog, environment)
    return Zenity(zenity, environment) if zenity else None


def find_drag_watch(
    environment: Mapping[str, str] = os.environ, *, platform: str = sys.platform
) -> DragWatch:
    """What shows drags on this machine. Each kind needs a library that is loaded only where it is used.

    On Wayland there is none: what X programs see of drags there may have been made up by any window. Nor on
    the screen of another machine, whose paths and processes are not ours.
    """
    watch: DragWatch = NoDragWatch()
    try:
        if platform == "darwin":
            watch = PasteboardWatch(import_module("connect_helper.picking.macos_board").MacBoard())
        elif platform.startswith("linux") and _is_own_x11(environment):
            module = import_module("connect_helper.picking.x11_drags")
            watch = module.X11DragWatch(environment["DISPLAY"])
    except ImportError as error:
        logger.info("drags are not watched, %s is not installed; dropped files are asked about", error.name)
    return watch


def _is_own_x11(environment: Mapping[str, str]) -> bool:
    wayland = environment.get("WAYLAND_DISPLAY") or environment.get("XDG_SESSION_TYPE") == "wayland"
    return environment.get("DISPLAY", "").startswith((":", "unix:")) and not wayland
