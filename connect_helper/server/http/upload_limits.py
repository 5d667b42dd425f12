"""What uploads may take: how many of an account are open, how much of the disk, how long they are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import Problem, disk_full
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.storage.docpath import ROOT

PROMISE_S: Final = 3600.0  # how long room is kept for an upload that does not move


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What the operator allows."""

    unfinished_s: float = 7 * 86_400  # uploads left alone so long are removed
    unfinished_per_account: int = 10_000
    idle_s: float = 60.0  # a body that brings next to nothing for so long is given up
    keep_free_percent: float = 1.0  # of the disk


class UploadRoom:
    """Tells whether one more upload may begin."""

    def __init__(self, store: UploadStore, limits: UploadLimits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    async def check_count(self, caller: Caller) -> None:
        """Raise Problem (429) when too many uploads of the account are open."""
        count, _ = await self._unfinished(caller)
        if count >= self._limits.unfinished_per_account:
            raise Problem(
                429,
                "too_many_uploads",
                "Too many uploads are unfinished; finish or cancel some of them.",
                headers={"Retry-After": "60"},
            )

    async def check_space(self, caller: Caller, length: int | None) -> None:
        """Raise Problem (507) unless `length` more bytes fit beside what the account's uploads promise.

        None: nobody knows how many. What uploads really bring is looked at once more as they come.
        """
        if length == 0:
            return
        _, promised = await self._unfinished(caller)
        facts = await self._store.on_disk(caller.docroot.statvfs, ROOT)
        reserve = facts.f_blocks * facts.f_frsize * self._limits.keep_free_percent / 100
        if facts.f_bavail * facts.f_frsize - promised - (length or 1) < reserve:
            raise disk_full()

    async def _unfinished(self, caller: Caller) -> tuple[int, int]:
        alive = self._clock() + self._limits.unfinished_s - PROMISE_S
        return await self._store.unfinished(caller.account, alive)
