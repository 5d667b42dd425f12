"""The digests of a file's blocks, for clients that compare what they fetched while more of it arrives.

`GET /fallback/v1/blocks/PATH?start=S&length=L` answers with the digest of each block of those bytes, the last
one of what is left of them:

    {"algorithm": "xxh128", "block": 8388608, "digests": ["...", "..."]}

The server reads again what it has just sent, from memory as a rule: the answer tells what is in its file, not
what went out.
"""

from __future__ import annotations

import re
from concurrent.futures import Executor
from functools import partial
from typing import Final

from aiohttp import web

from connect_helper.server.access import Operation
from connect_helper.server.http.callers import caller_of
from connect_helper.server.http.digests import Digests
from connect_helper.server.http.downloads import (
    ANY_PATH,
    another_version,
    check_version,
    opened,
    requested_path,
    still_there,
    too_short,
)
from connect_helper.server.http.etags import etag_of
from connect_helper.server.http.gate import FALLBACK, preflight
from connect_helper.server.http.problems import bad_request, not_found
from connect_helper.server.http.threads import in_thread
from connect_helper.spec.block_hash import BLOCK_HASH
from connect_helper.storage.docpath import parse

BLOCKS: Final = f"{FALLBACK}/blocks"
BLOCK: Final = 8 * 1024 * 1024  # bytes hashed together
LONGEST: Final = 8 * BLOCK  # bytes of one question
_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


class Blocks:
    """The routes below `/fallback/v1/blocks`."""

    def __init__(self, disk: Executor, digests: Digests) -> None:
        self._disk = disk
        self._digests = digests

    def routes(self) -> list[web.RouteDef]:
        """GET, and a browser's question before it."""
        one = BLOCKS + ANY_PATH
        return [
            web.options(one, _preflight),
            web.get(one, self.get, name="blocks", allow_head=False),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """Hash the blocks asked for and tell their digests."""
        caller = caller_of(request)
        path = parse(requested_path(request, BLOCKS))
        start, length = _asked_part(request)
        if not caller.access.allows(Operation.READ, path):
            raise not_found()
        async with opened(self._disk, caller, path) as file:
            etag = etag_of(file.facts)
            check_version(request, file, etag)
            if start + length > file.size:
                raise too_short(file.size, etag)
            wanted = partial(still_there, request)
            digests = await self._digests.of_blocks(caller.who, file.handle, start, length, BLOCK, wanted)
            if not await in_thread(self._disk, file.unchanged):
                raise another_version(etag)
        told = {"algorithm": BLOCK_HASH, "block": BLOCK, "digests": [digest.hex() for digest in digests]}
        return web.json_response(told, headers={"ETag": etag})


async def _preflight(request: web.Request) -> web.Response:
    return preflight()


def _asked_part(request: web.Request) -> tuple[int, int]:
    """Where the part begins, and its length. Raises Problem (400)."""
    start, length = (_number(request, name) for name in ("start", "length"))
    if start is None or length is None:
        raise bad_request('The address must say which part: "?start=0&length=8388608", in bytes.')
    if start % BLOCK:
        raise bad_request(f"The part must begin with a block: a multiple of {BLOCK} bytes.")
    if not 1 <= length <= LONGEST:
        raise bad_request(f"The part must have 1 to {LONGEST} bytes.")
    return start, length


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) else None
