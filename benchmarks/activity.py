"""How quickly `activity` answers with many transfers running and a long history.

    python -m benchmarks.activity [--running 1000] [--finished 100000] [--seconds 60] [--busy 0]

Seeds a journal, starts the pages' face over it, lets the running transfers report progress four times a
second each (the way a session's events come in, without the sessions), and polls from a process of its
own: `token`, tabs that come back with their token every other second, as page libraries do; `few`, a tab of
another site that has three of the transfers; `zero`, a tab that begins. `--busy N` keeps N further processes
computing meanwhile, as niced as sessions are, to saturate the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any

import aiohttp

from connect_helper.api.app import build_pages_face, build_parts
from connect_helper.api.choosing import whole_folder_rule
from connect_helper.api.connect.info_text import InfoTexts
from connect_helper.api.connect.transfers import INFO_TEXTS
from connect_helper.api.extensions import Extensions
from connect_helper.api.host_key_questions import HostKeyQuestions
from connect_helper.api.listening import Listener, bind_first_free
from connect_helper.api.promptness import answer_promptly
from connect_helper.api.sites import Sites
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.picking.desk import Desk
from connect_helper.picking.drags import NoDragWatch
from connect_helper.settings import HOME_VARIABLE, Folders, PreferencesStore
from connect_helper.transfers import wire
from connect_helper.transfers.arrivals import arrived
from connect_helper.transfers.entry import Entry
from connect_helper.transfers.journal import Journal
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import Connected, FileReport, Progress, Totals
from connect_helper.transfers.plan import HostKeys, LocalRef, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Move, Status
from connect_helper.transfers.transfer import Owner, Transfer
from connect_helper.transfers.worker import NICENESS
from connect_helper.transfers.workers import EVENTS_IN_A_ROW
from connect_helper.transports.known_hosts import KnownHosts

PAGE = "https://portal.example"
OWNER = Owner(PAGE, "app-1")
OTHER = Owner(PAGE, "app-2")
OF_OTHER = 3  # running transfers
LIMIT_MS = 20.0
TABS = 2
POLL_S = 2.0
BEAT_S = 0.25


def start(number: int, owner: Owner = OWNER) -> StartRequest:
    """A start call of usual size."""
    name = f"camera-{number}.mov"
    plan = SessionPlan(
        transfer_id="",
        direction="send",
        server=Server(host="b.example", port=22, addresses=("192.0.2.1",)),
        login=Login(user="ann"),
        host_keys=HostKeys(),
        items=(Upload(source=LocalRef(path=f"/home/ann/{name}", device=1, inode=2), target=f"in/{name}"),),
        destination="in",
        resume_folder="/nonexistent",
    )
    spec = {
        "direction": "send",
        "remote_host": "b.example",
        "remote_user": "ann",
        "paths": [{"source": f"/home/ann/{name}"}],
        "destination_root": "in",
        "target_rate_kbps": 100_000,
        "cookie": f"case {number}",
    }
    settings = {"app_id": owner.app_id, "request_id": f"r{number}", "back_link": f"{PAGE}/inbox"}
    return StartRequest(
        owner=owner,
        request_id=f"r{number}",
        settings=settings,
        spec=spec,
        xfer_id=None,
        title=name,
        plan=plan,
    )


def entry(number: int, status: Status = Status.QUEUED, owner: Owner = OWNER) -> Entry:
    made = arrived(start(number, owner), transfer_id=f"t{number}", position=number, now=1.7e9 + number)
    made.transfer.status = status
    return made


async def seed(folders: Folders, finished: int) -> None:
    """Write the history, as finished transfers that were shelved one after the other."""
    journal = Journal(folders.state)
    await journal.open()
    await journal.reserve(finished + 1)
    for first in range(0, finished, 1_000):
        numbers = range(first, min(finished, first + 1_000))
        some = [(entry(number, Status.COMPLETED).record(), number + 1) for number in numbers]
        await journal.shelve(some)
    for number in range(max(0, finished - 1_000), finished):
        await journal.unshelve(number)
    await journal.close()


async def run_sessions(transfers: TransferList, first: int, number: int) -> list[Entry]:
    """Bring transfers to where their sessions report progress."""
    made = []
    for each in range(first, first + number):
        one = entry(each, owner=OTHER if each - first < OF_OTHER else OWNER)
        await transfers.admit(one)
        await transfers.move(one, Move.SLOT_FREE)
        one.figures.session_begins()
        one.figures.connected(Connected(address="192.0.2.1"), time.monotonic())
        one.figures.totals(Totals(bytes_expected=10**10, files_expected=1, final=True))
        await transfers.move(one, Move.CONNECTED)
        made.append(one)
    return made


LINE = wire.encode(
    Progress(
        bytes_written=0,
        current=(
            FileReport(
                index=0,
                path="/home/ann/TITLE",
                remote_path="in/x",
                bytes_expected=10**10,
                bytes_written=0,
                state="running",
            ),
        ),
    )
)


def line_of(one: Entry, written: int) -> bytes:
    """What a session says, made with little work: that is done in another process."""
    counted = LINE.replace(b'"bytes_written":0', b'"bytes_written":%d' % written)
    return counted.replace(b"TITLE", one.transfer.title.encode())


async def progress(transfers: TransferList, running: list[Entry]) -> None:
    """Every session reports four times a second, spread over the time."""
    written = 0
    slices = 25
    while True:
        for part in range(slices):
            began = time.monotonic()
            written += 100_000
            for number, one in enumerate(running[part::slices]):
                event = wire.parse_event(line_of(one, written))
                assert isinstance(event, Progress)
                one.figures.progress(event, clock=began, wall=time.time())
                transfers.progressed(one)
                if number % EVENTS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
            await transfers.reserve_tokens()
            await asyncio.sleep(max(0.0, BEAT_S / slices - (time.monotonic() - began)))


def poll(address: str, seconds: float, results: multiprocessing.Queue[dict[str, list[float]]]) -> None:
    """The pages: in a process of its own, so that its work is not counted as the helper's."""
    results.put(asyncio.run(_poll(address, seconds)))


async def _poll(address: str, seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"token": [], "few": [], "zero": [], "ping": [], "sizes": []}
    async with aiohttp.ClientSession(headers={"Origin": PAGE}) as http:

        async def ask(owner: Owner, token: int) -> tuple[float, int, int]:
            body = {"aspera_connect_settings": {"app_id": owner.app_id}, "iteration_token": token}
            began = time.perf_counter()
            async with http.post(f"{address}/v5/connect/transfers/activity", json=body) as answer:
                data = await answer.read()
            took = (time.perf_counter() - began) * 1_000
            assert answer.status == 200, data
            # Tabs are processes of their own: here, reading all of it would hold up another tab's answer.
            head = json.loads(data[: data.index(b',"transfers":')] + b"}")
            return took, head["iteration_token"], head["result_count"]

        async def tab(owner: Owner, kind: str, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            _, token, _ = await ask(owner, 0)
            while True:
                await asyncio.sleep(POLL_S)
                took, token, number = await ask(owner, token)
                times[kind].append(took)
                if kind == "token":
                    times["sizes"].append(float(number))

        async def others() -> None:
            while True:
                await asyncio.sleep(0.37)
                began = time.perf_counter()
                async with http.get(f"{address}/v5/connect/info/ping") as answer:
                    await answer.read()
                times["ping"].append((time.perf_counter() - began) * 1_000)
                if len(times["ping"]) % 5 == 0:
                    times["zero"].append((await ask(OWNER, 0))[0])

        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tabs:
                for number in range(TABS):
                    tabs.create_task(tab(OWNER, "token", 0.3 * number), name="tab")
                tabs.create_task(tab(OTHER, "few", 0.7), name="tab of another site")
                tabs.create_task(others(), name="pings and beginners")
        except TimeoutError:
            return times
    raise AssertionError("the tabs ended by themselves")


def compute() -> None:
    """Keep a core busy until killed, as a session does."""
    if hasattr(os, "sched_setscheduler"):  # however this program itself was started
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(NICENESS)
    while True:
        sum(range(100_000))


async def measure(home: Path, running: int, finished: int, seconds: float) -> dict[str, float]:
    """Return the figures, times in ms."""
    folders = Folders.from_environment({HOME_VARIABLE: str(home)})
    folders.create()
    began = time.monotonic()
    await seed(folders, finished)
    seeded_s = time.monotonic() - began
    before = _memory_mib()
    began = time.monotonic()
    preferences, sites, known_hosts = PreferencesStore(folders), Sites(folders), KnownHosts(folders)
    windows = Windows("http://127.0.0.1:1", WindowSessions(), opener=_nowhere)
    rule = whole_folder_rule(folders)
    desk = Desk(windows.open, refuse_folder=rule)
    questions = HostKeyQuestions(desk, known_hosts)
    sock = bind_first_free((), fall_back=True)
    port = sock.getsockname()[1]
    async with (
        TransferManager(folders=folders, preferences=preferences, questions=questions) as manager,
        asyncio.TaskGroup() as tasks,
    ):
        opened_s = time.monotonic() - began
        parts = build_parts(
            folders=folders,
            preferences=preferences,
            sites=sites,
            extensions=Extensions(folders),
            dialogs=desk,
            folder_rule=rule,
            known_hosts=known_hosts,
            questions=questions,
            manager=manager,
            windows=windows,
            tasks=tasks,
            drags=NoDragWatch(),
            authorization_key="",
        )
        face = build_pages_face(parts, port)
        face[INFO_TEXTS] = texts = TimedTexts()
        listener = Listener(face, sock)
        serving = tasks.create_task(listener.run(), name="pages' face")
        await listener.started.wait()
        answer_promptly()
        entries = await run_sessions(manager._list, finished, running)
        working = tasks.create_task(progress(manager._list, entries), name="sessions")
        results: multiprocessing.Queue[dict[str, list[float]]] = multiprocessing.Queue()
        pages = multiprocessing.Process(target=poll, args=(f"http://127.0.0.1:{port}", seconds, results))
        pages.start()
        cpu_s = -time.process_time()
        times = await asyncio.to_thread(results.get)
        cpu_s += time.process_time()
        await asyncio.to_thread(pages.join)
        began = time.monotonic()
        listed, more = await manager.page([Status.COMPLETED], before=f"t{finished // 2}", limit=200)
        page_ms = (time.monotonic() - began) * 1_000
        assert len(listed) == min(200, finished // 2), more
        working.cancel()
        serving.cancel()
    sites.close()
    return {
        "running": running,
        "finished": finished,
        "polls": len(times["token"]),
        "changed_p50": statistics.median(times["sizes"]),
        "token_p50_ms": statistics.median(times["token"]),
        "token_p99_ms": _percentile(times["token"], 0.99),
        "few_p50_ms": statistics.median(times["few"]),
        "few_p99_ms": _percentile(times["few"], 0.99),
        "zero_p50_ms": statistics.median(times["zero"]),
        "zero_max_ms": max(times["zero"]),
        "ping_p99_ms": _percentile(times["ping"], 0.99),
        "answer_cpu_p50_ms": statistics.median(texts.cpu_ms),
        "answer_cpu_p99_ms": _percentile(texts.cpu_ms, 0.99),
        "helper_cpu_percent": 100 * cpu_s / seconds,
        "page_ms": page_ms,
        "open_s": opened_s,
        "seed_s": seeded_s,
        "memory_mib": _memory_mib() - before,
    }


class TimedTexts(InfoTexts):
    """Notes the processor time of each large answer, which neighbours on the machine hardly change."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu_ms: list[float] = []

    async def activity(self, token: int, transfers: Iterable[Transfer]) -> bytes:
        text, cpu_s = await _timed(super().activity(token, transfers))
        if len(text) > 100_000:
            self.cpu_ms.append(cpu_s * 1_000)
        return text


@types.coroutine
def _timed(work: Coroutine[Any, Any, bytes]) -> Generator[Any, Any, tuple[bytes, float]]:
    """Await `work`; its result and the processor time of its own steps, without those between them."""
    cpu_s = 0.0
    while True:
        cpu_s -= time.thread_time()
        try:
            waits_for = work.send(None)
        except StopIteration as ended:
            return ended.value, cpu_s + time.thread_time()
        cpu_s += time.thread_time()
        yield waits_for


def _nowhere(_: str) -> bool:
    return True


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _memory_mib() -> float:
    """Peak of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def keep_busy(number: int) -> Callable[[], None]:
    """Start `number` processes that compute; returns what ends them."""
    busy = [multiprocessing.Process(target=compute, daemon=True) for _ in range(number)]
    for process in busy:
        process.start()

    def end() -> None:
        for process in busy:
            process.kill()

    return end


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.activity", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--running", type=int, default=1_000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to poll (default: 60)")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    end = keep_busy(chosen.busy)
    try:
        with tempfile.TemporaryDirectory(prefix="connect-helper-bench-") as folder:
            figures = asyncio.run(measure(Path(folder), chosen.running, chosen.finished, chosen.seconds))
    finally:
        end()
    for name, value in figures.items():
        print(f"  {name:18} {value:10.1f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["token_p99_ms"] < LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
