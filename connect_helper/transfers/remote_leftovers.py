"""Unfinished files on a server, removed when their transfer is (REL-20).

A session with nothing else to do logs in once more. A file goes only when it is known to be ours (see
`belonging`). So one of which the server had not confirmed anything yet stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from connect_helper.errors import ConnectError, TransferError
from connect_helper.spec.names import display
from connect_helper.transfers.belonging import is_ours, made_this_way
from connect_helper.transfers.conversation import Conversation
from connect_helper.transfers.leftovers import forget, held, noted, sent
from connect_helper.transfers.messages import Event, Question
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.workers import WorkerLost, WorkerPool
from connect_helper.transports.base import Transport
from connect_helper.transports.resume import Record, RecordStore

logger = logging.getLogger(__name__)

LIMIT_S: Final = 60.0  # for all files of a transfer


class Cleaner:
    """The helper's side: finds a worker for it, and is content when it does not come about."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    async def clean(self, plan: SessionPlan, login: Login) -> None:
        """Remove what the removed transfer of `plan` left on its server; forget it either way."""
        cleaning = plan.model_copy(update={"login": login, "clean_only": True})
        try:
            async with asyncio.timeout(LIMIT_S), self._pool.worker() as worker:
                loop = asyncio.get_running_loop()
                ended = await Conversation(worker, _Nobody(), loop.time).run(cleaning)
        except (WorkerLost, TimeoutError) as error:
            logger.warning("transfer %s: unfinished files stay on the server: %s", plan.transfer_id, error)
        else:
            logger.info("transfer %s: cleaning up: %s", plan.transfer_id, ended.outcome)
        await asyncio.to_thread(forget, Path(plan.resume_folder), plan.transfer_id)


class _Nobody:
    """Listens to a session nobody watches."""

    stop_by: float | None = None

    async def hear(self, event: Event | None) -> None:
        pass

    async def accept(self, question: Question) -> bool:
        return False  # the user agreed to the server that the files went to, and to no other


async def remove_unfinished(plan: SessionPlan, transport: Transport) -> None:
    """The worker's side: remove each file that is still ours, and its record. Raises ConnectError."""
    folder = Path(plan.resume_folder)
    for key, record in await asyncio.to_thread(sent, folder, plan.transfer_id):
        await _try_one(folder, key, record, transport)


async def forget_sent(plan: SessionPlan, key: str, transport: Transport) -> None:
    """Remove what this transfer left of a file that is not to be sent any more; also the worker's side.

    There is a record where an earlier session was killed, or its line cut, after the file got its name; or
    before, and since then somebody else put a file there that is kept. Raises ConnectError.
    """
    folder = Path(plan.resume_folder)
    record = await asyncio.to_thread(noted, folder, key, plan.transfer_id)
    if record is None or record.direction != "send":
        return
    await _try_one(folder, key, record, transport)


async def _try_one(folder: Path, key: str, record: Record, transport: Transport) -> None:
    try:
        await _remove_one(folder, key, record, transport)
    except ConnectError:
        raise
    except TransferError as error:
        logger.info("%s stays: %s", display(record.partial), error.internal_message)


async def _remove_one(folder: Path, key: str, record: Record, transport: Transport) -> None:
    with held(folder, key) as ours:
        if not ours:
            return  # another transfer to the same target goes on from it
        if not made_this_way(record, transport):
            return  # the other way of sending may still find it
        partial = os.fsencode(record.partial)
        if await is_ours(transport, record):
            await transport.remove(partial)
        else:
            logger.info("%s is not ours any more and stays", display(partial))
        await asyncio.to_thread(RecordStore(folder).remove, key)
