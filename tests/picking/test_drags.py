"""Lists of dragged paths, and what shows drags on which machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from connect_helper.picking.drags import NoDragWatch, local_paths
from connect_helper.picking.native import find_drag_watch
from connect_helper.picking.x11_drags import X11DragWatch

ODD_NAMES = ("plain", "two words", "50%", "Ærø", "bad\udcff", "#hash", "a?b", "new\nline")


def test_paths_come_in_order_and_whole(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ODD_NAMES]
    listed = "\r\n".join(path.as_uri() for path in paths) + "\r\n"
    assert local_paths(b"# from a file manager\r\n" + listed.encode()) == tuple(map(os.fspath, paths))


@pytest.mark.parametrize(
    ("address", "paths"),
    [
        (b"file:/etc/hostname", ("/etc/hostname",)),
        (b"file://localhost/etc/hostname", ("/etc/hostname",)),
        (f"file://{socket.gethostname()}/a".encode(), ("/a",)),
        (b"file://server/share/a", ()),
        (b"sftp://server/a", ()),
        (b"https://a.example/a", ()),
        (b"trash:///a", ()),
        (b"file:///a%00b", ()),
        (b"file:relative", ()),
        (b"/a", ()),
        ("file:///ä".encode(), ()),
        (b"file://[/a", ()),
        (b"", ()),
    ],
)
def test_only_files_of_this_machine_count(address: bytes, paths: tuple[str, ...]) -> None:
    assert local_paths(address) == paths


@pytest.mark.parametrize(
    ("environment", "platform", "kind"),
    [
        ({"DISPLAY": ":0"}, "linux", X11DragWatch),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "x11"}, "linux", X11DragWatch),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", NoDragWatch),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "linux", NoDragWatch),
        ({"DISPLAY": "localhost:10.0"}, "linux", NoDragWatch),  # the screen of another machine, over SSH
        ({}, "linux", NoDragWatch),
        ({}, "win32", NoDragWatch),
    ],
)
def test_who_shows_drags(environment: dict[str, str], platform: str, kind: type) -> None:
    assert type(find_drag_watch(environment, platform=platform)) is kind


def test_without_the_library_dropped_files_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Xlib", None)
    for name in [name for name in sys.modules if name.startswith("connect_helper.picking.x11_")]:
        monkeypatch.delitem(sys.modules, name)
    assert isinstance(find_drag_watch({"DISPLAY": ":0"}, platform="linux"), NoDragWatch)


async def test_no_watch_shows_nothing() -> None:
    watch = NoDragWatch()
    assert not await watch.start()
    assert watch.recent() == ()
    await watch.close()
