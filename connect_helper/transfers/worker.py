"""The process that moves bytes: `python -m connect_helper.transfers.worker_process`.

Reads commands from standard input and writes events to standard output, one JSON object a line (see
`messages` and `wire`); its log goes to standard error. End of input means that the helper is gone: the
session stops, partial files stay, the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from connect_helper.collector import calm_collector, keep_memory
from connect_helper.transfers.lines import Lines, TooLong
from connect_helper.transfers.messages import (
    LINE_LIMIT,
    Answer,
    Command,
    Ended,
    Event,
    Question,
    SetRate,
    Start,
    Stop,
)
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.session import Session, sweep_records
from connect_helper.transfers.wire import BadLine, encode, parse_command
from connect_helper.transports.kept import KeptConnections

# Moving bytes gives way to answering pages, and to whatever the user does meanwhile.
NICENESS: Final = 5

_log = logging.getLogger(__name__)

MORE_OBJECTS: Final = 50_000  # between two looks for garbage: they took a tenth of a session's time
READ_SIZE: Final = 256 * 1024
EVENTS_AHEAD: Final = 256  # events that may wait for a slow helper; all that wait go in one write
MANY: Final = 8  # events in one write: after so many the next ones gather
GATHER_S: Final = 0.02  # for so long, as a way to the thread and back costs more than an event does


class _Questions:
    """The questions of one session that wait for an answer, by id."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._last = 0

    def open(self) -> tuple[int, asyncio.Future[bool]]:
        self._last += 1
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = future
        return self._last, future

    def answer(self, answer: Answer) -> None:
        future = self._waiting.pop(answer.question_id, None)
        if future is not None and not future.done():
            future.set_result(answer.accepted)


class Worker:
    """Runs the sessions that come in as commands. Is their channel to the helper."""

    def __init__(self, output: int) -> None:
        self._output = output  # descriptor
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_AHEAD)
        self._commands: asyncio.Queue[Command | None] = asyncio.Queue()
        self._questions = _Questions()
        self._session: Session | None = None
        self._swept: set[str] = set()
        self._kept = KeptConnections()

    # The channel -----------------------------------------------------------------------------------

    async def tell(self, event: Event) -> None:
        await self._events.put(event)

    async def ask(self, question: Question) -> bool:
        number, answer = self._questions.open()
        await self.tell(question.model_copy(update={"question_id": number}))
        return await answer

    # Commands --------------------------------------------------------------------------------------

    async def run(self, source: int) -> None:
        """Serve the commands read from the descriptor `source` until it ends."""
        loop = asyncio.get_running_loop()
        # A daemon, since a blocked read cannot be ended from here.
        threading.Thread(target=self._read, args=(source, loop), name="commands", daemon=True).start()
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(), name="events")
            try:
                await self._serve(group)
            finally:
                await self._kept.close()
                await self._events.join()
                writer.cancel()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        running: asyncio.Task[None] | None = None
        while (command := await self._commands.get()) is not None:
            match command:
                case Start():
                    if running is not None and not running.done():
                        _log.error("a session was started while another one runs; it is ignored")
                        continue
                    # Made here and not in its task: what comes right behind the start is meant for it.
                    self._session = session = Session(command.plan, self, self._kept)
                    running = group.create_task(self._session_of(command.plan, session), name="session")
                case Answer():
                    self._questions.answer(command)
                case SetRate() if self._session is not None:
                    self._session.set_rate(command.rate_kbps)
                case Stop() if self._session is not None:
                    self._session.stop()
                case _:
                    _log.info("%s came while no session runs", command.type)
        if self._session is not None:
            self._session.stop()
        if running is not None:
            await running

    async def _session_of(self, plan: SessionPlan, session: Session) -> None:
        _log.info("session %s begins", plan.transfer_id)
        try:
            if plan.resume_folder not in self._swept:
                self._swept.add(plan.resume_folder)
                await sweep_records(Path(plan.resume_folder))
            ended = await session.run()
        except Exception as error:  # noqa: BLE001 - see below
            # The outermost edge: a bug ends this session, with its trace in the log, and not the process.
            _log.exception("session %s broke", plan.transfer_id)
            ended = Ended(
                outcome="failed",
                code="internal",
                error_code=11,
                message="Something went wrong inside the program; see its log.",
                internal_message=type(error).__name__,
            )
        finally:
            self._session = None
        _log.info("session %s: %s %s", plan.transfer_id, ended.outcome, ended.internal_message)
        await self.tell(ended)

    # The pipes -------------------------------------------------------------------------------------

    def _read(self, source: int, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in a thread of its own: pass on each line's command, and None at the end."""
        lines = Lines(LINE_LIMIT)
        try:
            while data := os.read(source, READ_SIZE):
                for line in lines.feed(data):
                    self._parse(line, loop)
        except TooLong:
            _log.error("a command is too long")
        loop.call_soon_threadsafe(self._commands.put_nowait, None)

    def _parse(self, line: bytes, loop: asyncio.AbstractEventLoop) -> None:
        try:
            command = parse_command(line)
        except BadLine as error:
            _log.error("a line is no command: %s", error)
        else:
            loop.call_soon_threadsafe(self._commands.put_nowait, command)

    async def _write(self) -> None:
        """Pass on what has gathered, and where much comes let it gather."""
        loop = asyncio.get_running_loop()
        # Not one of the threads that are for disk work: a write waits for the helper.
        with ThreadPoolExecutor(1, "events") as thread:
            while True:
                events = [await self._events.get()]
                while not self._events.empty():
                    events.append(self._events.get_nowait())
                try:
                    await loop.run_in_executor(thread, _write_all, self._output, events)
                except BrokenPipeError:
                    # Nobody listens any more; the end of input follows and ends the session.
                    _log.info("the helper is gone")
                finally:
                    for _ in events:
                        self._events.task_done()
                if len(events) >= MANY:
                    await asyncio.sleep(GATHER_S)


def _write_all(output: int, events: list[Event]) -> None:
    view = memoryview(b"".join(map(encode, events)))
    while view:
        view = view[os.write(output, view) :]


def _give_way() -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if hasattr(os, "getsid") and os.getsid(0) == os.getpid():
        # Where Linux shares the processors out among sessions (sched(7), autogroup), a process's own niceness
        # means nothing outside its session, and the helper's is another one.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(f"{NICENESS}\n")


def main() -> None:
    """Run until standard input ends."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the helper, which then closes our input
    _give_way()
    calm_collector(MORE_OBJECTS)
    keep_memory()
    # Standard output is kept for events alone: whatever else prints goes to the log.
    output = os.dup(1)
    os.dup2(2, 1)
    asyncio.run(Worker(output).run(0))
