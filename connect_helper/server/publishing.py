"""How a file gets its final name on the server, the same for SFTP and HTTP.

Bytes are written under another name beside the target, made durable, and brought under the final name in one
step, so that a file under its final name is always whole (REL-1). All functions block: call them in a thread.
"""

from __future__ import annotations

import errno
import os
import stat

from connect_helper.spec.names import partial_name
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot


def partial_path(target: DocPath) -> DocPath:
    """Where the unfinished file of `target` lies: beside it, the same name on every call."""
    return (*target[:-1], partial_name(target[-1]))


def publish(docroot: Docroot, partial: DocPath, target: DocPath, *, replace: bool) -> None:
    """Make `partial` durable and bring it under the name `target` in one step.

    With `replace`, a file of that name is replaced; a folder never is. Raises OSError, FileExistsError where
    the name is taken and may not be replaced, IsADirectoryError where a folder has it.
    """
    docroot.fsync(partial)
    if replace and _is_folder(docroot, target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    docroot.rename(partial, target, replace=replace)
    docroot.fsync(target[:-1])
    if partial[:-1] != target[:-1]:
        docroot.fsync(partial[:-1])


def _is_folder(docroot: Docroot, path: DocPath) -> bool:
    try:
        return stat.S_ISDIR(docroot.lstat(path).st_mode)
    except FileNotFoundError:
        return False
