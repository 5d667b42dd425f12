"""Opening pages of our own in the user's browser."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import webbrowser
from collections.abc import Callable

from connect_helper.api.ui_session import WindowSessions
from connect_helper.errors import Unavailable

log = logging.getLogger(__name__)

Opener = Callable[[str], bool]
OPENING_LIMIT_S = 8.0


class Windows:
    """Opens `base_url` + path, signed in by a one-time code in the fragment.

    Python's `webbrowser` does the opening, so that `$BROWSER` works.
    """

    def __init__(
        self, base_url: str, codes: WindowSessions, *, opener: Opener = webbrowser.open_new_tab
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._codes = codes
        self._opener = opener

    def address(self, path: str) -> str:
        """An address that opens `path` signed in, once and within a minute."""
        return f"{self._base_url}{path}#code={self._codes.issue_code()}"

    async def open(self, path: str) -> None:
        """Show `path`, such as "/" or "/activity/ID". Raises Unavailable when no browser can be started.

        Some browsers, started as a program of their own, return only when their last window is closed:
        one that did not fail within a few seconds counts as opened.
        """
        if not await _call_aside(self._opener, self.address(path)):
            raise Unavailable(
                "No browser could be opened on this computer. Set BROWSER to the one to use, "
                "or open the address that connect-helper open prints."
            )


async def _call_aside(opener: Opener, address: str) -> bool:
    # A thread of its own, not one of the pool: it may last as long as the browser, and must not
    # keep the program from ending.
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[bool] = loop.create_future()

    def settle(opened: bool) -> None:
        if not outcome.done():
            outcome.set_result(opened)

    def run() -> None:
        try:
            opened = opener(address)
        except (OSError, webbrowser.Error) as error:
            log.warning("the browser cannot be started: %s", type(error).__name__)
            opened = False
        with contextlib.suppress(RuntimeError):  # the loop ended while the browser was open
            loop.call_soon_threadsafe(settle, opened)

    threading.Thread(target=run, name="open browser", daemon=True).start()
    try:
        async with asyncio.timeout(OPENING_LIMIT_S):
            return await outcome
    except TimeoutError:
        return True
