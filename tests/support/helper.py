"""The real `connect-helper run` as a process of its own, with a home of its own.

Pages look for the helper on fixed ports, so only one can run at a time in a network: `Helper.running`
holds a lock against other test runs. Addresses that the helper opens in "the browser" are noted by a
small program that stands in for it (`$BROWSER`), for the test to open where it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

COMMAND = Path(sys.executable).with_name("connect-helper")
PORTS = range(33003, 33023)
LOCK_PORT = 30033  # below those that systems give out by themselves
START_S = 60.0
STOP_S = 15.0
OPENED_S = 20.0
LOCK_S = 100.0
LOOK_AGAIN_S = 0.02

BROWSER_SCRIPT = """#!/bin/sh
printf '%s\\n' "$1" >> '{addresses}'
"""

# A file manager that notes what it is asked to select, as gdbus spells it: ['file:///...'].
FILE_MANAGER_SCRIPT = """#!/bin/sh
for part; do case "$part" in "["*) printf '%s\\n' "$part" >> '{shown}';; esac; done
"""


class Helper:
    """One helper process. `home` is CONNECT_HELPER_HOME; `user_home` what the picker calls Home."""

    def __init__(
        self, home: Path, *, preferences: Mapping[str, Any] | None = None, display: str | None = None
    ) -> None:
        self.home = home
        self.user_home = home / "user"
        self.downloads = home / "Downloads"
        self.log = home / "output.log"
        self.base_url = ""  # "http://127.0.0.1:33003"
        self._addresses = home / "opened-addresses"
        self._read = 0
        self._display = display
        self._process: asyncio.subprocess.Process | None = None
        for folder in (self.user_home, self.downloads, home / "config"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        chosen = {"dialogs": "native" if display else "browser", **(preferences or {})}
        (home / "config" / "preferences.json").write_text(json.dumps(chosen))
        self._addresses.touch()
        self._browser = home / "browser"
        self._browser.write_text(BROWSER_SCRIPT.format(addresses=self._addresses))
        self._browser.chmod(0o700)
        self._shown = home / "shown-items"
        self._shown.touch()
        file_manager = home / "bin" / "gdbus"
        file_manager.parent.mkdir(exist_ok=True)
        file_manager.write_text(FILE_MANAGER_SCRIPT.format(shown=self._shown))
        file_manager.chmod(0o700)

    @classmethod
    @asynccontextmanager
    async def running(
        cls, home: Path, *, preferences: Mapping[str, Any] | None = None, display: str | None = None
    ) -> AsyncIterator[Helper]:
        """Start a helper and stop it at the end. `display` gives it a desktop for native dialogs."""
        with await asyncio.to_thread(_only_one):
            helper = cls(home, preferences=preferences, display=display)
            await helper.start()
            try:
                yield helper
            finally:
                await helper.stop()

    @classmethod
    @asynccontextmanager
    async def stopped(cls, home: Path, *, display: str | None = None) -> AsyncIterator[Helper]:
        """A home in which none runs yet, while no other test runs one either."""
        with await asyncio.to_thread(_only_one):
            yield cls(home, display=display)

    async def start(self) -> None:
        """Start the process and wait until it answers ping. After `kill` it starts the same home again."""
        recorded = self.home / "run" / "http.uri"
        recorded.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(COMMAND), "run", env=self._environment(), stdin=asyncio.subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError, IndexError, aiohttp.ClientError):
                self.base_url = recorded.read_text().splitlines()[0].strip()
                await self.ping()
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        raise AssertionError(f"The helper did not start:\n{self.output()}")

    def _environment(self) -> dict[str, str]:
        hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {
            "CONNECT_HELPER_HOME": str(self.home),
            "HOME": str(self.user_home),
            "BROWSER": str(self._browser),
            "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        if self._display:
            environment |= {"DISPLAY": self._display, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1"}
        return environment

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        """What the helper printed and logged so far."""
        return self.log.read_text(errors="replace")

    async def ping(self) -> None:
        """One ping; raises aiohttp.ClientError when it is not answered."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
            session.get(f"{self.base_url}/v5/connect/info/ping") as answer,
        ):
            answer.raise_for_status()

    async def opened(self, part: str = "", *, within_s: float = OPENED_S) -> str:
        """Wait for the next address the helper opens in the browser that holds `part`; each counts once."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for address in self.addresses()[self._read :]:
                self._read += 1
                if part in address:
                    return address
            await asyncio.sleep(LOOK_AGAIN_S)
        raise AssertionError(f"No page with {part!r} was opened; opened: {self.addresses()}\n{self.output()}")

    def addresses(self) -> list[str]:
        """Every address opened in the browser so far."""
        return self._addresses.read_text().splitlines()

    def shown(self) -> list[str]:
        """Every item the file manager was asked to select so far."""
        return self._shown.read_text().splitlines()

    async def stop(self) -> int:
        """End it as a service manager would and return its exit code; killed when that takes too long."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                code = await self._process.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"The helper did not stop on SIGTERM:\n{self.output()}") from None
        self._process = None
        return code

    async def kill(self) -> None:
        """End the process at once, as a crash would; its workers have to notice by themselves."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        self._process = None


def _only_one() -> socket.socket:
    """Take the lock of test helpers, waiting for other runs to finish theirs; closing it gives it back.

    It is a port, since ports are what two helpers would quarrel over: runs in network namespaces of their
    own do not wait for each other, and the lock goes with the process that holds it.
    """
    lock = socket.socket()
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            lock.bind(("127.0.0.1", LOCK_PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                lock.close()
                raise TimeoutError("Another test run keeps its helper running.") from error
            time.sleep(LOOK_AGAIN_S)
        else:
            return lock
