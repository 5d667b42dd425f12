"""A virtual X screen with a window manager, and a hand that types: for dialogs that are real windows."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

SCREEN = "1280x900x24"
START_S = 20
WINDOW_S = 15
LOOK_AGAIN_S = 0.05
RETURNS = 5
RETURN_S = 3  # a key too many would go to another window
FIELD_OPENS_S = 0.3  # GTK fills the field and selects its text; nothing shows when it is done
DISPLAYS = range(200, 300)
DRAG_STEPS = 8
DRAGS = 5  # tries: a drag that began before a program was ready is none
DRAG_S = 6  # each


class NoSuchWindow(AssertionError):
    """The window did not come, or did not go, in time."""


class Spot(NamedTuple):
    """A place on the screen, in pixels from its upper left corner."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Desktop:
    """One X display. All waits are bounded; a window that does not come fails the test."""

    display: str  # ":99"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Desktop]:
        """Start Xvfb on a display of its own, and openbox, so that windows get the focus."""
        with _free_display() as display, _xvfb(display):
            desktop = cls(display)
            manager = subprocess.Popen(
                ["openbox", "--sm-disable"],
                env=desktop.environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                desktop._wait_for_manager()
                yield desktop
            finally:
                _end(manager)

    def environment(self, **more: str) -> dict[str, str]:
        """The variables a program needs to show its windows here."""
        kept = {name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"}
        # Without a session bus GTK would wait for one; software drawing, since there is no graphics card.
        return {**kept, "DISPLAY": self.display, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1", **more}

    async def window(self, title: str, *, within_s: float = WINDOW_S) -> str:
        """Wait for a visible window whose title matches the pattern, focus it and return its id."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = await self._xdotool("search", "--onlyvisible", "--name", title)
            if found:
                window = found.split()[-1]
                await self._xdotool("windowactivate", "--sync", window)
                return window
            await asyncio.sleep(LOOK_AGAIN_S)
        raise NoSuchWindow(f"No window titled {title!r}; there are {await self.titles()}.")

    async def gone(self, window: str, *, within_s: float = WINDOW_S) -> None:
        """Wait until the window is no longer there."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not await self._xdotool("getwindowname", window):
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        raise NoSuchWindow(f"Window {window} is still there; there are {await self.titles()}.")

    def told(self) -> str:
        """What the zenity that shows a window here was told to show: all its words."""
        words: list[str] = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error):  # it may have ended meanwhile
                if process.info["name"] == "zenity" and process.environ().get("DISPLAY") == self.display:
                    words += process.cmdline()
        return "\n".join(words)

    async def titles(self) -> list[str]:
        """The titles of all visible windows."""
        windows = (await self._xdotool("search", "--onlyvisible", "--name", ".")).split()
        return [await self._xdotool("getwindowname", window) for window in windows]

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self._xdotool("type", "--clearmodifiers", "--delay", "4", "--", text)

    async def key(self, *names: str) -> None:
        """Press keys by their X names: "Return", "Escape", "alt+a"."""
        await self._xdotool("key", "--clearmodifiers", "--delay", "20", *names)

    async def choose(self, title: str, path: Path, *, save: bool = False) -> None:
        """Answer a GTK file dialog as a person would who types the path.

        `save` tells that the dialog has its name field open; in the others ctrl+l opens one.
        """
        window = await self.window(title)
        if not save:
            await self.key("alt+Home", "ctrl+l")  # in "Recent", where it opens, GTK takes no folder
        await asyncio.sleep(FIELD_OPENS_S)
        await self.key("ctrl+a")
        await self.type(str(path))
        await asyncio.sleep(FIELD_OPENS_S)
        for _ in range(RETURNS):  # the first may only close GTK's list of completions
            await self.key("Return")
            try:
                await self.gone(window, within_s=RETURN_S)
            except NoSuchWindow:
                continue
            return
        raise NoSuchWindow(f"Window {window} is still there; there are {await self.titles()}.")

    async def window_to_front(self, window: str) -> None:
        """Give a window the focus."""
        await self._xdotool("windowactivate", "--sync", window)

    async def move_window(self, window: str, to: Spot) -> None:
        """Move a window's upper left corner."""
        await self._xdotool("windowmove", "--sync", window, str(to.x), str(to.y))

    async def drag(
        self,
        start: Spot,
        end: Spot,
        arrived: Callable[[], Awaitable[bool]],
        *,
        felt: Callable[[Spot], Awaitable[None]] | None = None,
    ) -> None:
        """Drag with the left button from `start` to `end`, and let go there once it has `arrived`.

        Where the program below takes no notice, the drag is made again, a few times. A browser answers each
        motion with what the page said to the one before, so its first answer is no, and a drag let go on
        that is none. There it is moved once more, until the page has `felt` it at that very place.
        """
        for _ in range(DRAGS):
            await self.pick_up(start)
            await self._move(start, end)
            if await self._until_noticed(end, arrived):
                if felt is not None:
                    last = Spot(end.x, end.y + 1)  # nowhere the pointer was before
                    await self._point(last)
                    await felt(last)
                await self.let_go()
                return
            await self.key("Escape")
            await self.let_go()
        raise AssertionError(f"Nothing at {end} took notice of a drag.")

    async def pick_up(self, start: Spot) -> None:
        """Press the left button, a hand's way: not on the very pixel where the pointer appears."""
        await self._point(Spot(start.x - 4, start.y - 4))
        await self._point(start)
        await self._xdotool("mousedown", "1")

    async def let_go(self) -> None:
        """Let go of the left button."""
        await self._xdotool("mouseup", "1")

    async def _point(self, at: Spot) -> None:
        await self._xdotool("mousemove", str(at.x), str(at.y))

    async def _move(self, start: Spot, end: Spot) -> None:
        for nudge in (5, 10, 15):  # a program takes it for a drag before it leaves the icon
            await self._point(Spot(start.x + nudge, start.y + nudge))
        for step in range(1, DRAG_STEPS + 1):
            x = start.x + (end.x - start.x) * step // DRAG_STEPS
            y = start.y + (end.y - start.y) * step // DRAG_STEPS
            await self._point(Spot(x, y))

    async def _until_noticed(self, spot: Spot, noticed: Callable[[], Awaitable[bool]]) -> bool:
        """Stay near `spot`, moving a little: a pointer that keeps still tells programs nothing."""
        deadline = time.monotonic() + DRAG_S
        while time.monotonic() < deadline:
            for x in (spot.x + 1, spot.x):
                await self._point(Spot(x, spot.y))
                if await noticed():
                    return True
            await asyncio.sleep(LOOK_AGAIN_S)
        return False

    async def screenshot(self, path: Path) -> None:
        """Keep a picture of the whole screen, where ImageMagick's `import` is installed."""
        process = await asyncio.create_subprocess_exec(
            "import", "-window", "root", str(path), env=self.environment()
        )
        await process.wait()

    async def _xdotool(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "xdotool",
            *arguments,
            env=self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(WINDOW_S):
            output, _ = await process.communicate()
        return output.decode(errors="replace").strip()

    def _wait_for_manager(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            answer = subprocess.run(
                ["xdotool", "get_num_desktops"], env=self.environment(), capture_output=True, check=False
            )
            if answer.returncode == 0:
                return
            time.sleep(LOOK_AGAIN_S)
        raise RuntimeError("openbox did not start.")


@contextmanager
def _free_display() -> Iterator[str]:
    """The name of a display (":200") that is ours until the end.

    Left to itself, Xvfb sees only the servers of its own network namespace, and takes the socket in the
    file system away from one in another.
    """
    for number in DISPLAYS:
        try:
            lock = os.open(f"/tmp/connect-helper-tests-X{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:  # another account's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield f":{number}"
        finally:
            os.close(lock)
        return
    raise RuntimeError("No display is free.")


@contextmanager
def _xvfb(display: str) -> Iterator[None]:
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", display, "-displayfd", str(writing), "-screen", "0", SCREEN, "-nolisten", "tcp", "-noreset"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as answer:  # ends with nothing when Xvfb dies
            if not answer.readline().strip():
                raise RuntimeError("Xvfb did not start.")
        yield
    finally:
        _end(server)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
