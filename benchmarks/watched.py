"""One transfer through the manager, with its real workers, watched from outside: times and peak memory."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from connect_helper.settings import HOME_VARIABLE, Folders, PreferencesStore
from connect_helper.spec.rates import requested_rate_kbps
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import Question
from connect_helper.transfers.plan import Download, HostKeys, LocalRef, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transfers.transfer import Owner, Transfer
from tests.support.sshd import SshServer

Direction = Literal["up", "down"]
OWNER = Owner("https://portal.example", "benchmark")
LOOK_S = 0.05
MEMORY_EVERY = 10  # looks


@dataclass(slots=True)
class Figures:
    """What was seen. Seconds, MiB."""

    direction: Direction
    files: int
    size: int  # bytes
    first_s: float = 0.0  # from the start to the first file or byte at its place
    total_s: float = 0.0
    cpu_s: float = 0.0  # of helper and worker
    helper_mib: float = 0.0
    worker_mib: float = 0.0
    server_mib: float = 0.0
    state_mib: float = 0.0  # on disk, for the helper's own use, at the end
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class _Peaks:
    """The highest memory of helper, workers and server."""

    server: int  # pid of sshd
    mib: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)

    def look(self, workers: list[int]) -> None:
        try:
            far = [child.pid for child in psutil.Process(self.server).children(recursive=True)]
        except psutil.NoSuchProcess:
            far = []
        for name, pids in (("helper", [os.getpid()]), ("worker", workers), ("server", far)):
            for pid in pids:
                self.mib[name] = max(self.mib.get(name, 0.0), _peak_mib(pid))
        for pid in (os.getpid(), *workers):
            self.cpu_s[pid] = _cpu_s(pid) or self.cpu_s.get(pid, 0.0)


async def transfer(
    server: SshServer, direction: Direction, source: Path, target: Path, *, home: Path, files: int, size: int
) -> Figures:
    """Move `source` to `target`, both with the same name, and return what was seen.

    `home` is an empty folder for the helper's own files.
    """
    folders = Folders.from_environment({HOME_VARIABLE: str(home)})
    folders.create()
    preferences = PreferencesStore(folders)
    figures = Figures(direction, files, size)
    assert server.process is not None
    peaks = _Peaks(server.process.pid)
    async with TransferManager(folders=folders, preferences=preferences, questions=Nobody()) as manager:
        cpu_before = _cpu_s(os.getpid())
        began = time.monotonic()
        one = await manager.submit(request(server, direction, source, target, home))
        looks = 0
        while one.status not in FINAL:
            await asyncio.sleep(LOOK_S)
            if not figures.first_s and (one.counts.completed or one.bytes_written):
                figures.first_s = time.monotonic() - began
            looks += 1
            if looks % MEMORY_EVERY == 0 or looks < MEMORY_EVERY:
                peaks.look(manager._pool.pids)
        figures.total_s = time.monotonic() - began
        peaks.look(manager._pool.pids)
        figures.cpu_s = sum(peaks.cpu_s.values()) - cpu_before
        figures.error = _complaint(one, figures)
    figures.helper_mib, figures.worker_mib, figures.server_mib = (
        peaks.mib.get(name, 0.0) for name in ("helper", "worker", "server")
    )
    kept = (path.stat().st_size for path in folders.state.rglob("*") if path.is_file())
    figures.state_mib = sum(kept) / 2**20
    return figures


def request(
    server: SshServer, direction: Direction, source: Path, target: Path, home: Path, **spec: Any
) -> StartRequest:
    """A start call that moves `source` to `target`; `spec` are further fields of the transfer spec."""
    here = source if direction == "up" else target.parent
    facts = here.lstat()
    ref = LocalRef(path=str(here), device=facts.st_dev, inode=facts.st_ino)
    item: Upload | Download = Upload(source=ref, target=str(target))
    if direction == "down":
        item = Download(source=str(source), root=ref, target=(target.name,))
    plan = SessionPlan(
        transfer_id="",
        direction="send" if direction == "up" else "receive",
        server=Server(host=server.host, port=server.port, addresses=(server.host,)),
        login=Login.model_validate({"user": server.user, "private_key": server.client_key}),
        host_keys=HostKeys(trusted=(server.host_key_line,)),
        items=(item,),
        rate_kbps=requested_rate_kbps(spec),
        resume_folder=str(home / "resume"),
    )
    asked = {"direction": plan.direction, "remote_host": server.host, "paths": [{"source": str(source)}]}
    return StartRequest(
        owner=OWNER,
        request_id="",
        settings={"app_id": OWNER.app_id},
        spec={**asked, **spec},
        xfer_id=None,
        title=source.name,
        plan=plan,
    )


def _complaint(one: Transfer, figures: Figures) -> str:
    """What is wrong with the end, "" when nothing is."""
    if one.status is not Status.COMPLETED:
        return f"{one.status}: {one.error_desc}"
    if (one.counts.completed, one.bytes_written) != (figures.files, figures.size):
        return (
            f"{one.counts.completed} files and {one.bytes_written} bytes of {figures.files}, {figures.size}"
        )
    return ""


def _peak_mib(pid: int) -> float:
    """The highest resident memory the process ever had; what it has now where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        try:
            return float(psutil.Process(pid).memory_info().rss) / 2**20
        except psutil.Error:
            return 0.0


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


class Nobody:
    """Nobody is asked: the key of the server is known."""

    async def host_key(self, transfer: Transfer, question: Question) -> bool:
        raise AssertionError(f"{transfer.id} asks about {question.fingerprint}")
