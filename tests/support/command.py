"""The `connect-helper` command as a process of its own: with pipes, or with a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("connect-helper")
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "CONNECT_HELPER_HOME": str(home), "COLUMNS": "100", "TERM": "xterm"}


async def start(
    home: Path, *arguments: str | Path, through: tuple[str, ...] = (), **more: Any
) -> asyncio.subprocess.Process:
    """Start the command with pipes; `through` is a command that starts it."""
    return await asyncio.create_subprocess_exec(
        *through,
        COMMAND,
        *arguments,
        env=_environment(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
        **more,
    )


async def finish(process: asyncio.subprocess.Process, given: bytes = b"") -> Ran:
    """Give it its input and wait for its end."""
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate(given)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def ran(home: Path, *arguments: str | Path, given: bytes = b"") -> Ran:
    """Run the command to its end."""
    return await finish(await start(home, *arguments), given)


class Terminal:
    """A command with a terminal. `text` is what it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process, control: int) -> None:
        self.process = process
        self._control = control
        self._news = asyncio.Event()
        self.text = ""
        asyncio.get_running_loop().add_reader(control, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._control, 65536)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._control)
        self.text += data.decode(errors="replace")
        self._news.set()

    async def until(self, word: str) -> None:
        """Wait until it wrote `word`."""
        async with asyncio.timeout(LIMIT_S):
            while word not in self.text:
                self._news.clear()
                await self._news.wait()

    def type(self, text: str) -> None:
        os.write(self._control, text.encode())

    async def code(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(LIMIT_S):
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        os.close(self._control)


def _own_terminal() -> None:
    """Runs in the new process: its standard input becomes the terminal it is controlled from.

    Ctrl-C counts there even where the tests run in the background of a shell, which has them ignore it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    ioctl(0, termios.TIOCSCTTY, 0)


@asynccontextmanager
async def terminal(home: Path, *arguments: str | Path) -> AsyncIterator[Terminal]:
    """Start the command with a terminal of 100 columns; it is killed when it still runs at the end."""
    control, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    try:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *arguments, env=_environment(home), stdin=its, stdout=its, stderr=its,
            preexec_fn=_own_terminal,
        )  # fmt: skip
    finally:
        os.close(its)
    shown = Terminal(process, control)
    try:
        yield shown
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        shown.close()
