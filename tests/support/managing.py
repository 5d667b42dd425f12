"""What tests of the transfer manager share: requests that a scripted worker plays, and waits with an end."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import Question
from connect_helper.transfers.plan import HostKeys, LocalRef, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner, Transfer

REPOSITORY = Path(__file__).parents[2]
FAKE_WORKER = (sys.executable, str(REPOSITORY / "tests" / "support" / "fake_worker.py"))
OWNER = Owner("https://portal.example", "app-1")
OTHER = Owner("https://other.example", "app-1")
SECRET = "canary-3f9c-secret"
LIMIT_S = 40.0

_number = itertools.count()

COMPLETES = [["connect"], ["totals", 100, 1], ["file", 0, "running"], ["progress", 100], ["file", 0, "done"]]
COMPLETES = [*COMPLETES, ["end", "completed", "", False]]
HOLDS = [["connect"], ["totals", 100, 1], ["progress", 10], ["hold"]]


class Askers:
    """Answers host key questions; waits for ever when `answer` is None."""

    def __init__(self, answer: bool | None = True) -> None:
        self.answer = answer
        self.asked: list[Question] = []
        self.cancelled = 0

    async def host_key(self, transfer: Transfer, question: Question) -> bool:
        self.asked.append(question)
        if self.answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return bool(self.answer)


def request(*attempts: Sequence[Any], request_id: str = "", **changes: Any) -> StartRequest:
    """A start whose worker plays `attempts`."""
    target = changes.pop("target", f"in/a\udcff-{next(_number)}")  # another one for each
    login = Login(user="ann", password=SecretStr(SECRET) if changes.pop("secret", True) else None)
    plan = SessionPlan(
        transfer_id="",
        direction=changes.pop("direction", "send"),
        server=Server(host="b.example", port=22, addresses=("192.0.2.1",)),
        login=login,
        host_keys=HostKeys(),
        items=(Upload(source=LocalRef(path="/tmp/a\udcff", device=1, inode=2), target=target),),
        destination=json.dumps(attempts or [COMPLETES]),
        rate_kbps=changes.pop("rate_kbps", None),
        resume_folder="/tmp",
    )
    facts: dict[str, Any] = {
        "owner": OWNER,
        "settings": {"app_id": "app-1", "back_link": "https://portal.example/"},
        "spec": {"direction": "send", "remote_host": "b.example"},
        "xfer_id": None,
        "title": "film.mov",
    }
    return StartRequest(request_id=request_id, plan=plan, **{**facts, **changes})


def manager(
    folders: Folders, *, questions: Askers | None = None, clock: Clock | None = None, **preferences: Any
) -> TransferManager:
    """A manager with scripted workers and next to no wait between tries."""
    folders.create()
    store = PreferencesStore(folders)
    if preferences:
        store.change(preferences)
    quick = clock or Clock(fraction=lambda: 0.0)
    return TransferManager(
        folders=folders,
        preferences=store,
        questions=questions or Askers(),
        clock=quick,
        worker_command=FAKE_WORKER,
    )


async def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait until `condition` holds; fail after LIMIT_S."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - conditions of many kinds, none has an event of its own
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not happen: {what or condition}") from None


async def reaches(transfer: Transfer, *statuses: Status) -> None:
    await until(
        lambda: transfer.status in statuses, f"{statuses}, but {transfer.status} {transfer.error_desc}"
    )


def told(folders: Folders, transfer: Transfer | None = None) -> list[list[Any]]:
    """What the workers heard, without their pids."""
    path = folders.state / "fake.log"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line[1:-1] for line in lines if transfer is None or line[0] == transfer.id]
