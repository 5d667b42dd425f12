"""Trying a server out for a page: can its port be reached, do these credentials log in.

Both send packets to a host of the page's choosing, so both need the user's yes first, and repeated
wrong passwords end the page's tries for an hour.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from connect_helper.api.callers import Caller
from connect_helper.api.host_key_questions import HostKeyQuestions
from connect_helper.api.ladder import HostQuestion, Ladder
from connect_helper.api.login_guard import LoginGuard
from connect_helper.api.logins import login_of, missing_field
from connect_helper.api.starting import RESUME_FOLDER, Starting
from connect_helper.errors import (
    AuthFailed,
    ConnectRefused,
    ConnectTimedOut,
    HostNotFound,
    InvalidRequest,
    RequestError,
)
from connect_helper.settings import Folders
from connect_helper.spec.hosts import clean_host
from connect_helper.spec.lenient import as_int, as_text
from connect_helper.spec.transfer_spec import DEFAULT_SSH_PORT, parse_spec
from connect_helper.transfers.messages import Ended, Event, Question
from connect_helper.transfers.plan import Server, SessionPlan
from connect_helper.transfers.retry import RetryRules
from connect_helper.transfers.standalone import Standalone
from connect_helper.transfers.workers import WorkerPool
from connect_helper.transports.host_keys import fingerprint

_LONGEST_WAIT_S = 60.0
_SHORTEST_WAIT_S = 0.1
# What a login needs of a transfer spec: pages pass any part of one.
_LOGIN_FIELDS = (
    *("remote_host", "ssh_port", "remote_user", "remote_password", "authentication", "token"),
    *("ssh_private_key", "ssh_private_key_passphrase", "sshfp", "ssh_fingerprint"),
)


LOGIN_TEST = "login-test"


class ServerRefused(RequestError):
    """A login test that failed for another reason than wrong credentials."""

    code = "server_refused"
    http_status = 500


class _Listener:
    """Hears of a login test; only its host key question matters."""

    def __init__(self, caller: Caller, questions: HostKeyQuestions) -> None:
        self._caller = caller
        self._questions = questions

    def begins(self) -> None:
        pass

    def hear(self, event: Event | None) -> None:
        pass

    def waits(self, ended: Ended, delay_s: float) -> None:
        pass

    async def accept(self, question: Question) -> bool:
        shown = fingerprint(question.key)
        return await self._questions.ask(
            self._caller.label, question.host, question.port, question.key, shown
        )


class Probing:
    """Connection tests on behalf of pages."""

    def __init__(
        self,
        ladder: Ladder,
        starting: Starting,
        host_key_questions: HostKeyQuestions,
        guard: LoginGuard,
        folders: Folders,
    ) -> None:
        self._ladder = ladder
        self._starting = starting
        self._host_key_questions = host_key_questions
        self._guard = guard
        self._state = folders.state

    async def port(self, caller: Caller, body: Mapping[str, Any]) -> None:
        """Connect and hang up.

        Raises InvalidRequest, Refused, HostNotFound, ConnectRefused, ConnectTimedOut.
        """
        host = clean_host(as_text(body.get("remote_host"), "remote_host") or "", "remote_host")
        port = _port(body)
        limit_s = _wait(body.get("timeout_sec"))
        heading = f"Allow {caller.label} to test the connection to {host}?"
        question = HostQuestion(host, port, heading, (f"Server: {host}, port {port}",))
        addresses = await self._ladder.allow_host(caller, question)
        await _reach(host, port, addresses, limit_s)

    async def login(self, caller: Caller, body: Mapping[str, Any]) -> None:
        """Log in and out again over SSH.

        Raises AuthFailed, ConnectError, HostKeyChanged, Refused; TooManyRequests after five wrong ones.
        """
        wanted = {name: body[name] for name in _LOGIN_FIELDS if name in body}
        spec = parse_spec({**wanted, "direction": "receive", "paths": [{"source": "login"}]})
        login = login_of(spec)
        if login is None:
            field = missing_field(spec)
            raise InvalidRequest(f"{field} is missing.", field=field)
        host, port = spec.remote_host, spec.ssh_port
        heading = f"Allow {caller.label} to sign in to {host} as {login.user}?"
        addresses = await self._ladder.allow_host(
            caller, HostQuestion(host, port, heading, (f"Server: {host}, port {port}",))
        )
        plan = SessionPlan(
            transfer_id=LOGIN_TEST,
            direction="receive",
            server=Server(host=host, port=port, addresses=addresses),
            login=login,
            host_keys=await self._starting.host_keys(spec),
            items=(),
            resume_folder=str(self._state / RESUME_FOLDER),
        )
        with self._one_try(caller.origin, host):
            await self._log_in(caller, plan)

    async def _log_in(self, caller: Caller, plan: SessionPlan) -> None:
        """Run a session that has nothing to transfer, in a worker process as any other."""
        listener = _Listener(caller, self._host_key_questions)
        no_retries = RetryRules(enabled=False, tries=1)
        pool = WorkerPool(folder=self._state)
        ended = await Standalone(plan, listener, pool=pool, rules=no_retries).run()
        if ended.code == AuthFailed.code:
            raise AuthFailed(ended.message, internal_message=ended.internal_message)
        if ended.outcome != "completed":
            raise ServerRefused(ended.message, internal_message=f"{ended.code}: {ended.internal_message}")

    @contextmanager
    def _one_try(self, origin: str, host: str) -> Iterator[None]:
        """One of the page's tries; an aborted one counts, for the server may have judged it already."""
        self._guard.enter(origin, host)
        try:
            yield
        except (AuthFailed, asyncio.CancelledError):
            self._guard.failed(origin, host)
            raise
        except BaseException:
            self._guard.undecided(origin, host)
            raise
        self._guard.succeeded(origin, host)


def _port(body: Mapping[str, Any]) -> int:
    """The port to try. Page libraries put their default in where they are given 0, so 0 here is a mistake."""
    port = as_int(body.get("ssh_port"), "ssh_port", minimum=1, maximum=65_535)
    return DEFAULT_SSH_PORT if port is None else port


def _wait(value: object) -> float:
    """`timeout_sec` within bounds; 3 seconds when it is missing or no number."""
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) and value else 3.0
    except ValueError:
        seconds = 3.0
    if not math.isfinite(seconds):
        seconds = 3.0
    return min(max(seconds, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)


async def _reach(host: str, port: int, addresses: tuple[str, ...], limit_s: float) -> None:
    """Try the addresses in turn, all within one limit."""
    refused = False
    try:
        async with asyncio.timeout(limit_s):
            for address in addresses:
                try:
                    _, writer = await asyncio.open_connection(address, port)
                except OSError:
                    refused = True
                    continue
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                return
    except TimeoutError:
        raise ConnectTimedOut(f"{host} did not answer on port {port} within {limit_s:g} seconds.") from None
    if refused:
        raise ConnectRefused(f"{host} does not accept connections on port {port}. Check host and port.")
    raise HostNotFound(f"No address is known for {host}; check the name.")
