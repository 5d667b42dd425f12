"""`POST /fallback/v1/folders {"path": ...}`: folders that hold nothing, which no upload would make.

The path is relative to the token's destination, text or, for names that are not UTF-8, `path_base64`; with
`from_docroot` it is a full one.
`mtime_ns` may be given, also for a folder that is there: what comes into it changes its time, so who wants to
keep that says it last. Answers 201 when it was made, 200 when it was there already, with the `mtime_ns` that
was set; null where it was not, for what is there may not be changed, or the disk keeps no such time.
"""

from __future__ import annotations

import base64
import binascii
from concurrent.futures import Executor
from functools import partial
from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connect_helper.server.access import Operation
from connect_helper.server.http.bodies import read_json
from connect_helper.server.http.callers import caller_of
from connect_helper.server.http.gate import FALLBACK, preflight
from connect_helper.server.http.problems import bad_request, not_found
from connect_helper.server.http.threads import in_thread
from connect_helper.server.http.upload_disk import check_may_send, upload_target
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot

FOLDERS: Final = f"{FALLBACK}/folders"
MTIME_LIMIT: Final = 2**63 - 1


class NewFolder(BaseModel):
    """The body of the request."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str | None = None
    path_base64: str | None = None
    from_docroot: bool = False
    mtime_ns: Annotated[int, Field(ge=-MTIME_LIMIT, le=MTIME_LIMIT)] | None = None

    def name(self) -> bytes:
        """The path as bytes. Raises Problem."""
        if (self.path is None) == (self.path_base64 is None):
            raise bad_request('Give the folder\'s "path", or its "path_base64".')
        if self.path is not None:
            return _encoded(self.path)
        try:
            return base64.b64decode(self.path_base64 or "", validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("The path_base64 is not base64.") from None


class FolderMaking:
    """The route."""

    def __init__(self, disk: Executor) -> None:
        self._disk = disk

    def routes(self) -> list[web.RouteDef]:
        """POST, and a browser's question before it."""
        return [web.options(FOLDERS, _preflight), web.post(FOLDERS, self.make, name="make-folder")]

    async def make(self, request: web.Request) -> web.Response:
        """Make one folder and those above it that are missing."""
        caller = caller_of(request)
        check_may_send(caller)
        try:
            wish = NewFolder.model_validate(await read_json(request))
        except ValidationError as error:
            raise bad_request(f"The body is wrong at {error.errors()[0]['loc']}.") from None
        path = upload_target(caller, wish.name(), from_docroot=wish.from_docroot)
        if not caller.access.allows(Operation.MKDIR, path):
            raise not_found()
        may_change = caller.access.may_overwrite and caller.access.allows(Operation.WRITE, path)
        made, mtime_ns = await in_thread(
            self._disk, partial(_make, caller.docroot, path, wish.mtime_ns, may_change=may_change)
        )
        told = {"path": wish.path, "created": made} | (
            {} if wish.mtime_ns is None else {"mtime_ns": mtime_ns}
        )
        return web.json_response(told, status=201 if made else 200)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request("The path holds half a character; send it as path_base64.") from None


async def _preflight(request: web.Request) -> web.Response:
    return preflight()


def _make(
    docroot: Docroot, path: DocPath, mtime_ns: int | None, *, may_change: bool
) -> tuple[bool, int | None]:
    """Whether it was made, and the time that was set. `may_change`: also where it was there already."""
    docroot.makedirs(path[:-1])
    try:
        docroot.mkdir(path)
        made = True
    except FileExistsError:
        docroot.makedirs(path)  # refuses what is no folder
        made = False
    if mtime_ns is None or not (made or may_change):
        return made, None
    try:
        docroot.utime(path, mtime_ns, mtime_ns)
    except OSError:  # somebody else's folder, a disk that keeps no times: the folder is there all the same
        return made, None
    return made, mtime_ns
