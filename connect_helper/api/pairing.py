"""Pairing a browser extension: an exchange of keys, and one question to the user that shows its code.

See `consent.key_exchange` for why a program on another port, or between the two, gains nothing by it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connect_helper.api.callers import Caller
from connect_helper.api.extensions import Extensions
from connect_helper.api.ladder import Ladder
from connect_helper.api.sites import Sites
from connect_helper.consent.key_exchange import Transcript, check_commitment, check_revealed
from connect_helper.consent.pairing import is_extension
from connect_helper.errors import InvalidRequest, Refused, TooManyRequests
from connect_helper.picking.base import Question
from connect_helper.spec.names import page_text

EXCHANGES_KEPT: Final = 8
_BROWSER_LIMIT: Final = 60  # characters
_CURVE: Final = ec.SECP256R1()
HEADING = "Pair this browser’s extension? First type {code} in its window."
DETAILS = (
    "Say yes only if you asked for this yourself, and the extension says that the code is right.",
    "It will tell the helper which page is asking. You are still asked about files and servers.",
)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """Half an exchange of keys: what the extension committed to, and the helper's key for it."""

    commitment: str
    origin: str
    port: int
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public_key(self) -> str:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return point.hex()

    def finish(self, public_key: str) -> tuple[str, str]:
        """The code and the secret. Raises InvalidRequest for a key that was not committed to, or is none."""
        check_revealed(public_key, self.commitment)
        try:
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, bytes.fromhex(public_key))
        except ValueError:
            raise InvalidRequest("public_key is no point of P-256.", field="public_key") from None
        transcript = Transcript(public_key, self.public_key, self.origin, self.port)
        return transcript.code(), transcript.secret(self.key.exchange(ec.ECDH(), theirs))


class Pairing:
    """Exchanges keys with extensions, and asks the user about one at a time."""

    def __init__(self, extensions: Extensions, ladder: Ladder, sites: Sites) -> None:
        self._extensions = extensions
        self._ladder = ladder
        self._sites = sites
        self._open = False
        self._exchanges: OrderedDict[str, _Exchange] = OrderedDict()

    def begin(self, caller: Caller, commitment: str, port: int) -> dict[str, str]:
        """Answer a commitment with the helper's key for this exchange: `{"exchange", "public_key"}`.

        `port` is the one the extension was answered on. The oldest exchanges go when there are many. Raises
        Refused when the caller is no extension, InvalidRequest.
        """
        _require_extension(caller)
        key = ec.generate_private_key(_CURVE)
        exchange = _Exchange(check_commitment(commitment), caller.origin, port, key)
        name = secrets.token_hex(16)
        self._exchanges[name] = exchange
        while len(self._exchanges) > EXCHANGES_KEPT:
            self._exchanges.popitem(last=False)
        return {"exchange": name, "public_key": exchange.public_key}

    async def pair(self, caller: Caller, name: str, public_key: str, browser: str) -> None:
        """Finish an exchange, once and for all, and ask whether to pair `caller`.

        Raises Refused when the user says no or the caller is no extension, InvalidRequest for another key
        than was committed to and for an exchange that is over, TooManyRequests while another is asked about.
        Cancelled, it takes the question away and pairs nothing.
        """
        _require_extension(caller)
        exchange = self._exchanges.pop(name, None)
        if exchange is None or exchange.origin != caller.origin:
            raise InvalidRequest("This pairing took too long or was given up; begin again.", field="exchange")
        code, secret = exchange.finish(public_key)
        browser = page_text(browser, _BROWSER_LIMIT) or "an unknown browser"
        question = Question(
            caller=caller.label,
            heading=HEADING.format(code=code),
            details=(*DETAILS, f"It says that it runs in {browser}."),
            accept="The code is right: pair",
            refuse="Do not pair",
        )
        with self._alone():
            accepted = await self._ladder.confirm(caller, question)
        if not accepted:
            self._sites.note_refusal(caller.origin)
            raise Refused("The extension was not paired.")
        self._sites.note_acceptance(caller.origin)
        self._extensions.agree(secret, caller.origin, browser)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._open:
            raise TooManyRequests("Another extension is being paired; answer that question first.")
        self._open = True
        try:
            yield
        finally:
            self._open = False


def _require_extension(caller: Caller) -> None:
    if not is_extension(caller.origin):
        raise Refused("Only a browser extension can be paired.")
