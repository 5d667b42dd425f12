"""A home whose desktop opens fasp: links with connect-helper, and a helper there that does not run yet."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from connect_helper.api.instance import Record, running_record
from connect_helper.commands.control import ask
from connect_helper.settings import Folders
from tests.support.desktop import Desktop
from tests.support.helper import COMMAND, Helper

LIMIT_S = 60.0
LOOK_AGAIN_S = 0.1
_HIDDEN = frozenset({"CONNECT_HELPER_HOME", "SSH_AUTH_SOCK", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"})


@dataclass(frozen=True, slots=True)
class LinkedHome:
    """`helper` is stopped; what links start is ended with the context."""

    helper: Helper
    desktop: Desktop

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a session of this home; not CONNECT_HELPER_HOME, which what is installed knows."""
        kept = {
            name: value
            for name, value in self.desktop.environment().items()
            if name not in _HIDDEN and not name.startswith("XDG_")
        }
        return {
            **kept,
            "HOME": str(self.helper.user_home),
            "BROWSER": str(self.helper.home / "browser"),
            **more,
        }

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run connect-helper; return its exit code and all it said."""
        return await self.run(COMMAND, *arguments, CONNECT_HELPER_HOME=str(self.helper.home))

    async def run(self, *arguments: str | Path, **environment: str) -> tuple[int, str]:
        """Run a program to its end."""
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env=self.environment(**environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")

    @property
    def record(self) -> Record | None:
        """Of the helper that runs in this home."""
        return running_record(Folders.from_environment({"CONNECT_HELPER_HOME": str(self.helper.home)}))

    async def until_it_runs(self) -> Record:
        """Wait for a helper that something starts."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            record = self.record
            if record is not None:
                return record
            await asyncio.sleep(LOOK_AGAIN_S)
        raise AssertionError("No helper was started.")

    async def until_counted(self, group: str) -> int:
        """Wait until the helper counts transfers of a group ("finished", "failed"), and return how many."""
        record = await self.until_it_runs()
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            counts = (await asyncio.to_thread(ask, record, "status"))["transfers"]
            if counts[group]:
                return int(counts[group])
            await asyncio.sleep(LOOK_AGAIN_S)
        raise AssertionError(f"No transfer is {group}.")


@asynccontextmanager
async def linked_home(home: Path, desktop: Desktop) -> AsyncIterator[LinkedHome]:
    """Install into a new home."""
    async with Helper.stopped(home, display=desktop.display) as helper:
        linked = LinkedHome(helper, desktop)
        code, said = await linked.command("install")
        assert code == 0, said
        try:
            yield linked
        finally:
            with suppress(TimeoutError):
                await linked.command("stop")


def argument_lists() -> str:
    """The arguments of every process there is, as any account of the computer can read them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)
