"""Pairing a browser extension: one question to the user, with a code that the extension shows as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connect_helper.api.callers import Caller
from connect_helper.api.extensions import Extensions
from connect_helper.api.ladder import Ladder
from connect_helper.api.sites import Sites
from connect_helper.consent.pairing import check_hash, is_extension, pairing_code
from connect_helper.errors import Refused, TooManyRequests
from connect_helper.picking.base import Question
from connect_helper.spec.names import page_text

_BROWSER_LIMIT = 60  # characters
HEADING = "Pair this browser’s extension? It must show the code {code} as well."
DETAILS = (
    "Say yes only if you asked for this yourself, and the extension shows the same code.",
    "It will tell the helper which page is asking. You are still asked about files and servers.",
)


class Pairing:
    """Asks the user, about one extension at a time."""

    def __init__(self, extensions: Extensions, ladder: Ladder, sites: Sites) -> None:
        self._extensions = extensions
        self._ladder = ladder
        self._sites = sites
        self._open = False

    async def pair(self, caller: Caller, key_hash: str, browser: str, port: int) -> None:
        """Ask whether to pair `caller`, and do so; `port` is the one the extension was answered on.

        Raises Refused when the user says no or the caller is no extension, InvalidRequest,
        TooManyRequests while another one is asked about, WrongState when there are too many.
        Cancelled, it takes the question away and pairs nothing.
        """
        if not is_extension(caller.origin):
            raise Refused("Only a browser extension can be paired.")
        browser = page_text(browser, _BROWSER_LIMIT) or "an unknown browser"
        code = pairing_code(check_hash(key_hash), caller.origin, port)
        question = Question(
            caller=caller.label,
            heading=HEADING.format(code=code),
            details=(*DETAILS, f"It says that it runs in {browser}."),
            accept="The codes match: pair",
            refuse="Do not pair",
        )
        with self._alone():
            accepted = await self._ladder.confirm(caller, question)
        if not accepted:
            self._sites.note_refusal(caller.origin)
            raise Refused("The extension was not paired.")
        self._sites.note_acceptance(caller.origin)
        self._extensions.pair(key_hash, caller.origin, browser)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._open:
            raise TooManyRequests("Another extension is being paired; answer that question first.")
        self._open = True
        try:
            yield
        finally:
            self._open = False
