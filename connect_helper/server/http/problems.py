"""Refusals over HTTP, and the one form their bodies have: `{"error": {"code", "reason", "user_message"}}`.

`code` repeats the status, `reason` is a word for programs, `user_message` a sentence for people.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        reason: str,
        user_message: str,
        *,
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.user_message = user_message
        self.headers = dict(headers or {})
        self.closes = closes  # the rest of the request's body is not worth reading

    def response(self) -> web.Response:
        """The answer to send."""
        body = {"error": {"code": self.status, "reason": self.reason, "user_message": self.user_message}}
        response = web.json_response(body, status=self.status, headers=self.headers)
        if self.closes:
            response.force_close()
        return response


def bad_request(user_message: str) -> Problem:
    """The request itself is wrong; nothing was done."""
    return Problem(400, "bad_request", user_message)


def unreadable(status: int) -> Problem:
    """No request of HTTP, an unknown method, a line too long; from 500 on, a mistake of ours."""
    if status < 500:
        return Problem(status, "bad_request", "This is no request that the server can read.", closes=True)
    return Problem(status, "internal", "The server made a mistake; its log has the details.", closes=True)


def not_found() -> Problem:
    """Nothing there, or nothing that this caller may see; both read alike."""
    return Problem(404, "not_found", "There is no such file or folder.")


def no_such_upload() -> Problem:
    """An upload that is unknown, over, or someone else's; all read alike."""
    return Problem(404, "no_such_upload", "There is no such upload; start it again.")


def needs_encryption() -> Problem:
    """The account demands encryption, and the request came over plain HTTP."""
    return Problem(
        403, "encryption_required", "This account's files move encrypted only. Use HTTPS.", closes=True
    )


def denied() -> Problem:
    """Visible, but not to be changed or read by this caller."""
    return Problem(403, "denied", "The server does not allow this here.")


def already_exists() -> Problem:
    """The name is taken and may not be replaced; not 409, after which tus clients try again."""
    return Problem(403, "already_exists", "A file of that name exists already and may not be replaced.")


def disk_full() -> Problem:
    """No room on the server's disk."""
    return Problem(507, "disk_full", "The server's disk is full; free some space there and resume.")


def list_unwritable(*, full: bool) -> Problem:
    """The server's own list of uploads took nothing; `full`: for want of room."""
    if full:
        return Problem(507, "disk_full", "The disk with the server's own files is full; tell its operator.")
    return Problem(
        503,
        "list_unwritable",
        "The server cannot keep its list of uploads at the moment; try again later, or tell its operator.",
        headers={"Retry-After": "5"},
    )


def _is_folder() -> Problem:
    return Problem(409, "is_folder", "A folder stands at that name.")


def _unusable() -> Problem:
    return bad_request("The path cannot be used on this server.")


_BY_ERRNO: Final[Mapping[int, Callable[[], Problem]]] = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), denied),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.ELOOP, errno.ESTALE), not_found),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), disk_full),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ), _unusable),
    errno.EEXIST: already_exists,
    errno.EISDIR: _is_folder,
}


def problem_of(error: OSError) -> Problem | None:
    """What a failed step on the disk means to the caller; None when it is no concern of the caller's."""
    make = _BY_ERRNO.get(error.errno or 0)
    return make() if make is not None else None
