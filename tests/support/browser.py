"""Real Chromium for tests, driven through Playwright.

`launch` starts a browser of its own; the fixture `browser` in tests/conftest.py is the usual way to one.
Screenshots go to `artefacts/`, which git ignores.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

ARTEFACTS = Path(__file__).parents[2] / "artefacts"

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# The same browser without a window or extensions: it starts in a third of the time.
SHELL = "chromium-headless-shell"

# No traffic of the browser's own; no sandbox, because containers and root cannot have one.
ARGUMENTS = (
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
)

# Where a browser that is not headless has its window, so that others find room beside it.
PLACE_ON_SCREEN = ("--window-position=0,0", "--window-size=640,800")


def chromium() -> str:
    """The browser's program: what CHROMIUM names, else the first one installed."""
    chosen = os.environ.get("CHROMIUM")
    for name in (chosen,) if chosen else PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    raise FileNotFoundError("No Chromium here. Run scripts/install-test-programs, or set CHROMIUM.")


def without_window() -> str:
    """The program for pages that nobody sees."""
    shell = None if os.environ.get("CHROMIUM") else shutil.which(SHELL)
    return shell or chromium()


@asynccontextmanager
async def launch(
    *,
    headless: bool = True,
    display: str | None = None,
    hosts: Mapping[str, str] | None = None,
    extra_args: Sequence[str] = (),
) -> AsyncIterator[Browser]:
    """Run a browser until the context is left.

    `display` names the X display of a browser that is not headless. `hosts` maps names to addresses
    ("portal.example" to "127.0.0.1"), as DNS would; "name:port" maps one port only.
    """
    arguments = [*ARGUMENTS, *extra_args, *_host_rules(hosts)]
    environment = {**os.environ, "DISPLAY": display} if display else dict(os.environ)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=without_window() if headless else chromium(),
            headless=headless,
            args=arguments,
            env=environment,
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def launch_with_extension(
    extension: Path,
    *,
    display: str | None = None,
    hosts: Mapping[str, str] | None = None,
    extra_args: Sequence[str] = (),
) -> AsyncIterator[BrowserContext]:
    """Run a browser with a fresh profile and the unpacked extension in it until the context is left.

    With a `display` it has a window there, and its pages are as large as that; without, it is headless.
    """
    loading = (f"--disable-extensions-except={extension}", f"--load-extension={extension}")
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            "",
            executable_path=chromium(),
            headless=display is None,
            no_viewport=display is not None,
            env={**os.environ, "DISPLAY": display} if display else dict(os.environ),
            args=[*ARGUMENTS, *loading, *extra_args, *_host_rules(hosts)],
        )
        try:
            yield context
        finally:
            await context.close()


def _host_rules(hosts: Mapping[str, str] | None) -> list[str]:
    rules = ",".join(f"MAP {name} {address}" for name, address in (hosts or {}).items())
    return [f"--host-resolver-rules={rules}"] if rules else []


async def screenshot(page: Page, name: str) -> Path:
    """Keep a picture of the whole page as `artefacts/NAME.png`."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)
    return path


async def hold_animations(page: Page, at_ms: int) -> None:
    """Stop everything that moves where it is `at_ms` after its beginning."""
    await page.evaluate(
        "at => document.getAnimations().forEach(one => { one.pause(); one.currentTime = at; })", at_ms
    )


async def style_of(page: Page, selector: str, name: str) -> str:
    """What the browser makes of a CSS property there."""
    script = "([selector, name]) => getComputedStyle(document.querySelector(selector)).getPropertyValue(name)"
    found: str = await page.evaluate(script, [selector, name])
    return found
