"""Drags as an X server shows them: real ones out of a file manager, and a source that answers oddly."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from Xlib import X
from Xlib.display import Display
from Xlib.protocol import event as x_events

from connect_helper.picking.drags import Drag
from connect_helper.picking.x11_drags import X11DragWatch
from tests.support.desktop import Desktop, Spot
from tests.support.file_manager import FileManager

WAIT_S = 30
THIS_PROGRAM = os.path.realpath(sys.executable)
OPEN_SPOT = Spot(300, 700)  # no window there


@pytest.fixture
async def watch(desktop: Desktop) -> AsyncIterator[X11DragWatch]:
    watch = X11DragWatch(desktop.display)
    assert await watch.start()
    yield watch
    await watch.close()


async def seen(watch: X11DragWatch, count: int = 1) -> list[Drag]:
    for _ in range(1_500):
        drags = list(watch.recent())
        if len(drags) >= count:
            return drags
        await asyncio.sleep(0.02)
    raise AssertionError(f"Of {count} drags these were seen: {drags}")


async def somebody_drags(desktop: Desktop) -> bool:
    """Whether a drag has begun; the drags of a program that has ended are none."""
    display = Display(desktop.display)
    try:
        owner = display.get_selection_owner(display.intern_atom("XdndSelection"))
    finally:
        display.close()
    return owner != X.NONE


@contextmanager
def dragging(desktop: Desktop, answer: bytes, *, piece: int = 0) -> Iterator[threading.Event]:
    """A program that drags: it owns the selection and answers once, in pieces of `piece` bytes if given.

    The event tells that the answer was fetched whole.
    """
    display = Display(desktop.display)
    atoms = {name: display.intern_atom(name) for name in ("XdndSelection", "text/uri-list", "INCR")}
    window = display.screen().root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
    ready, done, ended = threading.Event(), threading.Event(), threading.Event()

    def serve() -> None:
        window.set_selection_owner(atoms["XdndSelection"], X.CurrentTime)
        display.flush()
        ready.set()
        request = _await(display, ended, lambda event: event.type == X.SelectionRequest)
        if request is None:
            return
        told = x_events.SelectionNotify(
            time=request.time, requestor=request.requestor, selection=request.selection,
            target=request.target, property=request.property,
        )  # fmt: skip
        where, form = request.property, atoms["text/uri-list"]
        if not piece:
            request.requestor.change_property(where, form, 8, answer)
            request.requestor.send_event(told)
            display.flush()
            done.set()
            return
        request.requestor.change_attributes(event_mask=X.PropertyChangeMask)
        request.requestor.change_property(where, atoms["INCR"], 32, [len(answer)])
        request.requestor.send_event(told)
        for at in range(0, len(answer) + piece, piece):
            if _await(display, ended, lambda event: _is_gone(event, where)) is None:
                return
            request.requestor.change_property(where, form, 8, answer[at : at + piece])
            display.flush()
        done.set()

    thread = threading.Thread(target=serve, name="a program that drags")
    thread.start()
    assert ready.wait(WAIT_S)
    try:
        yield done
    finally:
        ended.set()
        thread.join()
        display.close()


def _await(display: Display, ended: threading.Event, wanted: object) -> object:
    while not ended.wait(0.005):
        while display.pending_events():
            event = display.next_event()
            if wanted(event):  # type: ignore[operator]
                return event
    return None


def _is_gone(event: object, atom: int) -> bool:
    return (
        getattr(event, "type", 0) == X.PropertyNotify
        and getattr(event, "state", -1) == X.PropertyDelete
        and getattr(event, "atom", 0) == atom
    )


async def test_a_drag_out_of_a_file_manager_is_seen_with_its_programs(
    desktop: Desktop, watch: X11DragWatch, tmp_path: Path
) -> None:
    folder = tmp_path / f"shown {tmp_path.name}"
    folder.mkdir()
    (folder / "a Ü%.txt").touch()
    async with FileManager.showing(desktop, folder, tmp_path / "home") as manager:
        await desktop.drag(manager.first_icon, OPEN_SPOT, lambda: somebody_drags(desktop))
        (drag,) = await seen(watch)
    assert drag.paths == (str(folder / "a Ü%.txt"),)
    assert drag.source is not None
    assert Path(drag.source).name == "pcmanfm"
    assert drag.target is not None
    assert "pcmanfm" not in drag.target  # the icon that hangs at the pointer is not where it was dropped


async def test_a_drag_from_a_folder_to_itself_tells_so(
    desktop: Desktop, watch: X11DragWatch, tmp_path: Path
) -> None:
    folder = tmp_path / f"shown {tmp_path.name}"
    folder.mkdir()
    (folder / "a.txt").touch()
    async with FileManager.showing(desktop, folder, tmp_path / "home") as manager:
        inside = Spot(manager.first_icon.x + 200, manager.first_icon.y + 150)
        await desktop.drag(manager.first_icon, inside, lambda: somebody_drags(desktop))
        (drag,) = await seen(watch)
    assert drag.source == drag.target
    assert "pcmanfm" in (drag.source or "")


async def test_a_drag_that_the_user_gives_up_is_none(desktop: Desktop, watch: X11DragWatch) -> None:
    await desktop.pick_up(OPEN_SPOT)
    with dragging(desktop, b"file:///given/up\r\n") as told:
        assert await asyncio.to_thread(told.wait, WAIT_S)
    await asyncio.sleep(0.2)
    await desktop.let_go()
    await desktop.pick_up(OPEN_SPOT)
    with dragging(desktop, b"file:///dropped\r\n") as told:
        assert await asyncio.to_thread(told.wait, WAIT_S)
        await desktop.let_go()
        (drag,) = await seen(watch)
    assert drag.paths == ("/dropped",)
    assert drag.source == THIS_PROGRAM


async def test_nothing_counts_before_the_button_is_let_go(desktop: Desktop, watch: X11DragWatch) -> None:
    await desktop.pick_up(OPEN_SPOT)
    with dragging(desktop, b"file:///a\r\n") as told:
        assert await asyncio.to_thread(told.wait, WAIT_S)
        await asyncio.sleep(0.2)
        assert watch.recent() == []
        await desktop.let_go()
        await seen(watch)


async def test_a_long_list_comes_in_pieces(desktop: Desktop, watch: X11DragWatch) -> None:
    paths = tuple(f"/a folder with a long name/{number:05}.mov" for number in range(5_000))
    answer = "".join(f"file://{path.replace(' ', '%20')}\r\n" for path in paths).encode()
    await desktop.pick_up(OPEN_SPOT)
    with dragging(desktop, answer, piece=60_000) as told:
        assert await asyncio.to_thread(told.wait, WAIT_S)
        await desktop.let_go()
        (drag,) = await seen(watch)
    assert drag.paths == paths


async def test_a_watch_ends_and_begins_again(desktop: Desktop) -> None:
    watch = X11DragWatch(desktop.display)
    for _ in range(2):
        assert await watch.start()
        assert await watch.start()
        await desktop.pick_up(OPEN_SPOT)
        with dragging(desktop, b"file:///a\r\n") as told:
            assert await asyncio.to_thread(told.wait, WAIT_S)
            await desktop.let_go()
            await seen(watch)
        await watch.close()
        assert watch.recent() == []


# The library leaves the socket to the garbage collector when it cannot connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_screen_that_is_not_there_shows_no_drags() -> None:
    watch = X11DragWatch(":9999")
    assert not await watch.start()
    assert watch.recent() == []
    await watch.close()
