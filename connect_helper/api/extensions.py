"""The paired browser extensions: kept on disk, and looked up for each request that one of them makes.

Helper and extension prove to each other that they hold the pairing's secret, without sending it, and derive a
token that lives as long as this run. Requests carry the token: a program that takes over the port later and
gets to see one can use it nowhere, since the run it was good for is over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web

from connect_helper.consent.origins import WebOrigin
from connect_helper.consent.pairing import Greeting, PairedExtension, PairingBook
from connect_helper.errors import CallerNotIdentified, NotFound, RequestError
from connect_helper.settings import Folders, write_private

log = logging.getLogger(__name__)

PAGE_HEADER: Final = "Connect-Helper-Page"
"""The origin of the page that a paired extension speaks for."""

SESSIONS_KEPT: Final = 256
AGREED_KEPT: Final = 8
_PAGE_SCHEMES: Final = frozenset({"http", "https"})


class NotPaired(RequestError):
    """The request claims to come from a paired extension, and does not."""

    code = "not_paired"
    http_status = 401


class Extensions:
    """All paired extensions of this helper. Used on the event loop's thread only."""

    def __init__(self, folders: Folders) -> None:
        self._path = folders.state / "extensions.json"
        self._book = self._load()
        self._agreed: OrderedDict[str, PairedExtension] = OrderedDict()  # by id; not heard of since
        self._sessions: OrderedDict[bytes, str] = OrderedDict()  # digest of a token: id of a pairing
        self._run = secrets.token_hex(32)
        self._listeners: list[Callable[[], None]] = []

    def _load(self) -> PairingBook:
        try:
            return PairingBook.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return PairingBook()
        except (OSError, ValueError) as error:
            log.warning(
                "paired extensions cannot be read (%s); they have to be paired again", type(error).__name__
            )
            return PairingBook()

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def agree(self, secret: str, origin: str, browser: str) -> None:
        """The user said yes to this one. It is kept once it opens a session: only then it took the code."""
        agreed = PairedExtension(secret, origin, browser, time.time())
        self._agreed[agreed.id] = agreed
        while len(self._agreed) > AGREED_KEPT:
            self._agreed.popitem(last=False)

    def keep(self, extension: PairedExtension) -> None:
        """Keep one beyond this run. Raises WrongState when there are too many."""
        self._book.add(extension)
        self._save()

    def remove(self, extension_id: str) -> None:
        """Raises NotFound."""
        if self._book.forget(extension_id) is None:
            raise NotFound("That extension was removed already.")
        self._save()

    def all(self) -> list[PairedExtension]:
        return self._book.all()

    def _save(self) -> None:
        write_private(self._path, json.dumps(self._book.to_json(), indent=2) + "\n")
        for listener in self._listeners:
            listener()

    # Requests ----------------------------------------------------------------------------------

    def prove(self, extension_id: str, origin: str, nonce: str, port: int) -> dict[str, str]:
        """Prove to the extension of this origin who answers: `{"run", "proof"}`.

        Raises NotPaired, InvalidRequest.
        """
        greeting = Greeting(nonce, self._run, port)
        found = self._of_origin(extension_id, origin)
        return {"run": self._run, "proof": greeting.helper_proof(found.secret)}

    def open_session(self, extension_id: str, origin: str, nonce: str, port: int, proof: str) -> None:
        """Take the extension's own proof, in answer to `prove`; from now on its token counts.

        The oldest tokens go when there are many. Raises NotPaired, InvalidRequest; WrongState for a new
        pairing when there are too many.
        """
        greeting = Greeting(nonce, self._run, port)
        found = self._of_origin(extension_id, origin)
        if not hmac.compare_digest(greeting.extension_proof(found.secret).encode(), _encoded(proof)):
            raise _not_paired()
        if extension_id in self._agreed:
            self.keep(found)
            del self._agreed[extension_id]
        self._sessions[_digest(greeting.token(found.secret))] = found.id
        while len(self._sessions) > SESSIONS_KEPT:
            self._sessions.popitem(last=False)

    def _of_origin(self, extension_id: str, origin: str) -> PairedExtension:
        found = self._book.by_id(extension_id) or self._agreed.get(extension_id)
        if found is None or found.origin != origin:
            raise _not_paired()
        return found

    def caller(self, request: web.Request) -> PairedExtension:
        """The paired extension that sent the request. Raises NotPaired.

        Its token alone is not enough: the browser must name the extension's own origin as well. Browsers
        leave Origin out of an extension's GET, as they do for nobody else who can set headers, and then say
        in Sec-Fetch-Site that no site is behind it.
        """
        extension_id = self._sessions.get(_digest(_bearer(request)))
        found = self._book.by_id(extension_id) if extension_id else None
        origins = request.headers.getall("Origin", [])
        if found is None or not (origins == [found.origin] or _of_no_site(request, origins)):
            raise _not_paired()
        return found

    def page(self, request: web.Request) -> WebOrigin | None:
        """The page that a paired extension sent the request for; None when none says so, or wrongly."""
        pages = request.headers.getall(PAGE_HEADER, [])
        if len(pages) != 1:
            return None
        try:
            self.caller(request)
            page = WebOrigin.parse(pages[0])
        except (NotPaired, CallerNotIdentified):
            return None
        return page if page.scheme in _PAGE_SCHEMES else None


def _bearer(request: web.Request) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(_encoded(token)).digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _of_no_site(request: web.Request, origins: list[str]) -> bool:
    return not origins and request.method == "GET" and request.headers.get("Sec-Fetch-Site") == "none"


def _not_paired() -> NotPaired:
    return NotPaired(
        "This browser extension is not paired with connect-helper. Open it from the toolbar and pair it."
    )
