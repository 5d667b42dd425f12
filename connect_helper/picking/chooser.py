"""Which way to ask: the desktop's own dialogs, or our pages. One question at a time, dialogs side by side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from connect_helper.errors import Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.native import Desktop
from connect_helper.settings import PreferencesStore

logger = logging.getLogger(__name__)

TIME_LIMIT_S: Final = 3_600.0
TOO_QUICK_S: Final = 1.0
_REPEATS: Final = 3

Reply = TypeVar("Reply")


class Dialogs:
    """Picker and Asker for the whole program, as the preferences want it.

    `native` is None on a machine without a desktop. Where a native dialog cannot be shown after all, the
    page takes over.
    """

    def __init__(
        self,
        preferences: PreferencesStore,
        native: Desktop | None,
        desk: Desktop,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        too_quick_s: float = TOO_QUICK_S,
    ) -> None:
        self._preferences = preferences
        self._native = native
        self._desk = desk
        self._time_limit_s = time_limit_s
        self._too_quick_s = too_quick_s
        self._one_question = asyncio.Lock()  # first come, first asked

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`. Several dialogs may be open at once."""
        return await self._on_either(lambda way: way.pick(request), over=())

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`. Waits until no other question is open."""
        async with self._one_question:
            return await self._on_either(lambda way: self._ask(way, question), over=Answer(accepted=False))

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`. Waits until no other question is open."""
        async with self._one_question:
            return await self._on_either(lambda way: way.ask_credentials(question), over=None)

    async def _on_either(self, show: Callable[[Desktop], Awaitable[Reply]], *, over: Reply) -> Reply:
        """Show it the preferred way, else the other; `over` is the answer when time runs out."""
        try:
            async with asyncio.timeout(self._time_limit_s):
                if self._native is not None and self._preferences.current.dialogs != "browser":
                    try:
                        return await show(self._native)
                    except Unavailable as error:
                        logger.warning("native dialog: %s; using a page instead", error.internal_message)
                return await show(self._desk)
        except TimeoutError:
            logger.info("a dialog was open for %d s without an answer", self._time_limit_s)
            return over

    async def _ask(self, way: Desktop, question: Question) -> Answer:
        """Ask, and ask again when a yes came quicker than anybody reads.

        Such a yes is a key or click meant for the window that was there a moment before.
        """
        clock = asyncio.get_running_loop().time
        for _ in range(_REPEATS):
            shown_at = clock()
            answer = await way.ask(question)
            if not answer.accepted or clock() - shown_at >= self._too_quick_s:
                return answer
            logger.info("a yes within %.1f s does not count; asking again", self._too_quick_s)
        return Answer(accepted=False)
