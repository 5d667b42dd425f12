"""A file manager on the virtual screen, to drag from: pcmanfm, which is small and keeps to itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from Xlib import X
from Xlib.display import Display

from tests.support.desktop import Desktop, Spot

DRAWN_S = 30
LOOK_AGAIN_S = 0.05
SETTINGS = """[config]
bm_open_method=0
[volume]
mount_on_startup=0
mount_removable=0
autorun=0
[ui]
win_width=500
win_height=400
view_mode=icon
side_pane_mode=hidden;places
sort=name;ascending;
"""


@dataclass(frozen=True, slots=True)
class FileManager:
    """A window that shows one folder as icons, at the right of the screen."""

    desktop: Desktop
    window: str

    place: ClassVar[Spot] = Spot(700, 100)
    first_icon: ClassVar[Spot] = Spot(752, 210)  # with the fonts and borders of that window

    @classmethod
    @asynccontextmanager
    async def showing(cls, desktop: Desktop, folder: Path, home: Path) -> AsyncIterator[FileManager]:
        """Show `folder` until the context is left; `home` is for the program's own settings.

        The name of the folder has to tell its window from all others, and there has to be something in it.
        """
        settings = home / "config" / "pcmanfm" / "default" / "pcmanfm.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(SETTINGS)
        own = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA")}
        process = await asyncio.create_subprocess_exec(
            "pcmanfm", "--no-desktop", "--new-win", str(folder),
            env=desktop.environment(HOME=str(home), XDG_RUNTIME_DIR=str(home), **own),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            window = await desktop.window(f"^{re.escape(folder.name)}$", within_s=DRAWN_S)
            await desktop.move_window(window, cls.place)
            shown = cls(desktop, window)
            await asyncio.to_thread(shown._wait_for_icons)
            yield shown
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def select_all(self) -> None:
        """Select everything in the folder; a drag of one icon is then a drag of all."""
        await self.desktop.window_to_front(self.window)
        await self.desktop.key("ctrl+a")

    def _wait_for_icons(self) -> None:
        display = Display(self.desktop.display)
        try:
            deadline = time.monotonic() + DRAWN_S
            while time.monotonic() < deadline:
                if self._is_drawn(display):
                    return
                time.sleep(LOOK_AGAIN_S)
        finally:
            display.close()
        raise AssertionError("The file manager shows nothing.")

    def _is_drawn(self, display: Display) -> bool:
        """Whether there is more than background where the first icon comes."""
        x, y = self.first_icon
        image = display.screen().root.get_image(x - 8, y - 8, 16, 16, X.ZPixmap, 0xFFFFFFFF)
        colours = {bytes(image.data[at : at + 3]) for at in range(0, len(image.data), 4)}
        return len(colours) > 1
