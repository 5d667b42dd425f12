"""Running single sessions, without the manager: plans for a test server, and a helper's end that listens."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connect_helper.transfers.messages import Ended, Event, FileReport, Progress, Question, Totals
from connect_helper.transfers.plan import (
    Download,
    HostKeys,
    LocalRef,
    Login,
    Policies,
    Server,
    SessionPlan,
    Upload,
)
from connect_helper.transfers.session import Session
from tests.support.sshd import PasswordServer, SshServer


def ref(path: Path, *below: str) -> LocalRef:
    """What a grant of `path` says today."""
    facts = path.lstat()
    return LocalRef(path=str(path), device=facts.st_dev, inode=facts.st_ino, below=below)


def upload(source: Path, target: str | Path) -> Upload:
    return Upload(source=ref(source), target=str(target))


def download(source: str | Path, root: Path, *target: str) -> Download:
    return Download(source=str(source), root=ref(root), target=target)


def plan_for(
    server: SshServer | PasswordServer,
    items: list[Upload] | list[Download],
    resume_folder: Path,
    *,
    port: int | None = None,
    login: Login | None = None,
    host_keys: HostKeys | None = None,
    **changes: Any,
) -> SessionPlan:
    """A plan that works; `changes` are fields of SessionPlan, or of Policies as `policies=dict(...)`."""
    if isinstance(server, SshServer):
        right = Login.model_validate({"user": server.user, "private_key": server.client_key})
    else:
        right = Login.model_validate({"user": server.user, "password": server.password})
    policies = Policies(**changes.pop("policies", {}))
    return SessionPlan(
        transfer_id=changes.pop("transfer_id", "a-transfer"),
        direction="send" if isinstance(items[0], Upload) else "receive",
        server=Server(host="server.example", port=port or server.port, addresses=("127.0.0.1",)),
        login=login or right,
        host_keys=host_keys or HostKeys(trusted=(server.host_key_line,)),
        items=tuple(items),
        policies=policies,
        resume_folder=str(resume_folder),
        **changes,
    )


class Listener:
    """The helper's end of a session: keeps what was told, answers questions with `accept`."""

    def __init__(self, *, accept: bool = True) -> None:
        self.events: list[Event] = []
        self.questions: list[Question] = []
        self._accept = accept
        self._news = asyncio.Event()

    async def tell(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def ask(self, question: Question) -> bool:
        self.questions.append(question)
        return self._accept

    def files(self) -> dict[str, FileReport]:
        """The last report of each file, by the last part of its remote path."""
        reports = [event for event in self.events if isinstance(event, FileReport)]
        return {os.path.basename(report.remote_path): report for report in reports}  # noqa: PTH119

    def written(self) -> int:
        """Bytes of the last progress."""
        progress = [event for event in self.events if isinstance(event, Progress)]
        return progress[-1].bytes_written if progress else 0

    def totals(self) -> Totals:
        return [event for event in self.events if isinstance(event, Totals)][-1]

    async def until(self, fact: Callable[[], bool], limit_s: float = 20) -> None:
        """Wait for events until `fact` holds."""
        async with asyncio.timeout(limit_s):
            while not fact():
                self._news.clear()
                await self._news.wait()


async def run(plan: SessionPlan, listener: Listener | None = None) -> Ended:
    """Run a session to its end."""
    return await Session(plan, listener or Listener()).run()


async def stopped(plan: SessionPlan, when: Callable[[Listener], bool]) -> int:
    """Run a session until `when`, and stop it; returns how many bytes were told last, over all sessions."""
    listener = Listener()
    session = Session(plan, listener)
    running = asyncio.create_task(session.run(), name="session")
    await listener.until(lambda: when(listener))
    session.stop()
    assert (await running).outcome == "stopped"
    return listener.written()


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat, the same for the same seed."""
    piece = hashlib.shake_256(seed.to_bytes(4, "big")).digest(min(size, 1024 * 1024))
    count = -(-size // len(piece)) if piece else 0
    # Each megabyte begins with its number: one in the wrong place shows.
    return b"".join(number.to_bytes(8, "big") + piece[8:] for number in range(count))[:size]
