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
    """Make the folder, 0700. Raises FolderUnusable when it is a link or belongs to another account."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise FolderUnusable(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise FolderUnusable(f"{folder} must be a folder of the account that runs the server.")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there, 0600 and on disk when this returns. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
