"""The list of uploads and the disk, each in its threads, for whoever works on uploads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from connect_helper.server.http.threads import in_thread
from connect_helper.server.http.upload_records import Unfinished, UploadRecord, UploadRecords

P = ParamSpec("P")
R = TypeVar("R")


class UploadStore:
    """`UploadRecords` from the event loop, and steps on the disk."""

    def __init__(self, records: UploadRecords, disk: Executor) -> None:
        self._records = records
        self.disk = disk
        self._list = ThreadPoolExecutor(1, thread_name_prefix="uploads list")

    def close(self) -> None:
        """Let go of the list, once no request runs any more."""
        self._list.shutdown(wait=True)
        self._records.close()

    async def note(self, record: UploadRecord) -> None:
        """Keep the newest state of an upload."""
        await self._listed(self._records.put, record)

    async def get(self, upload_id: str) -> UploadRecord | None:
        """One upload, as it stands."""
        return await self._listed(self._records.get, upload_id)

    async def remove(self, upload_ids: Sequence[str]) -> None:
        """Forget uploads; their bytes stay."""
        await self._listed(self._records.remove, upload_ids)

    async def unfinished(self, account: str, *, alive: float, moving: float) -> dict[str | None, Unfinished]:
        """See `UploadRecords.unfinished`."""
        return await self._listed(self._records.unfinished, account, alive=alive, moving=moving)

    async def done_before(self, keep: int) -> list[str]:
        """See `UploadRecords.done_before`."""
        return await self._listed(self._records.done_before, keep)

    async def expired(self, now: float, *, without: Collection[str]) -> list[UploadRecord]:
        """See `UploadRecords.expired`."""
        return await self._listed(self._records.expired, now, without=without)

    async def _listed(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await in_thread(self._list, partial(step, *args, **kwargs))

    async def on_disk(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one blocking step on the disk; raises what it raises, Problem for what callers should know."""
        return await in_thread(self.disk, partial(step, *args, **kwargs))
