"""Who asks: a token by Bearer, or an account by Basic, on every request anew.

Tokens are withdrawn while a client works, so nothing is remembered here between two requests; a session for
the figures and limits is shared by the requests of one token from one address. A token that expires cuts no
such session: its requests go on for a day while it stays open (configuration reference, section 1.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from connect_helper.errors import TooManyRequests
from connect_helper.server.access import Access
from connect_helper.server.admission import Admission, LoginRefused, Via
from connect_helper.server.basic_credentials import basic_credentials
from connect_helper.server.http.addresses import client_address
from connect_helper.server.http.gate import FALLBACK, Handler
from connect_helper.server.http.problems import Problem, needs_encryption
from connect_helper.server.http.threads import in_thread
from connect_helper.server.sessions import Protocol, Session, Sessions, TooManySessions, Way
from connect_helper.server.shares import Holder, by_hand
from connect_helper.server.tokens import TokenClaims, TokenRefused
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot


class FileNote:
    """One file under way, for the session's figures: say `finished`, or it counts as failed or left."""

    def __init__(self) -> None:
        self.size = 0
        self.digest: str | None = None
        self.done = False

    def finished(self, size: int, digest: str | None = None) -> None:
        """The file is whole; `size` in bytes, `digest` as "sha256:HEX"."""
        self.size, self.done = size, True
        self.digest = digest


@dataclass(frozen=True, slots=True)
class Caller:
    """The one behind a request: what it may do, where, and the session that counts it."""

    access: Access
    docroot: Docroot
    session: Session

    @property
    def account(self) -> str:
        """The name of the account."""
        return self.access.account.name

    @property
    def token_id(self) -> str | None:
        """The id of the token; None where the account itself asks."""
        return None if self.access.token is None else self.access.token.id

    @property
    def who(self) -> Holder:
        """Whose turn it is where requests take turns."""
        return by_hand(self.access, self.session.peer)

    async def pace_in(self, amount: int) -> None:
        """Wait until `amount` bytes may come in."""
        await self.session.pace(amount, "in")

    async def pace_out(self, amount: int) -> None:
        """Wait until `amount` bytes may go out."""
        await self.session.pace(amount, "out")

    @contextmanager
    def file(self, path: DocPath, way: Way, size: int | None = None) -> Iterator[FileNote]:
        """Have a file in the session's figures; a Problem is its failure, anything else leaves it open."""
        note = FileNote()
        self.session.file_started(path, way, size)
        try:
            yield note
        except Problem as problem:
            self.session.file_finished(path, way, note.size, error=problem.user_message)
            raise
        except BaseException:
            self.session.file_left(path, way)
            raise
        if note.done:
            self.session.file_finished(path, way, note.size, note.digest)
        else:
            self.session.file_left(path, way)


REFUSED_S: Final = 0.1  # a refusal takes as long: many on one connection come to nothing
CALLER: Final = web.RequestKey("caller", Caller)


class Doorman:
    """Lets callers in; a middleware that stands before everything below `/fallback/v1`."""

    def __init__(self, admission: Admission, sessions: Sessions, disk: Executor) -> None:
        self._admission = admission
        self._sessions = sessions
        self._disk = disk

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admit the caller, or raise Problem."""
        if not request.path.startswith(f"{FALLBACK}/") or request.method == hdrs.METH_OPTIONS:
            return await handler(request)
        protocol: Protocol = "https" if request.secure else "http"
        access = await self._admit(request, protocol)
        if protocol == "http" and access.account.lowest_cipher != "none":
            raise needs_encryption()
        try:
            with self._sessions.join(access, protocol, client_address(request)) as session:
                return await self._serve(request, handler, access, session)
        except TooManySessions as error:
            raise Problem(503, error.code, error.user_message, headers={"Retry-After": "5"}) from None

    async def _serve(
        self, request: web.Request, handler: Handler, access: Access, session: Session
    ) -> web.StreamResponse:
        hang_up = partial(_hang_up, request)
        session.on_cancel(hang_up)
        docroot = await self._open(access)
        try:
            request[CALLER] = Caller(access, docroot, session)
            return await handler(request)
        finally:
            session.no_longer_on_cancel(hang_up)
            docroot.close()

    async def _open(self, access: Access) -> Docroot:
        step = partial(Docroot.open, access.account.docroot, follow_links=access.follow_links)
        try:
            return await in_thread(self._disk, step)
        except OSError as error:
            raise Problem(
                503, "no_docroot", "The folder of this account cannot be reached; tell the server's operator."
            ) from error

    async def _admit(self, request: web.Request, protocol: Protocol) -> Access:
        user, secret = _credentials(request)
        via: Via = "bearer" if user is None else "basic"
        peer = client_address(request)

        def under_way(token: TokenClaims) -> bool:
            return self._sessions.under_way(token, protocol, peer)

        try:
            return await self._admission.admit(user, secret, peer, via, under_way=under_way)
        except (LoginRefused, TokenRefused) as error:
            await asyncio.sleep(REFUSED_S)
            raise _unauthorised(error.code, error.user_message) from None
        except TooManyRequests as error:
            raise Problem(
                429, error.code, error.user_message, headers={"Retry-After": str(error.retry_after)}
            ) from None


def caller_of(request: web.Request) -> Caller:
    """The caller the doorman let in."""
    return request[CALLER]


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _credentials(request: web.Request) -> tuple[str | None, str]:
    """User and secret; the user is None for Bearer. Raises Problem."""
    scheme, _, rest = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return None, rest
    if scheme.lower() == "basic" and rest:
        text = basic_credentials(rest)
        if text is None:
            raise _unauthorised("login_refused", "The Authorization header cannot be read.")
        user, colon, password = text.partition(":")
        if colon:
            return user, password
    raise _unauthorised("login_needed", "Send a transfer token in the Authorization header.")


def _unauthorised(reason: str, sentence: str) -> Problem:
    # Never "Basic": a browser that was asked for it would add passwords to other pages' requests (SEC-32).
    return Problem(401, reason, sentence, headers={"WWW-Authenticate": 'Bearer realm="transfers"'})
