"""The ladder of attempts: SSH first, then HTTPS or HTTP where the transfer spec permits it.

HTTP comes into play only where SSH could not connect: after a refused login or host key it would be a way
around that refusal. Source: Aspera server configuration reference, section 4.4.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from connect_helper.errors import ConnectError, ConnectRefused, TransferError, WeakAlgorithms
from connect_helper.settings import Preferences, parse_pins
from connect_helper.transfers.plan import Fallback, SessionPlan
from connect_helper.transports.base import RateLimiter, Transport

if TYPE_CHECKING:
    from connect_helper.transports.https import HttpTransport

_log = logging.getLogger(__name__)

Kind = Literal["fasp", "http"]  # as page libraries name SSH and HTTP fallback


def preferred(fallback: Fallback | None, host: str, preferences: Preferences) -> Fallback | None:
    """`fallback` to `host` with what the user prefers at the moment."""
    if fallback is None:
        return None
    return fallback.model_copy(
        update={
            "plain_allowed": preferences.plain_http,
            "ca_file": preferences.certificates_file,
            "pinned": parse_pins(preferences.pinned_certificates).get(host.lower(), ""),
        }
    )


@asynccontextmanager
async def reached(
    plan: SessionPlan, ssh: Transport, limiter: RateLimiter
) -> AsyncIterator[tuple[Transport, Kind]]:
    """The open transport of a session, by the first way that connects, and which one it is.

    Raises TransferError; where both ways failed it tells both.
    """
    async with AsyncExitStack() as stack:
        fallback = plan.fallback if plan.login.token is not None else None
        if fallback is not None and fallback.forced:
            yield await stack.enter_async_context(_http(plan, fallback, limiter)), "http"
            return
        try:
            transport: Transport = await stack.enter_async_context(ssh)
            kind: Kind = "fasp"
        except ConnectError as error:
            if fallback is None or isinstance(error, WeakAlgorithms):
                raise
            _log.info("SSH: %s; going on over HTTP", error.internal_message)
            transport, kind = await _second(stack, plan, fallback, limiter, error), "http"
        yield transport, kind


async def _second(
    stack: AsyncExitStack, plan: SessionPlan, fallback: Fallback, limiter: RateLimiter, first: ConnectError
) -> Transport:
    try:
        return await stack.enter_async_context(_http(plan, fallback, limiter))
    except TransferError as error:
        name = "HTTPS" if fallback.tls else "HTTP"
        # Where waiting may help one of the two, the transfer is worth another try.
        kind = type(first) if first.retryable and isinstance(error, ConnectError) else type(error)
        both = kind(
            f"Over SSH: {first.user_message} Over {name}: {error.user_message}",
            internal_message=f"SSH: {first.internal_message}; {name}: {error.internal_message}",
        )
        both.retry_after_s = max(first.retry_after_s, error.retry_after_s)
        raise both from error


def _http(plan: SessionPlan, fallback: Fallback, limiter: RateLimiter) -> HttpTransport:
    if not fallback.tls and not fallback.plain_allowed:
        raise ConnectRefused("Transfers over HTTP without encryption are switched off in the preferences.")
    if plan.login.token is None:
        raise ConnectRefused("A transfer over HTTP needs a token.")
    # Loaded where it is needed: it takes a fifth of a second, and few transfers go this way.
    from connect_helper.transports.http_connection import HttpEndpoint
    from connect_helper.transports.https import HttpTransport

    endpoint = HttpEndpoint(
        plan.server.host,
        fallback.port,
        plan.server.addresses,
        plan.login.token,
        tls=fallback.tls,
        ca_file=fallback.ca_file,
        pinned=fallback.pinned,
    )
    return HttpTransport(
        endpoint,
        limiter,
        sends=plan.direction == "send",
        root=os.fsencode(plan.destination),
        resume_folder=Path(plan.resume_folder),
        transfer_id=plan.transfer_id,
    )
