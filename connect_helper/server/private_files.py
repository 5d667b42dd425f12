"""Files and folders that no other account of the machine may read. Blocking."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import ClassVar

from connect_helper.errors import ConnectHelperError


class FolderUnusable(ConnectHelperError):
    """A folder of the server's own cannot be made, or somebody else prepared it."""

    code: ClassVar[str] = "folder_unusable"


def make_private_folder(folder: Path) -> None:
    """Make the folder, 0700; one that is there is closed to others while it is empty.

    Raises FolderUnusable when it is a link, belongs to another account, or is open to others and holds
    something already: who mistook /etc for a folder of ours must not find it closed to everybody.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise FolderUnusable(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise _not_ours(folder)
    if stat.S_IMODE(facts.st_mode) & 0o077:
        _check_empty(folder)
        folder.chmod(0o700)


def check_private_folder(folder: Path) -> None:
    """Raise FolderUnusable where no account could make or use the folder; nothing is made. Raises OSError."""
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if there != folder:
        if not there.is_dir():
            raise FolderUnusable(f"The folder {folder} cannot be made: {there} is no folder.")
        return
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise _not_ours(folder)
    if stat.S_IMODE(facts.st_mode) & 0o077:
        _check_empty(folder)


def _not_ours(folder: Path) -> FolderUnusable:
    return FolderUnusable(f"{folder} must be a folder of the account that runs the server.")


def _check_empty(folder: Path) -> None:
    if any(folder.iterdir()):
        raise FolderUnusable(
            f"{folder} is open to other accounts and not empty. If it is the server's own folder, chmod 700 "
            "it; else name another."
        )


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there, 0600 and on disk when this returns; all of it, or no file.

    Raises OSError, which names `path` whatever step of it failed.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
