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
        ("/home/ann/.config", "keys"),
        ("/home/ann/.local/share", "keys"),
        ("/home/ann/.local", "keys"),
        ("/home/ann/.local/state", "this program"),
        ("/home/ann/Library", "keys"),
        ("/home/ann/Library/Application Support", "keys"),
        ("/home/ann/library/application support", "keys"),
        ("/home/ann/AppData/Roaming", "keys"),
        ("/proc/self", "system"),
        ("/dev", "system"),
        ("/etc", "system"),
        ("/etc/ssl/private", "system"),
        ("/boot", "system"),
        ("/root", "system"),
        ("/root/x", "system"),
        ("/run", "system"),
        ("/run/user", "system"),
        ("/run/user/1000", "system"),
        ("/run/user/1000/keyring", "system"),
        ("/run/systemd", "system"),
        ("/var", "system"),
        ("/var/lib", "system"),
        ("/var/log/apt", "system"),
        ("/private/etc", "system"),
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
        "/home/ann/.config/gimp",
        "/home/ann/.local/share/films",
        "/home/ann/Library/Application Support/Films",
        "/home/ann/x/.ssh",
        "/devel",
        "/tmp",
        "/tmp/films",
        "/var/tmp",
        "/var/tmp/films",
        "/var/www/site",
        "/private/var/folders/x",
        "/run/media/ann/DISK",
        "/run/user/1000/gvfs/smb-share",
        "/media/ann/DISK",
        "/mnt",
        "/Volumes/Disk",
        "/srv/films",
        "/etcetera",
        "/running",
    ],
)
def test_these_may_be_given(path: str) -> None:
    assert refused_folder(path, home="/home/ann", own=OWN, windows=False) is None


@pytest.mark.parametrize("home", ["/root", "/var/home/ann", "/var/lib/service"])
def test_a_home_among_the_systems_folders_is_still_a_home(home: str) -> None:
    assert refused_folder(f"{home}/films", home=home, own=(), windows=False) is None
    assert refused_folder(f"{home}/.ssh", home=home, own=(), windows=False) is not None
    assert refused_folder(home, home=home, own=(), windows=False) is not None


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
        ("C:\\Users\\Ann\\AppData", True),
        ("C:\\Users\\Ann\\AppData\\Roaming", True),
        ("\\\\?\\C:\\Users\\Ann\\AppData\\Local", True),
        ("C:\\Windows\\System32", True),
        ("C:\\Program Files", True),
        ("C:\\Users\\Ann\\AppData\\Local\\Films", False),
        ("C:\\Users\\Ann\\Documents", False),
        ("\\\\host\\share\\folder", False),
        ("D:\\films", False),
    ],
)
def test_on_windows(path: str, refused: bool) -> None:
    assert (refused_folder(path, home="C:\\Users\\Ann", own=(), windows=True) is not None) is refused
