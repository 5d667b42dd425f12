"""Folders no page gets whole."""

from __future__ import annotations

import pytest

from connect_helper.consent.folders import refused_folder

OWN = ("/home/ann/.local/state/connect-helper", "/home/ann/.config/connect-helper")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/", "disk"),
        ("//", "disk"),
        ("/home", "everything"),
        ("/home/ann", "everything"),
        ("/home/ann/", "everything"),
        ("/home/ann/.ssh", "keys"),
        ("/home/ann/.ssh/old", "keys"),
        ("/home/ann/.SSH", "keys"),
        ("/home/ann/.gnupg", "keys"),
        ("/home/ann/.mozilla/firefox", "keys"),
        ("/home/ann/.config/chromium/Default", "keys"),
        ("/home/ann/Library/Keychains", "keys"),
        (OWN[0], "this program"),
        (OWN[0] + "/run", "this program"),
        ("/proc/self", "system"),
        ("/dev", "system"),
    ],
)
def test_these_are_refused_with_a_reason(path: str, word: str) -> None:
    reason = refused_folder(path, home="/home/ann", own=OWN, windows=False)
    assert reason is not None
    assert word in reason


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/Documents",
        "/home/ann/.sshx",
        "/home/bob",
        "/data",
        "/home/ann/.config",
        "/home/ann/x/.ssh",
        "/devel",
    ],
)
def test_these_may_be_given(path: str) -> None:
    assert refused_folder(path, home="/home/ann", own=OWN, windows=False) is None


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("C:\\", True),
        ("D:", True),
        ("\\\\?\\C:\\", True),
        ("\\\\host\\", True),
        ("C:\\Users", True),
        ("c:\\users\\ANN", True),
        ("C:\\Users\\Ann\\.ssh", True),
        ("C:\\Users\\Ann\\AppData\\Local\\Google\\Chrome\\User Data", True),
        ("C:\\Users\\Ann\\Documents", False),
        ("\\\\host\\share\\folder", False),
        ("D:\\films", False),
    ],
)
def test_on_windows(path: str, refused: bool) -> None:
    assert (refused_folder(path, home="C:\\Users\\Ann", own=(), windows=True) is not None) is refused
