"""Nothing outside a docroot can be reached, whatever lies in it and whoever swaps things meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connect_helper.errors import UnsafePath
from connect_helper.storage import kernel
from connect_helper.storage.docpath import DocPath, parse
from connect_helper.storage.docroot import Docroot
from connect_helper.storage.kernel import identity_of, open_by_name

CANARY = b"outside"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`root` with files, and links in all directions; `secret` and `hidden/canary` lie outside."""
    root = tmp_path / "root"
    (root / "folder/deep").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "folder/deep/file").write_bytes(b"deep inside")
    (tmp_path / "secret").write_bytes(CANARY)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/canary").write_bytes(CANARY)
    for name, content in {
        "to-file": "file",
        "to-folder": "folder",
        "folder/up": "../file",
        "folder/deep/two-up": "../../folder/deep/file",
        "out": "../secret",
        "out-folder": "../hidden",
        "absolute": str(tmp_path / "secret"),
        "absolute-folder": str(tmp_path / "hidden"),
        "loop": "loop",
        "proc": "/proc/self/root",
        "way-round": "folder/../../root/file",
    }.items():
        (root / name).symlink_to(content)
    return tmp_path


@pytest.fixture(params=["kernel", "by name"])
def docroot(
    request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Docroot]:
    """With openat2, and as on a system that has none."""
    if request.param == "by name":
        monkeypatch.setattr(kernel, "_C", None)
    with Docroot.open(place / "root") as opened:
        yield opened


@pytest.fixture
def strict(place: Path) -> Iterator[Docroot]:
    """As a session with a token sees it."""
    with Docroot.open(place / "root", follow_links=False) as opened:
        yield opened


def read(docroot: Docroot, path: str) -> bytes:
    handle = docroot.open_read(parse(path))
    try:
        return os.read(handle, 100)
    finally:
        os.close(handle)


@pytest.mark.parametrize("path", ["file", "to-file", "to-folder/up", "folder/up", "to-folder/../file"])
def test_links_that_stay_inside_are_followed(docroot: Docroot, path: str) -> None:
    assert read(docroot, path) == b"inside"


@pytest.mark.parametrize("path", ["folder/deep/two-up", "to-folder/deep/two-up", "to-folder/deep/file"])
def test_links_may_go_up_as_long_as_they_stay_inside(docroot: Docroot, path: str) -> None:
    assert read(docroot, path) == b"deep inside"


OUTSIDE = [
    "out",
    "absolute",
    "out-folder/canary",
    "absolute-folder/canary",
    "loop",
    "proc/etc/passwd",
    "way-round",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_is_reached(docroot: Docroot, path: str, place: Path) -> None:
    target = parse(path)
    acts: list[Callable[[], object]] = [
        lambda: docroot.open_read(target),
        lambda: docroot.open_write(target, os.O_WRONLY | os.O_CREAT),
        lambda: docroot.open_write(target, os.O_WRONLY | os.O_TRUNC),
        lambda: docroot.stat(target),
        lambda: docroot.open_to_change(target, content=False),
        lambda: docroot.open_to_change(target, content=True),
        lambda: docroot.utime(target, 0, 0),
        lambda: docroot.truncate(target, 0),
        lambda: docroot.statvfs(target),
        lambda: list(docroot.scandir(target)),
        lambda: docroot.mkdir((*target, b"new")),
        lambda: docroot.rename((b"file",), (*target, b"file"), replace=True),
        lambda: docroot.unlink((*target, b"canary")),
    ]
    for act in acts:
        with pytest.raises(OSError, match=r".") as caught:
            act()
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST), act
    assert (place / "secret").read_bytes() == CANARY
    assert [path.name for path in (place / "hidden").iterdir()] == ["canary"]


@pytest.mark.parametrize("path", ["to-file", "to-folder/up", "folder/up", "to-folder/deep/file", *OUTSIDE])
def test_without_links_a_path_through_one_does_not_exist(strict: Docroot, path: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        strict.open_read(parse(path))
    assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)
    with pytest.raises(OSError, match=r".") as caught:
        strict.stat(parse(path))
    assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)


def test_a_path_made_by_hand_is_checked_too(docroot: Docroot) -> None:
    for path in ((b"..", b"secret"), (b"folder/../../secret",), (b"",), (b"a\0b",)):
        with pytest.raises(UnsafePath):
            docroot.open_read(path)
        with pytest.raises(UnsafePath):
            docroot.lstat(path)


def test_files_and_folders_are_made_renamed_and_removed(docroot: Docroot, place: Path) -> None:
    docroot.makedirs((b"new", b"er", b"est"))
    handle = docroot.open_write((b"new", b"file"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(handle, b"x")
    os.close(handle)
    docroot.rename((b"new", b"file"), (b"moved",), replace=False)
    assert (place / "root/moved").read_bytes() == b"x"
    docroot.unlink((b"moved",))
    docroot.rmdir((b"new", b"er", b"est"))
    assert sorted(entry.name for entry in docroot.scandir((b"new",))) == [b"er"]


def test_a_name_that_is_taken_is_not_replaced_unless_wanted(docroot: Docroot, place: Path) -> None:
    (place / "root/other").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        docroot.rename((b"other",), (b"file",), replace=False)
    assert (place / "root/file").read_bytes() == b"inside"
    docroot.rename((b"other",), (b"file",), replace=True)
    assert (place / "root/file").read_bytes() == b"other"


def test_the_docroot_itself_cannot_be_changed(docroot: Docroot) -> None:
    acts: list[Callable[[], object]] = [
        lambda: docroot.rmdir(()),
        lambda: docroot.unlink(()),
        lambda: docroot.mkdir(()),
        lambda: docroot.rename((), (b"x",), replace=True),
        lambda: docroot.rename((b"folder",), (), replace=True),
        lambda: docroot.open_write((), os.O_WRONLY | os.O_CREAT),
    ]
    for act in acts:
        with pytest.raises((PermissionError, IsADirectoryError)):
            act()


def test_no_bit_that_gives_rights_comes_from_outside(docroot: Docroot, place: Path) -> None:
    os.close(docroot.open_write((b"tool",), os.O_WRONLY | os.O_CREAT, 0o6755))
    assert stat.S_IMODE((place / "root/tool").stat().st_mode) & 0o7000 == 0


def test_special_files_are_neither_read_nor_waited_for(docroot: Docroot, place: Path) -> None:
    os.mkfifo(place / "root/pipe")
    with pytest.raises(PermissionError):
        docroot.open_read((b"pipe",))
    with pytest.raises(OSError, match=r"."):
        docroot.open_write((b"pipe",), os.O_WRONLY)
    with pytest.raises(PermissionError):
        docroot.open_to_change((b"pipe",), content=False)


@pytest.mark.parametrize("content", [b"/etc/passwd", b"../secret", b"a/../../secret", b"..", b"", b"a\0b"])
def test_a_link_that_says_a_way_out_is_not_made(docroot: Docroot, content: bytes) -> None:
    with pytest.raises(PermissionError):
        docroot.symlink(content, (b"new",))


def test_a_link_that_stays_inside_is_made_and_read(docroot: Docroot) -> None:
    docroot.symlink(b"../file", (b"folder", b"new"))
    assert docroot.readlink((b"folder", b"new")) == b"../file"
    assert stat.S_ISLNK(docroot.lstat((b"folder", b"new")).st_mode)
    assert read(docroot, "folder/new") == b"inside"


def test_names_that_are_no_text_survive(docroot: Docroot) -> None:
    name = b"\xff\xfe\n\x1b"
    os.close(docroot.open_write((name,), os.O_WRONLY | os.O_CREAT))
    assert name in {entry.name for entry in docroot.scandir(())}


def test_no_descriptor_stays_open(place: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Docroot.open(place / "root") as docroot:
        for path in ("file", "out", "folder/deep/two-up", "missing/x", "way-round"):
            with suppress(OSError):
                docroot.stat(parse(path))
            with suppress(OSError):
                open_by_name(docroot._handle, parse(path), os.O_DIRECTORY, 0, links=True)
            for _entry in docroot.scandir(()):
                break
    assert len(list(Path("/proc/self/fd").iterdir())) == before


NAMES = st.one_of(
    st.sampled_from(
        [b"..", b".", b"", b"file", b"folder", b"deep", b"out", b"out-folder", b"absolute-folder", b"canary",
         b"secret", b"up", b"to-folder", b"hidden", b"proc", b"root", b"etc", b"passwd", b"...", b"%2e%2e",
         b"..\\", b"\xc0\xae\xc0\xae", b"way-round", b"two-up"]
    ),
    st.binary(min_size=1, max_size=6),
)  # fmt: skip
PATHS = st.builds(
    lambda lead, parts: lead + b"/".join(parts),
    st.sampled_from([b"", b"/", b"//"]),
    st.lists(NAMES, max_size=7),
)


def escapes(docroot: Docroot, raw: bytes, root: Path) -> bool:
    """Try to read what `raw` means, all ways there are; tell whether it was something outside."""
    try:
        path: DocPath = parse(raw)
    except UnsafePath:
        return False
    if not path:
        return False
    for way in (
        lambda: docroot.open_read(path),
        lambda: open_by_name(docroot._handle, path, os.O_RDONLY | os.O_NONBLOCK, 0, links=True),
    ):
        try:
            handle = way()
        except OSError:
            continue
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode) and os.read(handle, 7) == CANARY:
                return True
            if not Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(root):
                return True
        finally:
            os.close(handle)
    return False


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=int(os.environ.get("ESCAPE_NAMES", "150")),
)
@given(raw=PATHS)
def test_no_spelling_of_a_path_leads_outside(place: Path, raw: bytes) -> None:
    """ESCAPE_NAMES=100000 in the environment is the slow, thorough run."""
    with Docroot.open(place / "root") as docroot:
        assert not escapes(docroot, raw, place / "root")


@pytest.mark.parametrize("way", ["kernel", "by name"])
def test_swapping_folders_and_links_opens_no_way_out(
    place: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-14: a thread makes a folder a link to the outside and back, as fast as it can."""
    if way == "by name":
        monkeypatch.setattr(kernel, "_C", None)
    root = place / "root"
    (root / "real").mkdir()
    (root / "real/canary").write_bytes(b"inside")
    (root / "trap").symlink_to("../hidden")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (root / "real").rename(root / "spare")
            (root / "trap").rename(root / "real")
            (root / "real").rename(root / "trap")
            (root / "spare").rename(root / "real")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes] = set()
    try:
        with Docroot.open(root) as docroot:
            end = time.monotonic() + 0.4
            while time.monotonic() < end:
                with suppress(FileNotFoundError, NotADirectoryError):
                    seen.add(read(docroot, "real/canary"))
                with suppress(FileNotFoundError, NotADirectoryError, FileExistsError):
                    os.close(docroot.open_write((b"real", b"new"), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                with suppress(FileNotFoundError, NotADirectoryError):
                    docroot.unlink((b"real", b"new"))
                with suppress(FileNotFoundError, NotADirectoryError):
                    docroot.utime((b"real", b"canary"), 0, 0)
    finally:
        over.set()
        swapping.join()
    assert seen == {b"inside"}
    assert [path.name for path in (place / "hidden").iterdir()] == ["canary"]


def test_what_is_under_way_when_a_docroot_is_closed_ends_in_it_and_in_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives the number of a closed descriptor to whoever opens the next folder."""
    for owner in ("mine", "theirs"):
        (tmp_path / owner / "kept").mkdir(parents=True)
        (tmp_path / owner / "letter").write_text(owner)
    begun, may_go_on = threading.Event(), threading.Event()
    open_beneath = kernel.open_beneath

    def slow(*args: int, **words: bool) -> int:
        begun.set()
        assert may_go_on.wait(30)
        return open_beneath(*args, **words)  # type: ignore[arg-type]

    mine = Docroot.open(tmp_path / "mine")
    monkeypatch.setattr("connect_helper.storage.docroot.open_beneath", slow)
    move = partial(mine.rename, (b"letter",), (b"kept", b"letter"), replace=False)
    moving = threading.Thread(target=move)
    moving.start()
    assert begun.wait(30)
    mine.close()
    with Docroot.open(tmp_path / "theirs"):
        may_go_on.set()
        moving.join(30)
    assert (tmp_path / "theirs/letter").read_text() == "theirs"
    assert (tmp_path / "mine/kept/letter").read_text() == "mine"
    for call in (lambda: mine.lstat(()), lambda: mine.lstat((b"kept",)), lambda: mine.unlink((b"kept",))):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    before = descriptors()
    with Docroot.open(tmp_path / "mine") as again:
        again.lstat((b"kept",))
    assert descriptors() == before


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_new_file_is_not_the_one_whose_inode_it_got(tmp_path: Path) -> None:
    path = (b"mine",)
    with Docroot.open(tmp_path) as docroot:
        os.close(docroot.open_write(path, os.O_WRONLY | os.O_CREAT))
        before = docroot.identity(path)
        (tmp_path / "mine").rename(tmp_path / "other")
        assert docroot.identity((b"other",)) == before
        handle = docroot.open_read((b"other",))
        assert identity_of(handle) == before
        os.close(handle)
        (tmp_path / "other").unlink()
        if not before[2]:
            pytest.skip("this file system does not keep when a file was made")
        os.close(docroot.open_write(path, os.O_WRONLY | os.O_CREAT))
        assert docroot.identity(path) != before
        docroot.symlink(b"mine", (b"link",))
        assert docroot.identity((b"link",)) != docroot.identity(path)
