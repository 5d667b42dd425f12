"""Questions and file dialogs shown as pages of our own, where there is no desktop to show them on.

The desk keeps what waits for the user under ids nobody can guess, has a page opened for each, and hands
the page's answer to the one who asked. It knows no HTTP: `connect_helper.api.ui_picking` brings the pages.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import NotFound, TooManyRequests
from connect_helper.picking.base import (
    Answer,
    Credentials,
    CredentialsQuestion,
    DialogRequest,
    Question,
)
from connect_helper.picking.presence import DEFAULT_PATIENCE, Patience, Presence

logger = logging.getLogger(__name__)

PENDING_LIMIT: Final = 32
_RECENT_KEPT: Final = 5

Asked = DialogRequest | Question | CredentialsQuestion
Reply = list[Path] | Answer | Credentials | None  # None: the user declined
OpenPage = Callable[[str], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Pending:
    """One thing that waits for the user."""

    id: str
    asked: Asked
    presence: Presence
    reply: asyncio.Future[Reply]
    changed: asyncio.Event  # a page came or left, or the reply is there

    @property
    def page(self) -> str:
        """The path of the page that shows it."""
        return f"/pick/{self.id}" if isinstance(self.asked, DialogRequest) else f"/ask/{self.id}"


class Desk:
    """Picker and Asker by our own pages.

    `open_page` gets a path such as "/pick/ID" and opens it in the user's browser; it raises Unavailable
    when there is none. It may wait for as long as the browser runs.
    """

    def __init__(
        self,
        open_page: OpenPage,
        *,
        patience: Patience = DEFAULT_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        refuse_folder: Callable[[str], str | None] = lambda path: None,
    ) -> None:
        self._open_page = open_page
        self._patience = patience
        self._clock = clock
        self._pending: dict[str, Pending] = {}
        self._recent: list[str] = []
        self.refuse_folder = refuse_folder  # why a whole folder may not be given, None when it may

    # For those who ask -------------------------------------------------------------------------

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`."""
        reply = await self._wait_for(request)
        return reply if isinstance(reply, list) else []

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`."""
        reply = await self._wait_for(question)
        return reply if isinstance(reply, Answer) else Answer(accepted=False)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`."""
        reply = await self._wait_for(question)
        return reply if isinstance(reply, Credentials) else None

    # For the pages -----------------------------------------------------------------------------

    def find(self, pending_id: str) -> Pending:
        """Raises NotFound when it was answered, cancelled or never existed."""
        pending = self._pending.get(pending_id)
        if pending is None or pending.reply.done():
            raise NotFound("This is over: it was answered, cancelled, or took too long. Close this window.")
        return pending

    @contextmanager
    def page_present(self, pending: Pending) -> Iterator[None]:
        """For as long as a page is there. The first one starts the second before a yes counts."""
        pending.presence.page_came(self._clock())
        pending.changed.set()
        try:
            yield
        finally:
            pending.presence.page_left(self._clock())
            pending.changed.set()

    def settle(self, pending: Pending, reply: Reply) -> None:
        """Give the user's answer to the one who asked.

        Raises TooManyRequests (try again in a second) for anything but a no when the page has not been in
        sight for a second, NotFound when it is over.
        """
        self.find(pending.id)
        says_no = reply is None or reply == [] or (isinstance(reply, Answer) and not reply.accepted)
        if not says_no and not pending.presence.may_say_yes(self._clock(), self._patience):
            raise TooManyRequests("That was too quick to be meant. Read the question, then answer again.")
        if isinstance(reply, list):
            self._remember(reply, pending.asked)
        pending.reply.set_result(reply)

    @property
    def recent_folders(self) -> tuple[str, ...]:
        """Folders picked from or into in this run, the newest first."""
        return tuple(self._recent)

    # Inside ------------------------------------------------------------------------------------

    async def _wait_for(self, asked: Asked) -> Reply:
        if len(self._pending) >= PENDING_LIMIT:
            raise TooManyRequests(
                "Too many windows of the helper are waiting for an answer. Answer those first."
            )
        loop = asyncio.get_running_loop()
        pending = Pending(
            secrets.token_urlsafe(24), asked, Presence(self._clock()), loop.create_future(), asyncio.Event()
        )
        pending.reply.add_done_callback(lambda _: pending.changed.set())
        self._pending[pending.id] = pending
        opening = asyncio.ensure_future(self._open_page(pending.page))
        waiting = asyncio.create_task(self._until_over(pending), name=f"waiting for {pending.page[:5]}")
        try:
            await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()  # raises what kept the page from opening
            return await waiting
        finally:
            del self._pending[pending.id]
            pending.reply.cancel()  # pages still listening learn that it is over
            for task in (opening, waiting):
                task.cancel()
            await asyncio.gather(opening, waiting, return_exceptions=True)

    async def _until_over(self, pending: Pending) -> Reply:
        """Wait for the reply; None when nobody will give one."""
        while not pending.reply.done():
            pending.changed.clear()
            end, reason = pending.presence.deadline(self._patience)
            left = end - self._clock()
            if left <= 0:
                logger.info("%s is over: %s", pending.page[:5], reason.value)
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await pending.changed.wait()
        return pending.reply.result()

    def _remember(self, paths: Sequence[Path], asked: Asked) -> None:
        if not paths:
            return
        whole = isinstance(asked, DialogRequest) and asked.kind == "open-folder"
        folder = str(paths[0] if whole and len(paths) == 1 else paths[0].parent)
        self._recent = [folder, *(old for old in self._recent if old != folder)][:_RECENT_KEPT]
