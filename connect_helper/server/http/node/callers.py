"""Who calls the Node API: an account, by Basic authentication on every request, and its folder.

Tokens are refused here: one that opens two files must not get its holder another token.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec, TypeVar

from aiohttp import hdrs, web

from connect_helper.errors import ConnectHelperError, TooManyRequests
from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.admission import Admission, LoginRefused
from connect_helper.server.basic_credentials import basic_credentials
from connect_helper.server.http.addresses import client_address
from connect_helper.server.http.node.faults import OVERLOADED, fault, fault_of
from connect_helper.server.http.problems import Problem, needs_encryption
from connect_helper.server.http.threads import in_thread
from connect_helper.server.tokens import TokenRefused, looks_like_token
from connect_helper.server.turns import Turns
from connect_helper.storage.docroot import Docroot

REFUSED: Final = "API user authentication failed"  # word for word, some clients look for it
_MAX_HEADER: Final = 8192
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that a request acts for."""

    access: Access
    disk: Executor
    turns: Turns  # for the threads, by account
    follow_links: bool = True  # sessions with a token follow none

    @property
    def account(self) -> Account:
        return self.access.account

    async def on_disk(
        self, work: Callable[Concatenate[Docroot, Access, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `work` in a thread in its turn, with the account's folder open. Raises Problem."""

        def run() -> R:
            follow = self.follow_links and self.access.follow_links
            try:
                docroot = Docroot.open(self.account.docroot, follow_links=follow)
            except OSError as error:
                if error.errno in OVERLOADED:
                    raise
                raise fault(500, "The folder of this account cannot be opened. Tell the operator.") from error
            with docroot:
                return work(docroot, self.access, *args, **kwargs)

        try:
            async with self.turns.of(self.account.name):
                return await in_thread(self.disk, run)
        except (OSError, ConnectHelperError) as error:
            raise fault_of(error) from error


async def identify(request: web.Request, admission: Admission, disk: Executor, turns: Turns) -> Caller:
    """The account whose name and password the request carries. Raises Problem 401, TooManyRequests."""
    login = _basic(request.headers.get(hdrs.AUTHORIZATION, ""))
    if login is None or looks_like_token(login[1]):
        raise unauthorized(request)
    try:
        access = await admission.admit(login[0], login[1], client_address(request), "basic")
    except (LoginRefused, TokenRefused) as error:
        raise unauthorized(request) from error
    except TooManyRequests as error:
        later = fault(429, error.user_message)
        later.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
        raise later from error
    if not request.secure and access.account.lowest_cipher != "none":
        raise needs_encryption()
    return Caller(access, disk, turns)


def unauthorized(request: web.Request) -> Problem:
    """401; a browser acting for a page is not invited to ask its user for a password (SEC-32)."""
    problem = fault(401, REFUSED)
    by_page = hdrs.ORIGIN in request.headers or any(name.startswith("Sec-Fetch-") for name in request.headers)
    if not by_page:
        problem.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="Node API", charset="UTF-8"'
    return problem


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _MAX_HEADER:
        return None
    user, colon, password = (basic_credentials(coded) or "").partition(":")
    return (user, password) if colon and user else None
