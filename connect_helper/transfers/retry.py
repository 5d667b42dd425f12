"""When a lost connection is worth another try: pure rules, the clock and the dice come in as arguments.

Full jitter, growing from 1 to 60 seconds, so that many helpers do not come back to a server at once;
progress starts the count anew. A refused login, an unknown host key or a full disk is never tried again by
itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connect_helper.errors import ConnectRefused, HostNotFound

# Of a server that was there before these tell that it restarts, or that the network is gone for a while.
_LOSSES_ONCE_CONNECTED: Final = frozenset({ConnectRefused.code, HostNotFound.code})
SHORTEST_S = 1.0
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class RetryRules:
    """What the user and the transfer spec allow."""

    enabled: bool
    tries: int  # fruitless ones in a row before giving up
    total_s: float | None = None  # no try later than this after the last progress


@dataclass(frozen=True, slots=True)
class Tries:
    """How it went so far."""

    fruitless: int = 0  # in a row
    since: float | None = None  # clock at the first loss after the last progress


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after a loss: wait `delay_s`, or give up when it is None."""

    tries: Tries
    delay_s: float | None


def is_loss(code: str, *, retryable: bool, was_connected: bool) -> bool:
    """Tell whether an ended session is worth another try; `code` is that of its error.

    Before the first connection of the transfer a refused one is more likely a wrong address or port.
    """
    return retryable or (was_connected and code in _LOSSES_ONCE_CONNECTED)


def backoff_s(fruitless: int, fraction: float) -> float:
    """Return the seconds to wait after `fruitless` vain tries; `fraction` is random, 0 <= fraction < 1."""
    ceiling = min(LONGEST_S, 2.0 ** min(fruitless + 1, 10))
    return SHORTEST_S + fraction * (ceiling - SHORTEST_S)


def after_loss(
    rules: RetryRules,
    tries: Tries,
    *,
    progressed: bool,
    now: float,
    fraction: float,
    at_least_s: float = 0.0,
) -> Verdict:
    """Judge one lost session; `progressed` tells whether it brought the transfer on.

    `at_least_s`: so long the server wants to be left alone. Not all who hear that come back at one moment.
    """
    fruitless = 0 if progressed else tries.fruitless + 1
    since = now if progressed or tries.since is None else tries.since
    counted = Tries(fruitless, since)
    delay_s = max(backoff_s(fruitless, fraction), at_least_s and at_least_s + fraction * SHORTEST_S)
    too_late = rules.total_s is not None and now + delay_s - since > rules.total_s
    if not rules.enabled or fruitless >= rules.tries or too_late:
        return Verdict(counted, None)
    return Verdict(counted, delay_s)
