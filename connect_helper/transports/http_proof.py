"""What is compared over HTTP of files that are fetched: blocks that the server hashes, and small files whole.

Wire: docs/http-fallback.md. A server that does not know the question tells nothing, and is asked no more.
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import Final
from urllib.parse import quote

import aiohttp

from connect_helper.errors import SourceChanged
from connect_helper.spec.block_hash import BLOCK_HASH, SHA256, new_hash
from connect_helper.spec.names import display
from connect_helper.transports.base import RECORD_BLOCK, ReceiveItem
from connect_helper.transports.http_connection import HttpConnection, reason_of, short_body, told_digest
from connect_helper.transports.proof import PATIENCE, Proof, damaged, patience_s

_log = logging.getLogger(__name__)

BLOCKS: Final = "/fallback/v1/blocks/"
WHOLE: Final = RECORD_BLOCK  # bytes of a file whose digest is quicker told along with it
_DIGEST_SIZE: Final = 16  # bytes


class BlockQuestions:
    """Asks one server for the digests of blocks."""

    def __init__(self, http: HttpConnection) -> None:
        self._http = http
        self._tells: bool | None = None  # whether the server knows the question; None: nobody knows

    def proof_of(self, item: ReceiveItem) -> Proof | None:
        """A proof for a file that is fetched; None where the digest of all of it is compared in any case.

        `item.etag` must be a strong tag: without one nobody knows which version is told of.
        """
        if item.hashes.asked_for or self._tells is False:
            return None
        return Proof(partial(self._ask, item), item.path, item.size)

    async def _ask(self, item: ReceiveItem, start: int, length: int) -> bytes:
        """See `proof.Ask`."""
        if self._tells is False:
            return b""
        path = f"{BLOCKS}{quote(item.path.lstrip(b'/'), safe='/')}?start={start}&length={length}"
        # The server's time counts, not that for which our connections are busy.
        async with asyncio.timeout(None) as limit, self._http.line() as line:
            limit.reschedule(asyncio.get_running_loop().time() + PATIENCE * patience_s(length))
            async with self._http.request(
                "GET", path, headers={"If-Match": item.etag}, long=True, over=line
            ) as answer:
                return await self._told(answer, item, length)

    async def _told(self, answer: aiohttp.ClientResponse, item: ReceiveItem, length: int) -> bytes:
        if answer.status == 412:
            raise SourceChanged(f"{display(item.path)} changed on the server; fetch it again.")
        told = b""
        if answer.status == 200:
            told = _digests_in(await short_body(answer), length)
        else:
            reason = await reason_of(answer)
            _log.info("no digests of %s: HTTP %s %s", display(item.path), answer.status, reason)
        # An older server refuses as for a file that is gone: that is believed once it has told something.
        if self._tells is None and answer.status in (200, 404, 405):
            self._tells = bool(told)
        return told


def _digests_in(text: bytes, length: int) -> bytes:
    """The digests of all blocks of `length` bytes, one after the other; empty: the answer is none."""
    try:
        answer = json.loads(text)
        digests = [bytes.fromhex(digest) for digest in answer["digests"]]
        known = (answer["algorithm"], answer["block"]) == (BLOCK_HASH, RECORD_BLOCK)
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""
    complete = [len(digest) for digest in digests] == [_DIGEST_SIZE] * -(-length // RECORD_BLOCK)
    return b"".join(digests) if known and complete else b""


class WholeDigest:
    """The SHA-256 of a small file: what the server tells along with it, and what arrives."""

    ASKING: Final = {"Want-Repr-Digest": "sha-256=1"}

    def __init__(self) -> None:
        self._ours = new_hash(SHA256)
        self._theirs = ""

    def hear(self, answer: aiohttp.ClientResponse) -> None:
        """Note what an answer with the file says in its headers."""
        self._theirs = told_digest(answer)

    def feed(self, data: bytes | memoryview) -> None:
        """Hash what arrived; in the file's order."""
        self._ours.update(data)

    def holds(self, path: bytes) -> bool:
        """Tell whether the server has what arrived; False: it told nothing. Raises ChecksumMismatch."""
        if self._theirs and self._theirs != self._ours.hexdigest():
            raise damaged(path)
        return bool(self._theirs)
