"""Links that carry a download: from the command line's hands, past the user, to a transfer.

A link stood in some page, mail or document, and nobody can tell which. So links are a caller of their own:
one scope for all of them, which no answer is remembered for and no grant belongs to. What they may do is
what the ladder lets any caller do, and their downloads go below the download folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import web

from connect_helper.api.bodies import read_object
from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.api.starting import StartCall, Starting
from connect_helper.api.windows import Windows
from connect_helper.consent.limits import Spacing
from connect_helper.consent.origins import LINKS
from connect_helper.errors import ConnectHelperError, InvalidRequest, Refused, TooManyRequests, Unavailable
from connect_helper.picking.base import Asker, Question
from connect_helper.spec.launch_links import FIELD, DownloadLink, parse_link

log = logging.getLogger(__name__)

ROUTE: Final = "/api/control/open-link"
OPEN_LINKS: Final = 4
MUTED_NOTICE_SPACING_S: Final = 900.0
IGNORED_SHOWN: Final = 10  # keys in the log
LINK_CALLER: Final = Caller(LINKS, "a link from an unknown page or program")


class Links:
    """Opens links one by one; `tasks` owns what goes on after the command line was answered."""

    def __init__(
        self, *, starting: Starting, ladder: Ladder, asker: Asker, windows: Windows, tasks: asyncio.TaskGroup
    ) -> None:
        self._starting = starting
        self._ladder = ladder
        self._asker = asker
        self._windows = windows
        self._tasks = tasks
        self._muted_notices: Spacing[str] = Spacing(MUTED_NOTICE_SPACING_S)
        self._open: dict[bytes, asyncio.Task[None]] = {}  # by the link's digest: it may hold secrets

    def open(self, text: str) -> None:
        """Begin what a link says; a question about the same link that is still open stays the only one.

        Raises InvalidRequest (the user is told, too), TooManyRequests.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if digest in self._open:
            return
        if len(self._open) >= OPEN_LINKS:
            raise TooManyRequests("Answer the questions about other links first.")
        try:
            link = parse_link(text)
        except InvalidRequest as error:
            self._start(digest, self._tell(error))
            raise
        if isinstance(link, DownloadLink):
            self._start(digest, self._download(link))

    def close(self) -> None:
        """Give up what still waits for the user."""
        for task in self._open.values():
            task.cancel()

    def _start(self, digest: bytes, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work, name="a link")
        self._open[digest] = task
        task.add_done_callback(lambda _: self._open.pop(digest, None))

    async def _download(self, link: DownloadLink) -> None:
        """The task's own edge: what goes wrong is told to the user, for nobody else waits."""
        if link.ignored:
            log.info("keys of a link that are not known are ignored: %r", link.ignored[:IGNORED_SHOWN])
        if self._ladder.muted_s(LINK_CALLER):
            await self._tell_muted()
            return
        call = StartCall(
            app_id="",
            request_id="",  # whoever opens a link twice wants it twice
            spec=link.spec,
            settings={"allow_dialogs": link.ask_login},
            allow_dialogs=link.ask_login,
            absolute_destination=False,
        )
        try:
            transfer = await self._starting.start(LINK_CALLER, call)
            await self._show(f"/activity/{transfer.id}")
        except Refused as error:
            log.info("a link was refused: %s", error.code)
        except ConnectHelperError as error:
            await self._tell(error)

    async def _show(self, path: str) -> None:
        """Show one of our windows where that can be done; the transfer goes on without."""
        try:
            self._ladder.may_show_window(LINK_CALLER)
            await self._windows.open(path)
        except (TooManyRequests, Unavailable) as error:
            log.info("no window for a link: %s", error.code)

    async def _tell(self, error: ConnectHelperError) -> None:
        """Say why a link comes to nothing; at most every few seconds, for a page can open many."""
        if self._ladder.muted_s(LINK_CALLER):
            await self._tell_muted()
            return
        notice = Question(
            LINK_CALLER.label,
            "This link cannot be opened.",
            (error.user_message,),
            accept="Open the helper",
            refuse="Close",
        )
        try:
            self._ladder.may_show_window(LINK_CALLER)
            async with self._ladder.dialog(LINK_CALLER):
                answer = await self._asker.ask(notice)
            if answer.accepted:
                await self._windows.open("/")
        except ConnectHelperError as untold:
            log.warning("a link was not opened (%s), and nobody could be told (%s)", error.code, untold.code)

    async def _tell_muted(self) -> None:
        """Say that links are not asked about, and until when; rarely, as the user wants no questions."""
        if not self._muted_notices.allow(LINK_CALLER.origin, time.monotonic()):
            log.info("a link was refused: links are muted")
            return
        over = time.localtime(time.time() + self._ladder.muted_s(LINK_CALLER) + 60)  # minutes are cut off
        notice = Question(
            LINK_CALLER.label,
            "Links are not opened at the moment.",
            (
                f"You said no to several in a row, so all are refused until {time.strftime('%H:%M', over)}.",
                "To open links before that, choose “Let it ask again” on the Sites page.",
            ),
            accept="Show the Sites page",
            refuse="Close",
        )
        try:  # not by the ladder's dialog, which is closed to those who are muted
            answer = await self._asker.ask(notice)
            if answer.accepted:
                await self._windows.open("/sites")
        except ConnectHelperError as untold:
            log.warning("links are muted, and nobody could be told (%s)", untold.code)


def routes(links: Links) -> list[web.RouteDef]:
    """The route of the command line; the window's guard asks for the control key before it."""

    async def open_link(request: web.Request) -> web.Response:
        """Body `{"link"}`; answers `{}` at once, while the user may still be asked."""
        link = (await read_object(request)).get("link")
        if not isinstance(link, str):
            raise InvalidRequest("link: a text is needed.", field=FIELD)
        links.open(link)
        return web.json_response({})

    return [web.post(ROUTE, open_link)]
