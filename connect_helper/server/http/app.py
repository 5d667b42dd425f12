"""Puts the HTTP side together: one application for HTTP and HTTPS alike.

parts = HttpParts(admission=..., sessions=..., open_docroot=..., state=..., limits=...)
runner = ...; app = build_app(parts, more_routes=node_routes(...), descriptions=[...])
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from connect_helper.server.admission import Admission
from connect_helper.server.http.blocks import Blocks
from connect_helper.server.http.callers import Doorman
from connect_helper.server.http.digests import Digests
from connect_helper.server.http.downloads import Downloads
from connect_helper.server.http.fallback_description import FALLBACK_OPERATIONS
from connect_helper.server.http.folders import FolderMaking
from connect_helper.server.http.gate import dress, gate, no_plain_passwords
from connect_helper.server.http.manifest import Manifests
from connect_helper.server.http.openapi import Description, openapi_routes
from connect_helper.server.http.threads import disk_threads, in_thread
from connect_helper.server.http.tus import UPLOADS_KEY, tus_routes
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.server.http.upload_records import UploadRecords
from connect_helper.server.http.uploads import Uploads
from connect_helper.server.sessions import Sessions
from connect_helper.storage.docroot import Docroot

log = logging.getLogger(__name__)

LARGEST_BODY: Final = 8 * 1024 * 1024  # bytes of a body read whole; uploads are streams and not meant
SWEEP_EVERY_S: Final = 300.0
UPLOADS_FILE: Final = "uploads.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpParts:
    """What the HTTP side works with."""

    admission: Admission
    sessions: Sessions
    open_docroot: Callable[[str], Docroot | None]  # of an account by name; blocks
    state: Path  # our own folder
    limits: UploadLimits = field(default_factory=UploadLimits)
    fallback: bool = True  # transfers over HTTP are offered
    plain_passwords: bool = False  # passwords are taken without TLS too


def build_app(
    parts: HttpParts,
    *,
    more_routes: Iterable[web.AbstractRouteDef] = (),
    descriptions: Sequence[Description] = (),
) -> web.Application:
    """The application, to be served by `serving.HttpListener`. `more_routes` are the Node API's.

    Their handlers get every request that is not below `/fallback/v1`, and see to their callers themselves.
    Raises Unavailable when the list of uploads cannot be opened.
    """
    app = web.Application(middlewares=[gate], client_max_size=LARGEST_BODY)
    if not parts.plain_passwords:
        app.middlewares.append(no_plain_passwords)
    app.on_response_prepare.append(dress)
    described = [*descriptions]
    if parts.fallback:
        _add_fallback(app, parts)
        described.append(FALLBACK_OPERATIONS)
    app.add_routes(openapi_routes(described))
    app.add_routes(more_routes)
    return app


def _add_fallback(app: web.Application, parts: HttpParts) -> None:
    disk = disk_threads()
    digests = Digests(disk)
    uploads = Uploads(UploadRecords(parts.state / UPLOADS_FILE), disk, parts.limits)
    app[UPLOADS_KEY] = uploads
    app.middlewares.append(Doorman(parts.admission, parts.sessions, disk).middleware)
    app.add_routes(tus_routes())
    app.add_routes(Downloads(disk, digests, idle_s=parts.limits.idle_s).routes())
    app.add_routes(Blocks(disk, digests).routes())
    app.add_routes(Manifests(disk, idle_s=parts.limits.idle_s).routes())
    app.add_routes(FolderMaking(disk).routes())

    async def work(_: web.Application) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(uploads, parts.open_docroot), name="sweep uploads")
        yield
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        await in_thread(disk, uploads.close)
        disk.shutdown(wait=True)

    app.cleanup_ctx.append(work)


async def _sweep(uploads: Uploads, open_docroot: Callable[[str], Docroot | None]) -> None:
    """Remove abandoned uploads, now and every few minutes."""
    while True:
        try:
            removed = await uploads.endings.sweep(open_docroot)
        except sqlite3.Error as error:
            log.warning("abandoned uploads cannot be removed: %s", error)
        else:
            if removed:
                log.info("abandoned uploads removed: %d", removed)
        await asyncio.sleep(SWEEP_EVERY_S)
