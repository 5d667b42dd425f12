"""Opening our own pages in the user's browser."""

from __future__ import annotations

import asyncio
import threading
import time
import webbrowser
from pathlib import Path

import pytest

from connect_helper.api import windows as windows_module
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.errors import Unavailable

BASE = "http://127.0.0.1:33030"


async def test_a_page_opens_signed_in() -> None:
    sessions, opened = WindowSessions(), list[str]()

    def opener(address: str) -> bool:
        opened.append(address)
        return True

    await Windows(BASE, sessions, opener=opener).open("/activity/7")
    address, code = opened[0].split("#code=")
    assert address == f"{BASE}/activity/7"
    sessions.require(sessions.redeem(code))


async def test_no_browser_is_an_error_in_words() -> None:
    with pytest.raises(Unavailable, match="BROWSER"):
        await Windows(BASE, WindowSessions(), opener=lambda _: False).open("/")


@pytest.mark.parametrize("error", [webbrowser.Error("none"), OSError("gone")])
async def test_a_browser_that_cannot_start_is_the_same_error(error: Exception) -> None:
    def opener(_: str) -> bool:
        raise error

    with pytest.raises(Unavailable):
        await Windows(BASE, WindowSessions(), opener=opener).open("/")


async def test_a_browser_that_stays_counts_as_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "OPENING_LIMIT_S", 0.05)
    closed = threading.Event()
    started = time.monotonic()
    await Windows(BASE, WindowSessions(), opener=lambda _: closed.wait(30)).open("/")
    assert time.monotonic() - started < 5
    closed.set()


async def test_the_program_named_by_browser_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = tmp_path / "addresses"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {noted}\n')
    script.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(script))
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # looked up anew, as a fresh process does
    sessions = WindowSessions()
    await Windows(BASE, sessions).open("/")
    text = await asyncio.to_thread(noted.read_text)
    assert text.startswith(f"{BASE}/#code=")
    sessions.redeem(text.split("#code=")[1])
