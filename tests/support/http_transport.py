"""The HTTP transport by itself, opened on a test server without TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from connect_helper.transports.base import BlockHashes, Facts, ReceiveItem
from connect_helper.transports.http_connection import HttpEndpoint
from connect_helper.transports.https import HttpTransport
from connect_helper.transports.rate import TokenBucket
from tests.support.transports import Memory


@asynccontextmanager
async def open_http(
    port: int,
    token: str,
    folder: Path,
    *,
    sends: bool,
    root: bytes = b"",
    rate_kbps: int | None = None,
    ca_file: str = "",
) -> AsyncIterator[HttpTransport]:
    """A transport to 127.0.0.1:`port` that keeps its notes in `folder`; with `ca_file`, over TLS."""
    endpoint = HttpEndpoint(
        "127.0.0.1", port, ("127.0.0.1",), SecretStr(token), tls=bool(ca_file), ca_file=ca_file
    )
    limiter = TokenBucket(rate_kbps)
    async with HttpTransport(endpoint, limiter, sends=sends, root=root, resume_folder=folder) as transport:
        yield transport


def fetching(path: bytes, facts: Facts, had: bytes = b"") -> tuple[ReceiveItem, Memory, list[int]]:
    """A file to fetch of which `had` is here already; its target, and what was counted."""
    target, counts, hashes = Memory(had), list[int](), BlockHashes("sha256")
    hashes.feed(had)
    item = ReceiveItem(path, facts.size, facts.mtime_ns, target, len(had), hashes, counts.append)
    item.etag = facts.etag
    return item, target, counts
