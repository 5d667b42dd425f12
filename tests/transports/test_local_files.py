"""Local files: nothing but what was granted is opened, whatever happens to the names meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from connect_helper.errors import (
    AlreadyExists,
    LinkSkipped,
    SourceChanged,
    SourceMissing,
    SpecialFile,
    TargetDenied,
    TargetNotFolder,
    TransferError,
)
from connect_helper.transports import local_files
from connect_helper.transports.local_files import Granted, open_source, resolve_links
from connect_helper.transports.local_target import FileId, open_target_folder
from connect_helper.transports.local_walk import walk

SWAPS = 10_000
MIB = 1024 * 1024


@pytest.fixture(params=["openat2", "by name"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of opening below a folder: by the system call, and name by name."""
    if request.param == "by name":
        monkeypatch.setattr(local_files, "_openat2", None)
    else:
        assert local_files._openat2 is not None


def grant(path: Path) -> Granted:
    facts = path.lstat()
    return Granted(os.fsencode(path), facts.st_dev, facts.st_ino)


def content(granted: Granted, *below: bytes) -> bytes:
    source = open_source(granted, below)
    try:
        return source.read(0, source.size)
    finally:
        source.close()


@pytest.mark.usefixtures("either_way")
def test_what_is_below_a_grant_is_opened_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_text("inside")
    (tmp_path / "outside").write_text("outside")
    (tmp_path / "in" / "link").symlink_to("../outside")
    (tmp_path / "in" / "folder").symlink_to("deep")
    os.mkfifo(tmp_path / "in" / "pipe")
    granted = grant(tmp_path / "in")
    assert content(granted, b"deep", b"file") == b"inside"
    for names, error in (
        ((b"link",), LinkSkipped),
        ((b"folder", b"file"), TransferError),
        ((b"..", b"outside"), TransferError),
        ((b"deep", b"..", b"..", b"outside"), TransferError),
        ((b"missing",), SourceMissing),
        ((b"pipe",), SpecialFile),
        ((b"deep",), SourceMissing),
    ):
        with pytest.raises(error):
            open_source(granted, names)


@pytest.mark.usefixtures("either_way")
def test_a_grant_is_for_one_file_and_not_for_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("chosen")
    granted = grant(path)
    assert content(granted) == b"chosen"
    (tmp_path / "new").write_text("other")
    (tmp_path / "new").rename(path)
    with pytest.raises(SourceChanged):
        open_source(granted, ())
    path.unlink()
    with pytest.raises(SourceMissing):
        open_source(granted, ())


@pytest.mark.usefixtures("either_way")
def test_swapping_a_folder_for_a_link_never_shows_what_is_outside(tmp_path: Path) -> None:
    (tmp_path / "in" / "swap").mkdir(parents=True)
    (tmp_path / "in" / "swap" / "file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    done = threading.Event()

    def swap() -> None:
        swapped, link, aside = (tmp_path / "in" / name for name in ("swap", "link", "aside"))
        for _ in range(SWAPS):
            swapped.rename(aside)
            link.rename(swapped)
            swapped.rename(link)
            aside.rename(swapped)
        done.set()

    granted, seen = grant(tmp_path / "in"), set()
    thread = threading.Thread(target=swap)
    thread.start()
    while not done.is_set():
        with contextlib.suppress(TransferError):
            seen.add(content(granted, b"swap", b"file"))
        for entry in walk(granted, (), links="follow"):
            if entry.below[-1:] == (b"file",) and entry.error is None:
                with contextlib.suppress(TransferError):
                    seen.add(content(granted, *entry.real))
    thread.join()
    assert seen == {b"inside"}


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("deep/file", (b"deep", b"file")),
        ("./deep/../deep/file", (b"deep", b"file")),
        ("ABS/deep/file", (b"deep", b"file")),
        ("chain", (b"deep", b"file")),
        ("../outside", None),
        ("deep/../../outside", None),
        ("/etc/passwd", None),
        ("ABS-evil/file", None),
        ("self", None),
    ],
)
def test_links_are_resolved_inside_their_folder_only(
    tmp_path: Path, target: str, answer: tuple[bytes, ...] | None
) -> None:
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "file").write_text("x")
    (root / "chain").symlink_to("deep/file")
    (root / "self").symlink_to("self")
    (root / "link").symlink_to(target.replace("ABS", str(root)))
    handle = os.open(root, os.O_RDONLY)
    try:
        if answer is None:
            with pytest.raises(LinkSkipped):
                resolve_links(handle, os.fsencode(root), (b"link",))
        else:
            assert resolve_links(handle, os.fsencode(root), (b"link",)) == answer
    finally:
        os.close(handle)


def test_a_deep_tree_ends_with_a_word_about_it(tmp_path: Path) -> None:
    folder = tmp_path / "top"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(110):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    entries = list(walk(grant(folder), (), links="follow"))
    assert [entry.error.code for entry in entries if entry.error] == ["unsafe_name"]
    assert len(entries) == 102


# Targets -------------------------------------------------------------------------------------------


def put(folder: Path, name: bytes, data: bytes, publish: str) -> bytes:
    target = open_target_folder(grant(folder), ())
    try:
        partial = target.create_partial(name)
        try:
            partial.write(0, [data[:1], data[1:]])
            partial.sync()
            if publish == "numbered":
                return target.publish_numbered(partial, name)
            return target.publish(partial, name, publish)  # type: ignore[arg-type] # replace or fresh
        finally:
            partial.close()
    finally:
        target.close()


def test_publishing_replaces_numbers_or_refuses(tmp_path: Path) -> None:
    assert put(tmp_path, b"a.txt", b"one", "replace") == b"a.txt"
    assert put(tmp_path, b"a.txt", b"two", "replace") == b"a.txt"
    assert put(tmp_path, b"a.txt", b"three", "numbered") == b"a (1).txt"
    with pytest.raises(AlreadyExists):
        put(tmp_path, b"a.txt", b"four", "fresh")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {"a.txt": b"two", "a (1).txt": b"three", "a.txt.partial": b"four"}


def test_without_renameat2_a_taken_name_is_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.transports.local_target._renameat2", None)
    assert put(tmp_path, b"a", b"one", "fresh") == b"a"
    with pytest.raises(AlreadyExists):
        put(tmp_path, b"a", b"two", "fresh")
    assert (tmp_path / "a").read_bytes() == b"one"


def test_the_longest_name_has_room_for_its_partial_file(tmp_path: Path) -> None:
    assert put(tmp_path, b"n" * 255, b"x", "replace") == b"n" * 255


@pytest.mark.parametrize(
    "obstacle", [lambda path: path.write_text("x"), lambda path: path.symlink_to("/tmp")]
)
def test_a_file_or_link_where_a_folder_is_needed(tmp_path: Path, obstacle: Callable[[Path], object]) -> None:
    obstacle(tmp_path / "way")
    with pytest.raises(TargetNotFolder):
        open_target_folder(grant(tmp_path), (b"way", b"in"))


def test_a_granted_folder_that_was_replaced_receives_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    granted = grant(folder)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    with pytest.raises(SourceChanged):
        open_target_folder(granted, ())


def test_a_failed_sync_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = open_target_folder(grant(tmp_path), ())
    partial = target.create_partial(b"a")
    partial.write(0, [b"x"])
    real, calls = os.fsync, []

    def fail_once(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(5, "EIO")
        real(handle)

    monkeypatch.setattr(os, "fsync", fail_once)
    for _ in range(2):
        with pytest.raises(TransferError):
            partial.sync()
    assert len(calls) == 1
    partial.close()
    target.close()


def test_only_a_new_file_that_nothing_was_done_to_needs_no_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    target = open_target_folder(grant(tmp_path), ())
    partials = {name: target.create_partial(name) for name in (b"empty", b"cut", b"written", b"left")}
    partials[b"cut"].truncate(0)
    partials[b"written"].write(0, [b"x"])
    identity = partials[b"left"].identity
    partials[b"left"].close()
    again = target.reopen_partial(b"left.partial", identity)
    assert again is not None
    partials[b"left"] = again
    inodes = {name: partial.identity.inode for name, partial in partials.items()}
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    for partial in partials.values():
        partial.sync()
        partial.close()
    assert synced == [inodes[name] for name in (b"cut", b"written", b"left")]
    target.close()


def test_a_partial_file_is_reopened_by_what_it_is(tmp_path: Path) -> None:
    target = open_target_folder(grant(tmp_path), ())
    partial = target.create_partial(b"a")
    identity = partial.identity
    partial.close()
    again = target.reopen_partial(b"a.partial", identity)
    assert again is not None
    again.close()
    assert target.reopen_partial(b"a.partial", FileId(identity.device, identity.inode + 1)) is None
    os.link(tmp_path / "a.partial", tmp_path / "second name")
    assert target.reopen_partial(b"a.partial", identity) is None
    target.close()


def test_denied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = open_target_folder(grant(tmp_path), ())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "EACCES")

    partial = target.create_partial(b"a")
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(TargetDenied):
        target.publish(partial, b"a", "replace")
    partial.close()
    target.close()


def test_a_small_source_is_read_checked_and_closed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"content")
    facts = path.stat()
    source = open_source(Granted(os.fsencode(path), facts.st_dev, facts.st_ino), ())
    source.read_at_once()
    path.write_bytes(b"something else")
    assert source.held == b"content"
    assert source.read(0, 7) == b"content"
    assert source.read(3, 2) == b"te"
    source.check()  # what was read was whole then
    with pytest.raises(SourceChanged):
        source.read(5, 10)


def test_a_small_source_that_changes_while_it_is_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"content")
    facts = path.stat()
    source = open_source(Granted(os.fsencode(path), facts.st_dev, facts.st_ino), ())
    read = os.pread

    def read_and_change(handle: int, length: int, offset: int) -> bytes:
        data = read(handle, length, offset)
        path.write_bytes(b"longer content")
        return data

    monkeypatch.setattr(os, "pread", read_and_change)
    with pytest.raises(SourceChanged):
        source.read_at_once()
    source.close()


def test_a_source_that_changes_is_noticed_long_before_its_end(tmp_path: Path) -> None:
    """REL-4: every 64 MiB, for the rest of a large file would be sent in vain."""
    path = tmp_path / "film"
    path.touch()
    os.truncate(path, 1024 * MIB)
    source = open_source(grant(path), ())
    try:
        source.read(0, 4 * MIB)
        with path.open("r+b") as file:  # its size stays
            file.write(b"changed")
        for read in range(4, 60, 4):
            source.read(read * MIB, 4 * MIB)
        with pytest.raises(SourceChanged):
            source.read(60 * MIB, 4 * MIB)
    finally:
        source.close()
