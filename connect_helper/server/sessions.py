"""The sessions of the server: who transfers what, how fast they may, and how they are ended.

A session is one SSH connection, or the HTTP requests of one token from one address. Whoever moves bytes opens
a session, asks `pace` before each block and reports files; figures, rate limits, metrics and the transfer log
follow from that. Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, Final

from connect_helper.errors import ConnectHelperError
from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.metrics import Metrics
from connect_helper.server.rate import RateLimit
from connect_helper.server.sent_files import SentFiles
from connect_helper.server.session import Session, SessionCancelled
from connect_helper.server.session_reports import FileReport, Protocol, SessionReport, Way
from connect_helper.server.set_rates import SetRates
from connect_helper.server.shares import Holder, Shares, by_address, by_token
from connect_helper.server.token_contents import TokenClaims
from connect_helper.server.transfer_log import TransferLog

__all__ = [
    "FileReport",
    "Protocol",
    "Session",
    "SessionCancelled",
    "SessionReport",
    "Sessions",
    "TooManySessions",
    "Way",
]

_log = logging.getLogger(__name__)
_HISTORY: Final = 1000  # ended sessions kept in memory; older ones are in the transfer log
LINGER_S: Final = 30.0  # how long a session of HTTP requests waits for the next one
SAMPLE_S: Final = 10.0
LEAST_SHARE: Final = 32  # sessions that one token or address may have, however few there are for all
_SHARE_USED: Final = (
    "The server is busy, and {who} has as many transfers open as it may have then. "
    "Let some of them end, and try again."
)


class TooManySessions(ConnectHelperError):
    """The server, or the account, has as many sessions as it may, or somebody has their share of them."""

    code: ClassVar[str] = "too_many_sessions"
    http_status: ClassVar[int] = 503
    error_code: ClassVar[int] = 29

    def __init__(
        self, sentence: str = "The server is busy with other transfers. Try again in a while."
    ) -> None:
        super().__init__(sentence)


class TokenNotWithdrawn(ConnectHelperError):
    """A session was ended, and the token it came by opens another one."""

    code: ClassVar[str] = "token_not_withdrawn"
    http_status: ClassVar[int] = 503

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The session was ended, but its token could not be revoked, so that its client may come back. "
            "See to the list of revoked tokens, and revoke it there.",
            internal_message=f"a token could not be revoked: {reason}",
        )


def _same_but_caps(one: Account, other: Account) -> bool:
    return _uncapped(one) == _uncapped(other)


def _uncapped(account: Account) -> Account:
    return replace(account, upload_cap_kbps=None, download_cap_kbps=None, target_rate_kbps=None)


_Key = tuple[str, str | None, Protocol, str, str | None]


def _account(access: Access) -> Holder:
    return ("account", access.account.name)


def _in_account(access: Access, peer: str) -> list[tuple[Holder, str]]:
    """Who within an account has a share of its sessions, and how they are told of it."""
    name = access.account.name
    holders: list[tuple[Holder, str]] = [((*by_address(peer), name), "this address")]
    if access.token is not None:
        holders.append((by_token(name, access.token.id), "this token"))
    return holders


class _Shared:
    """A session of many HTTP requests: how many are in it now, and when it will be closed."""

    def __init__(self, session: Session, leave: Callable[[], None]) -> None:
        self.session = session
        self.inside = 0
        self.leave = leave
        self.closing: asyncio.TimerHandle | None = None


class Sessions:
    """All open sessions, and those of a while ago."""

    def __init__(
        self,
        metrics: Metrics,
        log: TransferLog | None = None,
        *,
        limit: int = 2000,
        limit_per_account: int = 1000,
        linger_s: float = LINGER_S,
        withdraw: Callable[[str, int], None] | None = None,
    ) -> None:
        """`withdraw` revokes a token, by its id and the second of its end; it blocks."""
        self.metrics = metrics
        self._withdraw = withdraw
        self.whole: dict[Way, RateLimit] = {"in": RateLimit(), "out": RateLimit()}
        self.set_rates = SetRates()
        self.sent = SentFiles()
        self.limit = limit
        self.limit_per_account = limit_per_account
        self._log = log
        self._linger_s = linger_s
        self._open: dict[str, Session] = {}
        self._shares = Shares(LEAST_SHARE)
        self._shared: dict[_Key, _Shared] = {}
        self._ended: deque[tuple[SessionReport, tuple[FileReport, ...]]] = deque(maxlen=_HISTORY)
        self._empty = asyncio.Event()
        self._empty.set()

    @contextlib.contextmanager
    def open(
        self, access: Access, protocol: Protocol, peer: str, cookie: str | None = None
    ) -> Iterator[Session]:
        """A session of its own, ended with the context. Raises TooManySessions."""
        session = self._begin(access, protocol, peer, cookie)
        error: str | None = None
        try:
            yield session
        except asyncio.CancelledError:
            raise
        except ConnectHelperError as failure:
            error = failure.user_message
            raise
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            self._end(session, error)

    @contextlib.contextmanager
    def join(
        self, access: Access, protocol: Protocol, peer: str, cookie: str | None = None
    ) -> Iterator[Session]:
        """The session that HTTP requests of the same token and address share.

        It ends some time after the last request, or at once when it was cancelled. Raises TooManySessions,
        and SessionCancelled while the last requests of a cancelled one are still leaving.
        """
        key: _Key = (access.account.name, access.token.id if access.token else None, protocol, peer, cookie)
        shared = self._shared.get(key)
        if shared is None:
            session = self._begin(access, protocol, peer, cookie)
            shared = self._shared[key] = _Shared(session, lambda: self._close_shared(key))
        elif shared.session.cancelled:
            raise SessionCancelled
        if shared.closing is not None:
            shared.closing.cancel()
            shared.closing = None
        shared.inside += 1
        try:
            yield shared.session
        finally:
            shared.inside -= 1
            if shared.inside == 0:
                self._close_later(shared)

    def under_way(self, token: TokenClaims, protocol: Protocol, peer: str) -> bool:
        """Tell whether HTTP requests of that token and address have a session open that goes on."""
        shared = self._shared.get((token.user, token.id, protocol, peer, None))
        return shared is not None and not shared.session.cancelled

    def listing(self) -> tuple[SessionReport, ...]:
        """All open sessions, oldest first."""
        return tuple(session.report() for session in self._open.values())

    def history(self) -> tuple[SessionReport, ...]:
        """Sessions that have ended since the server started, oldest first, the last thousand."""
        return tuple(report for report, _files in self._ended)

    def with_files(self) -> Iterator[tuple[SessionReport, tuple[FileReport, ...]]]:
        """Sessions ended and open, oldest first, each with the last of its finished files."""
        yield from tuple(self._ended)
        for session in tuple(self._open.values()):
            yield session.report(), tuple(session.finished)

    def get(self, session_id: str) -> Session | None:
        """An open session."""
        return self._open.get(session_id)

    def ended(self, session_id: str) -> tuple[SessionReport, tuple[FileReport, ...]] | None:
        """A session of the history with the last of its files."""
        return next((entry for entry in self._ended if entry[0].id == session_id), None)

    def accounts_changed(self, find: Callable[[str], Account | None]) -> int:
        """End the sessions of accounts that are gone or may do other things now; the rest get the new caps.

        `find` gives an account as it is now. Returns how many sessions were ended.
        """
        ended = 0
        for session in tuple(self._open.values()):
            now = find(session.account.name)
            if now is not None and _same_but_caps(session.account, now):
                session.take_account(now)
            else:
                session.cancel()
                ended += 1
        return ended

    async def end_for_good(self, session: Session) -> None:
        """End a session as somebody asked for. A token it came by is revoked: clients come back after a loss.

        An account comes back if it wants to; take its rights away first. Raises TokenNotWithdrawn, and has
        ended the session all the same.
        """
        token = session.access.token
        try:
            if token is not None and self._withdraw is not None:
                await asyncio.to_thread(self._withdraw, token.id, token.expires_at)
        except (OSError, ConnectHelperError) as error:
            reason = error.internal_message if isinstance(error, ConnectHelperError) else str(error)
            _log.error("session %s: its token could not be revoked: %s", session.id, reason)
            raise TokenNotWithdrawn(reason) from error
        finally:
            session.cancel()

    def cancel_all(self) -> None:
        """End every session."""
        for session in tuple(self._open.values()):
            session.cancel()

    def close_idle(self) -> None:
        """End the HTTP sessions that only wait for a next request."""
        for shared in tuple(self._shared.values()):
            if shared.inside == 0:
                shared.leave()

    async def until_empty(self) -> None:
        """Wait until no session is open."""
        await self._empty.wait()

    async def sample(self) -> None:
        """Note each session's figures every ten seconds, for as long as this runs."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            now = time.time()
            for session in self._open.values():
                session.take_sample(now)

    def log_file(self, session_id: str, report: FileReport) -> None:
        if self._log is not None:
            self._log.file(session_id, report)

    def _begin(self, access: Access, protocol: Protocol, peer: str, cookie: str | None) -> Session:
        try:
            self._need_room(access, peer)
        except TooManySessions:
            self.metrics.connection_refused("sessions")
            raise
        session = Session(self, access, protocol, peer, cookie)
        session.take_sample(session.started_at)
        self._open[session.id] = session
        self._shares.take(self._holders(session))
        self._empty.clear()
        self.metrics.session_opened(protocol)
        if self._log is not None:
            self._log.session(session.report())
        _log.info(
            "session opened: id=%s user=%s protocol=%s address=%s",
            session.id,
            access.account.name,
            protocol,
            peer,
        )
        return session

    def _need_room(self, access: Access, peer: str) -> None:
        """Raise TooManySessions where the server or the account has no more, or somebody takes too many.

        Shares are those of an address, and within an account those of a token and of an address.
        """
        of_account = self._shares.held(_account(access))
        if len(self._open) >= self.limit or of_account >= self.limit_per_account:
            raise TooManySessions
        self._need_share(len(self._open), self.limit, [(by_address(peer), "this address")])
        self._need_share(of_account, self.limit_per_account, _in_account(access, peer))

    def _need_share(self, taken: int, limit: int, holders: list[tuple[Holder, str]]) -> None:
        for holder, who in holders:
            if self._shares.is_used_up(holder, taken, limit):
                raise TooManySessions(_SHARE_USED.format(who=who))

    @staticmethod
    def _holders(session: Session) -> list[Holder]:
        access, peer = session.access, session.peer
        return [_account(access), by_address(peer), *(holder for holder, _who in _in_account(access, peer))]

    def _end(self, session: Session, error: str | None) -> None:
        session.settle()
        del self._open[session.id]
        self._shares.give_back(self._holders(session))
        if not self._open:
            self._empty.set()
        now = time.time()
        session.take_sample(now)
        report = session.report(ended_at=now, error=error)
        self._ended.append((report, tuple(session.finished)))
        self.metrics.session_closed(session.protocol)
        if self._log is not None:
            self._log.session(report)
        _log.info(
            "session %s: id=%s user=%s bytes_in=%d bytes_out=%d files_failed=%d%s",
            report.status,
            session.id,
            session.account.name,
            report.bytes_in,
            report.bytes_out,
            report.files_failed,
            "" if error is None else f" error: {error}",
        )

    def _close_later(self, shared: _Shared) -> None:
        if shared.session.cancelled or self._linger_s <= 0:
            shared.leave()
        else:
            loop = asyncio.get_running_loop()
            shared.closing = loop.call_later(self._linger_s, shared.leave)

    def _close_shared(self, key: _Key) -> None:
        shared = self._shared.pop(key)
        if shared.closing is not None:
            shared.closing.cancel()
        self._end(shared.session, None)
