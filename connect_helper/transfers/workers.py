"""The worker processes: started, kept warm, watched and ended here. Sessions run in them, not in the helper.

A worker runs `python -m connect_helper.transfers.worker_process`, one session at a time. It ends when its
standard input ends, so that none outlives the helper, however that dies. What it says is checked; a worker
that says something else, falls silent or dies is replaced, and its session counts as a lost connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from connect_helper.transfers import wire
from connect_helper.transfers.lines import Lines, TooLong
from connect_helper.transfers.messages import Answer, Ended, Event, SetRate, Start, Stop

logger = logging.getLogger(__name__)

IDLE_KEPT: Final = 2  # workers
IDLE_S: Final = 60.0
SESSIONS_EACH: Final = 50
EXIT_S: Final = 1.5  # how long an idle worker may take to end after its input ended
EVENT_LIMIT: Final = 8 * 1024 * 1024  # bytes of one line; 64 reports with the longest paths fit
READ_SIZE: Final = 64 * 1024  # what a pipe holds
EVENTS_IN_A_ROW: Final = 8  # of one worker, before everybody else in the helper has a turn
WRITE_S: Final = 30.0  # a worker that reads nothing for so long is stuck
LOG_LINE: Final = 2_000  # characters of a worker's log line that are kept

# What a process needs to find its files, speak the user's language and reach the network.
_KEPT_VARIABLES: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LANGUAGE"),
    *("SYSTEMROOT", "WINDIR", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "COMSPEC"),
)


class WorkerLost(Exception):
    """The worker ended, fell silent or talked nonsense; it is not used again."""


def worker_command() -> tuple[str, ...]:
    """Return the command line of a worker: this Python, nothing imported from the current folder."""
    utf8 = ("-X", "utf8") if sys.flags.utf8_mode else ()  # names must mean the same in both processes
    return (sys.executable, "-P", *utf8, "-m", "connect_helper.transfers.worker_process")


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the few variables a worker gets; no PYTHON..., no proxy, no agent, no key of the user."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in _KEPT_VARIABLES or name.startswith("LC_")
    }


class Worker:
    """One process. Made by the pool; talked to by one session at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("a worker needs three pipes")
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._errors = process.stderr
        self._unfinished = Lines(EVENT_LIMIT)
        self._lines: deque[bytes] = deque()  # read and not yet looked at
        self._heard = 0
        self.sessions = 0
        self.usable = True  # False: said or did something wrong, or is on its way out
        self.free = True  # no session is open in it

    @property
    def pid(self) -> int:
        return self._process.pid

    async def start(self, message: Start) -> None:
        """Begin a session. Raises WorkerLost."""
        self.free = False
        self.sessions += 1
        try:
            async with asyncio.timeout(WRITE_S):
                self._input.write(wire.encode(message))
                await self._input.drain()
        except (OSError, TimeoutError) as error:
            raise self._lost(f"took no command: {type(error).__name__}") from error

    def post(self, message: Answer | SetRate | Stop) -> None:
        """Say something short to the session; without effect when the worker is gone."""
        if self._process.returncode is None and not self._input.is_closing():
            self._input.write(wire.encode(message))

    async def next_event(self, limit_s: float) -> Event | None:
        """Wait for an event; None when none came in `limit_s` seconds. Raises WorkerLost."""
        self._heard += 1
        if self._heard % EVENTS_IN_A_ROW == 0:
            await asyncio.sleep(0)  # a session of small files has hundreds ready, and a page may be asking
        if not self._lines:
            try:
                async with asyncio.timeout(limit_s):
                    await self._read_lines()
            except TimeoutError:
                return None
        try:
            event = wire.parse_event(self._lines.popleft())
        except wire.BadLine as error:
            raise self._lost(f"sent a line that is no event: {error}") from None
        if isinstance(event, Ended):
            self.free = True
        return event

    async def _read_lines(self) -> None:
        """Wait until there is a line; cancelled, nothing is lost of one that has begun. Raises WorkerLost."""
        while not self._lines:
            data = await self._output.read(READ_SIZE)
            if not data:
                raise self._lost("ended")
            try:
                self._lines.extend(self._unfinished.feed(data))
            except TooLong:
                raise self._lost("sent a line that is too long") from None

    def retire(self) -> None:
        """Let the worker end by itself: its input ends."""
        self.usable = False
        self._input.close()

    def kill(self) -> None:
        """End it at once. Partial files and resume records stay."""
        self.usable = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def mind(self) -> None:
        """Log what it writes to its standard error, and wait until it is gone."""
        try:
            await self._log_errors()
            code = await self._process.wait()
            logger.debug("worker %d ended with code %d", self.pid, code)
        finally:
            self.usable = False

    def _lost(self, how: str) -> WorkerLost:
        self.usable = False
        return WorkerLost(f"worker {self.pid} {how}")

    async def _log_errors(self) -> None:
        while True:
            try:
                line = await self._errors.readline()
            except ValueError:
                continue  # too long a line; the reader has dropped it
            if not line:
                return
            logger.info("worker %d: %s", self.pid, line.decode(errors="replace").rstrip()[:LOG_LINE])


class WorkerPool:
    """Lends workers. Open it with `async with`; leaving ends every worker.

    `command` starts a worker; `folder` is its working folder.
    """

    def __init__(
        self,
        *,
        folder: Path,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] = os.environ,
        idle_s: float = IDLE_S,
        sessions_each: int = SESSIONS_EACH,
    ) -> None:
        self._command = tuple(command or worker_command())
        self._folder = folder
        self._environment = scrubbed(environment)
        self._idle_s = idle_s
        self._sessions_each = sessions_each
        self._minders: dict[Worker, asyncio.Task[None]] = {}
        self._idle: dict[Worker, asyncio.TimerHandle] = {}  # the longest idle first
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> WorkerPool:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        for worker in list(self._minders):
            self._end(worker)
        await self._group.__aexit__(None, None, None)

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [worker.pid for worker in self._minders]

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Lend a worker for one session; one whose session did not end is killed. Raises WorkerLost."""
        worker = self._take_idle() or await self._start()
        try:
            yield worker
        finally:
            self._give_back(worker)

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker, timer = self._idle.popitem()
            timer.cancel()
            if worker.usable:
                return worker
        return None

    async def _start(self) -> Worker:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._folder,
                env=self._environment,
                # Ctrl-C in the terminal is for the helper, which then ends sessions in good order.
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerLost(f"no worker can be started: {error.strerror}") from error
        worker = Worker(process)
        minder = self._group.create_task(worker.mind(), name=f"worker-{process.pid}")
        self._minders[worker] = minder
        minder.add_done_callback(lambda _: self._forget(worker))
        return worker

    def _give_back(self, worker: Worker) -> None:
        if not worker.free or not worker.usable:
            worker.kill()
        elif worker.sessions >= self._sessions_each or len(self._idle) >= IDLE_KEPT:
            self._end(worker)
        else:
            loop = asyncio.get_running_loop()
            self._idle[worker] = loop.call_later(self._idle_s, self._end, worker)

    def _end(self, worker: Worker) -> None:
        """Let it end, and see to it that it does."""
        if timer := self._idle.pop(worker, None):
            timer.cancel()
        worker.retire()
        killer = asyncio.get_running_loop().call_later(EXIT_S, worker.kill)
        self._minders[worker].add_done_callback(lambda _: killer.cancel())

    def _forget(self, worker: Worker) -> None:
        del self._minders[worker]
        if timer := self._idle.pop(worker, None):
            timer.cancel()
