"""What the tests of faults share: a scene with both sides, and faults at chosen moments.

Random choices come from `SEED`; a failure prints it with the schedule it led to, and
`FAULT_SEED=... pytest tests/faults` plays that again (`FAULT_SEED=random`: another one each time).
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers import disk_thread
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.disk_thread import _Job
from connect_helper.transfers.journal import FILE_NAME
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Download, HostKeys, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import Askers, reaches, until
from tests.support.managing import request as scripted
from tests.support.oracle import Oracle
from tests.support.sessions import noise, ref
from tests.support.sshd import SshServer


def seed() -> int:
    """The seed of this run."""
    wish = os.environ.get("FAULT_SEED", "20261122")
    return random.SystemRandom().randrange(2**32) if wish == "random" else int(wish)


SEED = seed()


@contextmanager
def told_on_failure(schedule: object) -> Iterator[None]:
    """Add seed and schedule to whatever fails inside."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"FAULT_SEED={SEED} schedule: {schedule}")
        raise


class Scene:
    """Sources, targets and requests between this side and a server, below `near` and `far`."""

    def __init__(self, sshd: SshServer, folders: Folders, near: Path, far: Path) -> None:
        self.sshd = sshd
        self.folders = folders
        self.near = near
        self.far = far
        self.resume = folders.state / "resume"
        self.login = Login(user=sshd.user, private_key=SecretStr(sshd.client_key))

    @property
    def secrets(self) -> tuple[str, ...]:
        """A line of the key that opens the server."""
        return (self.sshd.client_key.splitlines()[2],)

    def upload(self, name: str, content: bytes | None = None) -> tuple[Upload, dict[Path, Path]]:
        """An upload of one file: the item, and the path it ends at with its source."""
        source, target = self.near / f"{name}.source", self.far / "in" / name
        target.parent.mkdir(exist_ok=True)
        if content is not None:
            source.write_bytes(content)
        return Upload(source=ref(source), target=str(target)), {target: source}

    def download(self, name: str, content: bytes | None = None) -> tuple[Download, dict[Path, Path]]:
        source, target = self.far / f"{name}.source", self.near / "in" / name
        target.parent.mkdir(exist_ok=True)
        if content is not None:
            source.write_bytes(content)
        return Download(source=str(source), root=ref(target.parent), target=(name,)), {target: source}

    def request(self, item: Upload | Download, *, port: int | None = None, **changes: Any) -> StartRequest:
        """A start for a manager with real workers."""
        server = Server(host=self.sshd.host, port=port or self.sshd.port, addresses=(self.sshd.host,))
        plan = SessionPlan(
            transfer_id="",
            direction="send" if isinstance(item, Upload) else "receive",
            server=server,
            login=self.login,
            host_keys=HostKeys(trusted=(self.sshd.host_key_line,)),
            items=(item,),
            resume_folder=str(self.resume),
            **changes,
        )
        return replace(scripted(), plan=plan)

    def manager(self, **changes: Any) -> TransferManager:
        return real_manager(self.folders, **changes)

    def oracle(self, wanted: dict[Path, Path]) -> Oracle:
        return Oracle(wanted, self.folders.state, self.secrets)


def real_manager(folders: Folders, **changes: Any) -> TransferManager:
    """A manager with real workers and the shortest waits between tries."""
    settings: dict[str, Any] = {"clock": Clock(fraction=lambda: 0.0), "questions": Askers()}
    settings |= {"folders": folders, "preferences": PreferencesStore(folders), **changes}
    return TransferManager(**settings)


def several(number: int, size: int) -> list[bytes]:
    """Contents that differ."""
    return [noise(size, index) for index in range(1, number + 1)]


async def completes(transfers: TransferManager, transfer: Transfer) -> None:
    """See a transfer through: whatever it waits for, it does not wait long."""
    await until(lambda: transfer.status in (Status.WILL_RETRY, *FINAL), f"an end of {transfer.title}")
    # One that never reached its server fails: the server was just being started again.
    refused = transfer.status is Status.FAILED and "refused the connection" in transfer.error_desc
    if refused or transfer.status is Status.WILL_RETRY:
        await transfers.resume(transfer.id)
    await reaches(transfer, Status.COMPLETED, Status.FAILED)
    assert transfer.error_desc == ""
    assert transfer.status is Status.COMPLETED


Commit = Callable[[sqlite3.Connection, list[_Job]], Any]


def at_commit(fault: Callable[[int], None]) -> Commit:
    """A stand-in for the journal's commit that calls `fault(n)` in the middle of the n-th, from 0.

    In the middle: everything is written, nothing is durable yet. Called by the journal's thread.
    """
    steps = iter(range(10_000))

    def commit(connection: sqlite3.Connection, batch: list[_Job]) -> Any:
        (_, _, path), *_ = connection.execute("PRAGMA database_list")
        if not path.endswith(FILE_NAME):
            return _real_commit(connection, batch)
        step = next(steps)
        jobs = [*batch, _Job(lambda _connection: fault(step), False, batch[0].done)]
        return _real_commit(connection, jobs)

    return commit


_real_commit: Commit = disk_thread._commit


@contextmanager
def faults_at_commits(fault: Callable[[int], None]) -> Iterator[None]:
    """Let every commit of every journal of this process call `fault`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_thread, "_commit", at_commit(fault))
        yield
