"""The errors of the Node API, in the form its clients read (reference, section 2). Pure.

A whole request that fails is answered with a `Problem`; one path among several that fails has the same object
as its `error`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from connect_helper.errors import ConnectHelperError, UnsafePath
from connect_helper.server.http.problems import Problem

Item = TypeVar("Item")
NO_PATH: Final = "Path not found"  # these two word for word: people search for them
TAKEN: Final = "Path already exists"
OVERLOADED: Final = (errno.EMFILE, errno.ENFILE)  # too many files are open at the moment
_BY_ERRNO: Final[dict[int, tuple[int, str]]] = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE), (404, NO_PATH)),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), (403, "The server does not allow this here.")),
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), (403, "The file or folder is in use.")),
    **dict.fromkeys(OVERLOADED, (503, "The server is busy. Try again in a moment.")),
    errno.EEXIST: (409, TAKEN),
    # Of a renaming only: what leads out of the docroot is not there.
    errno.EXDEV: (409, "The new name lies on another disk of the server. Copy it there with a transfer."),
    errno.ENOTEMPTY: (409, "The folder is not empty."),
    errno.EISDIR: (400, "This is a folder."),
    errno.ENAMETOOLONG: (400, "A name in the path is too long."),
    errno.EINVAL: (400, "The path cannot be used like that."),
    errno.EILSEQ: (400, "The server's disk does not take that name."),
    errno.ENOTSUP: (400, "The server's disk cannot do that."),
    errno.EMLINK: (400, "The folder holds too many others."),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (507, "The server's disk is full.")),
}


def fault(status: int, user_message: str) -> Problem:
    """The failure of a whole request, or of one of its items."""
    return Problem(status, HTTPStatus(status).phrase, user_message)


def malformed(user_message: str) -> Problem:
    """The request itself cannot be read."""
    return fault(400, user_message)


def fault_of(error: Exception) -> Problem:
    """What went wrong, for the caller; raises `error` again when it is a mistake of this program."""
    match error:
        case Problem():
            return error
        case UnsafePath():
            return fault(404, NO_PATH)  # it leads out, or no file can have that name: there is none
        case ConnectHelperError() if error.http_status != 500:
            return fault(error.http_status, error.user_message)
        case OSError() if error.errno in _BY_ERRNO:
            return fault(*_BY_ERRNO[error.errno])
        case _:
            raise error


def error_member(problem: Problem) -> dict[str, Any]:
    """The object under `error`: {"code", "reason", "user_message"}."""
    return {"code": problem.status, "reason": problem.reason, "user_message": problem.user_message}


def each(
    items: Iterable[Item], echo: Callable[[Item], dict[str, Any]], work: Callable[[Item], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Do `work` for each item; one that fails has an `error` beside what `echo` repeats of it."""
    return [_outcome(item, echo(item), work) for item in items]


def _outcome(item: Item, echoed: dict[str, Any], work: Callable[[Item], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return {**echoed, **work(item)}
    except (OSError, ConnectHelperError, Problem) as error:
        return {**echoed, "error": error_member(fault_of(error))}
