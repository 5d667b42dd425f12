"""What was picked, as it is on disk: real path, identity, size, and a descriptor that holds on to it.

The caller makes grants of it. Everything here touches the disk and belongs in a thread.
"""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from connect_helper.errors import InvalidRequest
from connect_helper.spec.names import display

FOLDER_TYPE: Final = "inode/directory"
PINNED_FILES: Final = 256  # of one pick; each costs a descriptor
_O_PATH: Final[int] = getattr(os, "O_PATH", 0)


@dataclass(frozen=True, slots=True)
class Picked:
    """One thing the user picked. Whoever takes it closes `pin` in the end."""

    path: str  # absolute, links resolved; undecodable bytes as lone surrogates
    kind: Literal["file", "folder", "save"]
    size: int  # bytes; 0 for folders and for a file that does not exist yet
    mtime_ns: int  # 0 for a file that does not exist yet
    device: int  # st_dev; of the folder it goes into, for "save"
    inode: int  # st_ino, likewise
    pin: int | None  # O_PATH descriptor of the thing (of the folder for "save"), where there are such
    mime_type: str  # by the name; "" when unknown, FOLDER_TYPE for folders
    exists: bool = True  # False: a file to be saved under a new name


def look_at(paths: Iterable[Path], *, save: bool) -> list[Picked]:
    """Look at what a dialog returned, in its order; `save` for the answer of a save dialog.

    Raises InvalidRequest, with all descriptors closed again, when one of them is gone, unreadable or
    neither a plain file nor a folder.
    """
    found: list[Picked] = []
    try:
        for path in paths:
            found.append(_look_at_one(path, save=save, pin_file=len(found) < PINNED_FILES))
    except BaseException:
        release(found)
        raise
    return found


def release(picked: Sequence[Picked]) -> None:
    """Close the descriptors of `picked`."""
    for item in picked:
        if item.pin is not None:
            os.close(item.pin)


def _look_at_one(path: Path, *, save: bool, pin_file: bool) -> Picked:
    shown = display(os.fspath(path))
    try:
        return _look_at_new(path) if save else _look_at_old(path, pin_file=pin_file)
    except FileNotFoundError:
        message = f"{shown} is not there any more. Choose again."
    except PermissionError:
        message = f"You may not read {shown}. Choose something else."
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        message = (
            f"{shown} cannot be used ({getattr(error, 'strerror', '') or error}). Choose something else."
        )
    raise InvalidRequest(message)


def _look_at_old(path: Path, *, pin_file: bool) -> Picked:
    real = os.path.realpath(path, strict=True)
    facts, pin = _hold(real)
    if stat.S_ISDIR(facts.st_mode):
        return Picked(real, "folder", 0, facts.st_mtime_ns, facts.st_dev, facts.st_ino, pin, FOLDER_TYPE)
    if pin is not None and not (pin_file and stat.S_ISREG(facts.st_mode)):
        os.close(pin)
        pin = None
    if not stat.S_ISREG(facts.st_mode):
        raise InvalidRequest(f"{display(os.fspath(path))} is neither a file nor a folder. Choose again.")
    return Picked(
        real, "file", facts.st_size, facts.st_mtime_ns, facts.st_dev, facts.st_ino, pin, type_of(real)
    )


def _look_at_new(path: Path) -> Picked:
    parent = os.path.realpath(path.parent, strict=True)
    target = os.path.join(parent, path.name)  # noqa: PTH118 - str throughout, no Path, keeps odd bytes as they are
    old = _lstat(target)
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise InvalidRequest(f"{display(path.name)} exists and is not a plain file. Choose another name.")
    size, changed = (old.st_size, old.st_mtime_ns) if old else (0, 0)
    facts, pin = _hold(parent)
    kind = type_of(target)
    exists = old is not None
    return Picked(target, "save", size, changed, facts.st_dev, facts.st_ino, pin, kind, exists=exists)


def _hold(real: str) -> tuple[os.stat_result, int | None]:
    """The facts of what `real` names now, taken from a descriptor that keeps it, where there are such."""
    if not _O_PATH:
        return os.lstat(real), None
    descriptor = os.open(real, _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    return os.fstat(descriptor), descriptor


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def type_of(path: str) -> str:
    """The media type by the name, "" when the name tells none."""
    return mimetypes.guess_type(os.path.basename(path), strict=False)[0] or ""  # noqa: PTH119
