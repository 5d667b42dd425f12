"""Whose an unfinished file is: noted on the file itself, so that it holds over reconnects and restarts.

A name that ends like an unfinished file's says nothing about who brings it, and many people may hold tokens
for one folder. So each such file gets, when it is made, an extended attribute with the mark of its maker: the
token, or the account where there was none. The attribute follows the file through renames and dies with it,
and no client can set it. Where a file system has no such attributes, only the session that made a file is
known as its maker, and a later one begins anew.

All functions block. None raises for a file system without extended attributes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Final

from connect_helper.server.access import UNFINISHED, Access
from connect_helper.server.publishing import partial_path
from connect_helper.storage.docpath import DocPath

_ATTRIBUTE: Final = "user.connect-helper.maker"


def has_unfinished_name(path: DocPath) -> bool:
    """Tell whether clients name a file so while it is not whole."""
    return bool(path) and path[-1].endswith(UNFINISHED)


def note_maker(handle: int, access: Access) -> None:
    """Write down that the session with `access` made this open file."""
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):
            os.setxattr(handle, _ATTRIBUTE, _mark(access))


def may_go_on(handle: int, path: DocPath, access: Access) -> bool:
    """Tell whether the open file at `path` is an unfinished one that `access` made or was given by name.

    A token for exact destinations names their unfinished files too, whoever began those. Never a folder.
    """
    if not has_unfinished_name(path) or not stat.S_ISREG(os.fstat(handle).st_mode):
        return False
    named = access.token.destinations if access.token is not None else ()
    if any(one and path in (one, partial_path(one)) for one in named):
        return True
    if not hasattr(os, "getxattr"):
        return False
    try:
        return os.getxattr(handle, _ATTRIBUTE) == _mark(access)
    except OSError:
        return False


def _mark(access: Access) -> bytes:
    kind, name = ("account", "") if access.token is None else ("token", access.token.id)
    return hashlib.sha256("\0".join((kind, access.account.name, name)).encode()).hexdigest().encode()
