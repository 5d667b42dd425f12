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
from connect_helper.picking.base import DialogKind
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


def examine_all(paths: Iterable[Path], kind: DialogKind) -> list[Picked]:
    """Examine what a dialog of `kind` returned, in its order.

    Raises InvalidRequest, with all descriptors closed again, when one of them is gone, unreadable or not of
    that kind.
    """
    found: list[Picked] = []
    try:
        for path in paths:
            found.append(examine(path, kind, pin=kind != "open-file" or len(found) < PINNED_FILES))
    except BaseException:
        release(found)
        raise
    return found


def release(picked: Sequence[Picked]) -> None:
    """Close the descriptors of `picked`."""
    for item in picked:
        if item.pin is not None:
            os.close(item.pin)


def examine(path: Path, kind: DialogKind, *, pin: bool) -> Picked:
    """Examine one path; see `examine_all`."""
    shown = display(os.fspath(path))
    try:
        return _examine_new(path, pin=pin) if kind == "save-file" else _examine_old(path, kind, pin=pin)
    except FileNotFoundError:
        message = f"{shown} is not there any more. Choose again."
    except PermissionError:
        message = f"You may not read {shown}. Choose something else."
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        message = (
            f"{shown} cannot be used ({getattr(error, 'strerror', '') or error}). Choose something else."
        )
    raise InvalidRequest(message)


def _examine_old(path: Path, kind: DialogKind, *, pin: bool) -> Picked:
    real = os.path.realpath(path, strict=True)
    facts, descriptor = _look(real, pin=pin)
    if kind == "open-file" and stat.S_ISREG(facts.st_mode):
        return Picked(
            real,
            "file",
            facts.st_size,
            facts.st_mtime_ns,
            facts.st_dev,
            facts.st_ino,
            descriptor,
            type_of(real),
        )
    if kind == "open-folder" and stat.S_ISDIR(facts.st_mode):
        return Picked(
            real, "folder", 0, facts.st_mtime_ns, facts.st_dev, facts.st_ino, descriptor, FOLDER_TYPE
        )
    if descriptor is not None:
        os.close(descriptor)
    wanted = "a plain file" if kind == "open-file" else "a folder"
    raise InvalidRequest(f"{display(os.fspath(path))} is not {wanted}. Choose again.")


def _examine_new(path: Path, *, pin: bool) -> Picked:
    parent = os.path.realpath(path.parent, strict=True)
    if not path.name or not os.path.isdir(parent):  # noqa: PTH112 - bytes-safe str paths throughout
        raise InvalidRequest("Choose a folder and a name to save under.")
    target = os.path.join(parent, path.name)  # noqa: PTH118
    old = _lstat(target)
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise InvalidRequest(f"{display(path.name)} exists and is not a plain file. Choose another name.")
    facts, descriptor = _look(parent, pin=pin)
    size, changed = (old.st_size, old.st_mtime_ns) if old else (0, 0)
    return Picked(
        target,
        "save",
        size,
        changed,
        facts.st_dev,
        facts.st_ino,
        descriptor,
        type_of(target),
        exists=old is not None,
    )


def _look(real: str, *, pin: bool) -> tuple[os.stat_result, int | None]:
    """The facts of what `real` names now, taken from the descriptor that is kept, where there are such."""
    if not _O_PATH:
        return os.lstat(real), None
    descriptor = os.open(real, _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    facts = os.fstat(descriptor)
    if pin:
        return facts, descriptor
    os.close(descriptor)
    return facts, None


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def type_of(path: str) -> str:
    """The media type by the name, "" when the name tells none."""
    return mimetypes.guess_type(os.path.basename(path), strict=False)[0] or ""  # noqa: PTH119
