"""No page is a password tester: five wrong logins end its tries at a host for an hour (SEC-22).

Tests of a login and transfers count together. A page can hand in many transfers before the first one has
failed, so those that did not log in yet are stopped once the tries are used up.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from connect_helper.consent.limits import FailureLimit
from connect_helper.errors import AuthFailed, ConnectHelperError, TooManyRequests
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer

log = logging.getLogger(__name__)

_NOT_LOGGED_IN: Final = (Status.QUEUED, Status.INITIATING)
_RETRY_AFTER_S: Final = 2
_STOPPED: Final = (
    "It was stopped before it logged in: other transfers of this page gave this server wrong logins too"
    " often. Start it again later, with a login that works."
)

Target = tuple[str, str]  # origin and host


class LoginGuard:
    """Counts wrong logins by origin and host; `host` is spelled as `clean_host` gives it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: FailureLimit[Target] = FailureLimit()
        self._trying: Counter[Target] = Counter()
        self._counted: set[str] = set()  # ids of transfers whose present failure is counted

    def check(self, origin: str, host: str) -> None:
        """Raises TooManyRequests when the tries of the page at that host are used up."""
        wait_s = self._failures.blocked_s((origin, host), self._clock())
        if wait_s > 0:
            minutes = math.ceil(wait_s / 60)
            raise TooManyRequests(
                f"Too many wrong logins; try again in {minutes} minute{'' if minutes == 1 else 's'}.",
                retry_after=math.ceil(wait_s),
            )

    def enter(self, origin: str, host: str) -> None:
        """Take one try before connecting; `succeeded`, `failed` or `undecided` must follow.

        Raises TooManyRequests when none is left, counting those that others have taken and not used yet.
        """
        self.check(origin, host)
        target = (origin, host)
        if self._trying[target] >= self._failures.left(target, self._clock()):
            raise TooManyRequests(
                "Too many logins at once; let one finish first.", retry_after=_RETRY_AFTER_S
            )
        self._trying[target] += 1

    def succeeded(self, origin: str, host: str) -> None:
        """Give the try back. Earlier failures stay: one good login must not pay for guesses at others."""
        self._leave((origin, host))

    def undecided(self, origin: str, host: str) -> None:
        """Give the try back when the server never judged the login."""
        self._leave((origin, host))

    def failed(self, origin: str, host: str) -> None:
        """Use the try up."""
        self._leave((origin, host))
        self._failures.failed((origin, host), self._clock())

    def _leave(self, target: Target) -> None:
        self._trying[target] -= 1
        if self._trying[target] <= 0:
            del self._trying[target]

    def note_transfer(self, transfer: Transfer) -> bool:
        """Take note of a changed transfer; tell whether its wrong login, counted once, used up the tries."""
        if transfer.status is not Status.FAILED or transfer.error != AuthFailed.code:
            self._counted.discard(transfer.id)
            return False
        if transfer.id in self._counted:
            return False
        self._counted.add(transfer.id)
        target = (transfer.owner.origin, transfer.host)
        self._failures.failed(target, self._clock())
        return self._failures.blocked_s(target, self._clock()) > 0

    async def watch(self, manager: TransferManager) -> None:
        """Note what becomes of transfers, until cancelled."""
        with manager.subscribe() as subscription:
            async for batch in subscription:
                for transfer in batch:
                    if self.note_transfer(transfer):
                        await _stop_untried(manager, transfer)


async def _stop_untried(manager: TransferManager, failed: Transfer) -> None:
    """Stop the page's transfers with the same host that did not log in yet, under whatever app_id."""
    # Those in the queue first: one of them would take the place of each that is stopped while it connects.
    for status in _NOT_LOGGED_IN:
        for other in manager.all():
            same = other.owner.origin == failed.owner.origin and other.host == failed.host
            if not same or other.status is not status:
                continue
            log.info("transfer %s is stopped: too many wrong logins of %s", other.id, other.owner.origin)
            try:
                await manager.stop(other.id, because=_STOPPED)
            except ConnectHelperError as error:  # removed meanwhile, or the list cannot be written
                log.warning("transfer %s could not be stopped: %s", other.id, error.code)
