"""Showing a file or folder in the system's file manager: selected, never opened or run."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connect_helper.errors import NotFound, Unavailable
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer

_CALL_LIMIT_S: Final = 6.0
_LINGER_S: Final = 1.5  # a program that has not failed by then shows its window
_FILE_MANAGER: Final = "org.freedesktop.FileManager1"

Command = tuple[str, ...]


async def place_of(transfer: Transfer) -> str:
    """The path to show of a transfer: its own, or the nearest folder there is of a download on its way."""
    on_its_way = transfer.direction == "receive" and transfer.status is not Status.COMPLETED
    if not (on_its_way and transfer.start_time and transfer.explorer_path):
        return transfer.explorer_path
    return await asyncio.to_thread(_nearest, transfer.explorer_path)


def _nearest(path: str) -> str:
    here = Path(path)
    return str(next((one for one in (here, *here.parents) if os.path.lexists(one)), here))


async def reveal(path: str) -> None:
    """Show the item at the absolute `path`.

    Raises NotFound when it is gone, Unavailable where there is no file manager to ask.
    """
    await asyncio.to_thread(_reveal, path)


def commands_for(path: str, platform: str) -> tuple[tuple[Command, bool], ...]:
    """The commands to try in turn, each with "wait for its exit status"; program names come without folder.

    The path is always one argument of its own, or percent-encoded inside a file address. Where the system
    cannot select an item, the folder around it is opened; the item itself never is.
    """
    if platform == "darwin":
        return ((("open", "-R", path), True),)
    if platform == "win32":
        # Explorer's exit status says nothing.
        return ((("explorer.exe", "/select,", path), False),)
    address = "file://" + quote(os.fsencode(path), safe="/")
    item = f"/{_FILE_MANAGER.replace('.', '/')}"
    call = f"{_FILE_MANAGER}.ShowItems"
    by_gdbus = ("gdbus", "call", "--session", "--timeout", "5", "--dest", _FILE_MANAGER)
    by_dbus_send = ("dbus-send", "--session", "--print-reply", "--reply-timeout=5000")
    return (
        ((*by_gdbus, "--object-path", item, "--method", call, f"['{address}']", ""), True),
        ((*by_dbus_send, f"--dest={_FILE_MANAGER}", item, call, f"array:string:{address}", "string:"), True),
        (("xdg-open", str(Path(path).parent)), False),
    )


def _reveal(path: str) -> None:
    if not os.path.lexists(path):
        raise NotFound("It is no longer where it was; it may have been moved, renamed or deleted.")
    for (program, *arguments), wait in commands_for(path, sys.platform):
        found = shutil.which(program)
        if found and _run((found, *arguments), wait=wait):
            return
    raise Unavailable(f"No file manager answers on this computer. The item is in {Path(path).parent}.")


def _run(command: Command, *, wait: bool) -> bool:
    """Tell whether the command did its work, or at least started and did not fail at once."""
    process = subprocess.Popen(  # noqa: S603 - an absolute program and separate arguments, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = process.wait(_CALL_LIMIT_S if wait else _LINGER_S)
    except subprocess.TimeoutExpired:
        if wait:
            process.kill()
            process.wait()
            return False
        # It is the file manager itself, and the user's from here on; somebody must still note its end.
        threading.Thread(target=process.wait, name="file manager", daemon=True).start()
        return True
    return status == 0 or sys.platform == "win32"
