"""One transfer of the user's own, from its plan to its result. Needs no running helper."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from connect_helper.client.receipts import Receipts
from connect_helper.client.results import Progress, Receipt, Result
from connect_helper.client.tally import Tally
from connect_helper.settings import Folders
from connect_helper.transfers import messages
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.messages import Connected, Ended, Event, Question
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.retry import RetryRules
from connect_helper.transfers.standalone import Standalone
from connect_helper.transfers.workers import WorkerPool
from connect_helper.transports.known_hosts import KnownHosts

logger = logging.getLogger(__name__)


class View(Protocol):
    """Shows a transfer to whoever wants to see it. What its methods raise ends the transfer."""

    def progress(self, progress: Progress) -> None:
        """Called some four times a second while data flows, and at each change of the phase."""
        ...

    def file(self, receipt: Receipt) -> None:
        """Called for each file that ended, in an order of its own."""
        ...

    async def accept(self, question: Question) -> bool:
        """Tell whether the key of a server never seen before is to be trusted and remembered."""
        ...


class Transfer:
    """Runs a plan and keeps its count. `run` may be called once, `stop` at any time."""

    def __init__(
        self,
        plan: SessionPlan,
        view: View,
        folders: Folders,
        *,
        rules: RetryRules,
        receipts: Receipts,
        clock: Clock | None = None,
    ) -> None:
        self._view = view
        self._known_hosts = KnownHosts(folders)
        self._clock = clock or Clock()
        self._tally = Tally(plan, began_at=self._clock.monotonic(), receipts=receipts)
        pool = WorkerPool(folder=folders.state)
        self._session = Standalone(plan, self, pool=pool, rules=rules, clock=self._clock)

    async def run(self) -> Result:
        """Run to the end and tell how it ended; the receipts are where the caller wanted them.

        Raises Unavailable when there is no room for a receipt, and nothing else of the error tree.
        """
        ended = await self._session.run()
        logger.info("transfer ended: %s %s", ended.outcome, ended.internal_message)
        return self._tally.result(ended, self._clock.monotonic())

    def stop(self) -> None:
        """End it within a few seconds. Partial files stay; another run goes on from them."""
        self._session.stop()

    # What the session says -------------------------------------------------------------------------

    def begins(self) -> None:
        self._tally.begins()
        self._show()

    def hear(self, event: Event | None) -> None:
        receipt = self._tally.hear(event, self._clock.monotonic())
        if receipt is not None:
            self._view.file(receipt)
        if event is None or isinstance(event, Connected | messages.Progress):
            self._show()

    def waits(self, ended: Ended, delay_s: float) -> None:
        self._tally.waits(ended, self._clock.monotonic() + delay_s)
        self._show()

    async def accept(self, question: Question) -> bool:
        accepted = await self._view.accept(question)
        if accepted:
            await asyncio.to_thread(self._known_hosts.add, question.host, question.port, question.key)
        return accepted

    def _show(self) -> None:
        self._view.progress(self._tally.progress(self._clock.monotonic()))
