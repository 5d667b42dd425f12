"""What a session may do: with a token exactly its paths in its direction, else the account's rights."""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest
from asyncssh.sftp import FXF_WRITE

from connect_helper.server.sftp import packets
from tests.support.sftp_raw import raw_client, text
from tests.support.sftp_server import FarEnd

Act = Callable[[asyncssh.SFTPClient], Awaitable[object]]
REFUSED = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPNoSuchFile, asyncssh.SFTPFailure)


@pytest.fixture
def tree(end: FarEnd) -> Path:
    """`in/film`, `in/deep/film`, `inside` (a name that begins alike), `other/film`, links between them."""
    root = end.root
    (root / "in/deep").mkdir(parents=True)
    (root / "other").mkdir()
    for name in ("in/film", "in/deep/film", "inside", "other/film"):
        (root / name).write_bytes(name.encode())
    (root / "in/link").symlink_to("../other/film")
    (root / "in/link-folder").symlink_to("../other")
    return root


def snapshot(root: Path) -> dict[str, bytes | str]:
    """Every file, folder and link below, with its content."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


async def read(client: asyncssh.SFTPClient, path: str) -> bytes:
    async with client.open(path, "rb") as file:
        return await file.read()


async def write(client: asyncssh.SFTPClient, path: str, content: bytes = b"new") -> None:
    async with client.open(path, "wb") as file:
        await file.write(content)


def names(listing: object) -> set[str]:
    return set(listing) - {".", ".."}  # type: ignore[call-overload, no-any-return]


async def test_a_download_token_shows_its_paths_and_the_way_to_them(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("receive", "in/deep", "other/film")) as client:
        assert await read(client, "in/deep/film") == b"in/deep/film"
        assert await read(client, "other/film") == b"other/film"
        assert names(await client.listdir("/")) == {"in", "other"}
        assert names(await client.listdir("in")) == {"deep"}
        assert names(await client.listdir("in/deep")) == {"film"}
        assert (await client.stat("in")).permissions is not None


MISSING = ["in/film", "inside", "in/deeper", "in/deep/../film", "in/link", "missing"]


@pytest.mark.parametrize("path", MISSING)
async def test_what_a_token_does_not_name_does_not_exist(end: FarEnd, tree: Path, path: str) -> None:
    async with end.client(end.token("receive", "in/deep")) as client:
        acts: list[Awaitable[object]] = [
            read(client, path),
            client.stat(path),
            client.lstat(path),
            client.listdir(path),
            client.readlink(path),
        ]
        for act in acts:
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await act


async def test_a_link_does_not_lead_past_a_token(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("receive", "in")) as client:
        assert names(await client.listdir("in")) == {"film", "deep"}
        for path in ("in/link", "in/link-folder", "in/link-folder/film"):
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await read(client, path)


WRITING: dict[str, Act] = {
    "write over": lambda c: write(c, "in/film"),
    "write new": lambda c: write(c, "in/new"),
    "append": lambda c: c.open("in/film", "ab"),
    "partial": lambda c: write(c, "in/film.partial"),
    "mkdir": lambda c: c.mkdir("in/new"),
    "remove": lambda c: c.remove("in/film"),
    "rmdir": lambda c: c.rmdir("in/deep"),
    "rename": lambda c: c.rename("in/film", "in/gone"),
    "posix rename": lambda c: c.posix_rename("in/film", "in/deep/film"),
    "truncate": lambda c: c.truncate("in/film", 0),
    "chmod": lambda c: c.chmod("in/film", 0o600),
    "times": lambda c: c.utime("in/film", (1, 1)),
    "link": lambda c: c.symlink("film", "in/new"),
    "hard link": lambda c: c.link("in/film", "in/new"),
}


@pytest.mark.parametrize("act", WRITING.values(), ids=WRITING)
async def test_a_download_token_changes_nothing(end: FarEnd, tree: Path, act: Act) -> None:
    before = snapshot(tree)
    async with end.client(end.token("receive", "in")) as client:
        with pytest.raises((*REFUSED, asyncssh.SFTPOpUnsupported)):
            await act(client)
    assert snapshot(tree) == before


async def test_an_upload_token_brings_files_below_its_folder(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("send", "in")) as client:
        await client.mkdir("in/fresh")
        await write(client, "in/fresh/film.partial", b"whole")
        await client.posix_rename("in/fresh/film.partial", "in/fresh/film")
        await client.utime("in/fresh/film", (5, 6))
        assert (await client.stat("in/fresh/film")).size == 5
    assert (tree / "in/fresh/film").read_bytes() == b"whole"
    assert (tree / "in/fresh/film").stat().st_mtime == 6


ESCAPING: dict[str, Act] = {
    "write outside": lambda c: write(c, "other/new"),
    "alike": lambda c: write(c, "inside"),
    "by dots": lambda c: write(c, "in/../other/new"),
    "through a link": lambda c: write(c, "in/link-folder/new"),
    "over a link": lambda c: write(c, "in/link"),
    "rename out": lambda c: c.rename("in/film.partial", "other/new"),
    "rename in": lambda c: c.rename("other/film", "in/new"),
    "posix rename out": lambda c: c.posix_rename("in/film.partial", "other/film"),
    "remove": lambda c: c.remove("in/film"),
    "remove outside": lambda c: c.remove("other/film"),
    "rename another's": lambda c: c.rename("in/film", "in/gone"),
    "link out": lambda c: c.symlink("../other", "in/way"),
    "copy in": lambda c: c.remote_copy("other/film", "in/new"),
    "read": lambda c: read(c, "in/film"),
    "read and write": lambda c: c.open("in/film", "r+b"),
    "mkdir outside": lambda c: c.mkdir("new"),
    "chmod outside": lambda c: c.chmod("other/film", 0o777),
    "stat outside": lambda c: c.stat("other/film"),
    "list the top": lambda c: c.listdir("other"),
}


@pytest.mark.parametrize("act", ESCAPING.values(), ids=ESCAPING)
async def test_an_upload_token_reaches_nothing_else(end: FarEnd, tree: Path, act: Act) -> None:
    (tree / "in/film.partial").write_bytes(b"part")
    before = snapshot(tree)
    async with end.client(end.token("send", "in")) as client:
        with pytest.raises((*REFUSED, asyncssh.SFTPOpUnsupported)):
            await act(client)
    after = snapshot(tree)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"in/new"}, "a copy may leave an empty file that is the token's own"


async def test_an_upload_token_for_exact_files(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("send", "in", destinations=("in/one", "in/two"))) as client:
        await write(client, "in/one.partial")
        await client.posix_rename("in/one.partial", "in/one")
        await write(client, "in/two")
        for path in ("in/three", "in/one.other", "in/oneself"):
            with pytest.raises(REFUSED):
                await write(client, path)
        with pytest.raises(REFUSED):
            await client.rename("in/one", "in/three")
    assert {"one", "two"} <= {path.name for path in (tree / "in").iterdir()}


FOREIGN: dict[str, Act] = {
    "write": lambda c: write(c, "in/.bob.bin.partial"),
    "append": lambda c: c.open("in/.bob.bin.partial", "ab"),
    "write in between": lambda c: c.open("in/.bob.bin.partial", FXF_WRITE),
    "truncate": lambda c: c.truncate("in/.bob.bin.partial", 0),
    "chmod": lambda c: c.chmod("in/.bob.bin.partial", 0o777),
    "times": lambda c: c.utime("in/.bob.bin.partial", (1, 1)),
    "remove": lambda c: c.remove("in/.bob.bin.partial"),
    "rename": lambda c: c.rename("in/.bob.bin.partial", "in/mine"),
    "publish": lambda c: c.posix_rename("in/.bob.bin.partial", "in/bob.bin"),
    "replace": lambda c: replaced(c, "in/.bob.bin.partial"),
}


async def digest(end: FarEnd, token: str, path: str, start: int = 0, length: int = 0) -> bytes | None:
    """The SHA-256 that the server computes over a part of a file; None where it refuses."""
    part = struct.pack(">QQI", start, length, 0)
    async with raw_client(end, token=token) as client:
        number = client.extended(b"check-file-name", text(path.encode()) + text(b"sha256") + part)
        kind, body = await client.answer(number)
    return body[-32:] if kind == packets.EXTENDED_REPLY else None


async def replaced(client: asyncssh.SFTPClient, path: str) -> None:
    await write(client, "in/mine.partial")
    try:
        await client.posix_rename("in/mine.partial", path)
    finally:
        await client.remove("in/mine.partial")


@pytest.mark.parametrize("overwrite", ["allow", "deny"])
@pytest.mark.parametrize("act", FOREIGN.values(), ids=FOREIGN)
async def test_a_token_has_no_part_in_what_others_are_bringing(
    end: FarEnd, tree: Path, act: Act, overwrite: str
) -> None:
    """Many people may hold tokens for one folder: what one is bringing is nobody else's business."""
    end.change(overwrite=overwrite)
    async with end.client(end.token("send", "in")) as client:
        await write(client, "in/.bob.bin.partial", b"secret")
    before = snapshot(tree)
    async with end.client(end.token("send", "in")) as client:
        with pytest.raises(asyncssh.SFTPError):
            await act(client)
    assert snapshot(tree) == before


async def test_a_token_learns_nothing_of_what_others_are_bringing(end: FarEnd, tree: Path) -> None:
    """The digest of one byte is that byte: asked one by one, they were the whole file."""
    mine, other = end.token("send", "in"), end.token("send", "in")
    async with end.client(mine) as client:
        await write(client, "in/.bob.bin.partial", b"secret")
    assert await digest(end, mine, "in/.bob.bin.partial", 1, 1) == hashlib.sha256(b"e").digest()
    for name in ("in/.bob.bin.partial", "in/film"):
        assert await digest(end, other, name, 1, 1) is None
        assert await digest(end, other, name) is None


async def test_a_token_goes_on_with_what_it_brings_itself(end: FarEnd, tree: Path) -> None:
    end.change(overwrite="deny", may_delete=False)
    token = end.token("send", "in")
    async with end.client(token) as client:
        for name in ("one", "two"):
            await write(client, f"in/{name}.partial", b"ha")
    async with end.client(token) as client:
        assert await digest(end, token, "in/one.partial") == hashlib.sha256(b"ha").digest()
        async with client.open("in/one.partial", "ab") as file:
            await file.write(b"lf")
        await client.utime("in/one.partial", (5, 6))
        await client.posix_rename("in/one.partial", "in/one")
        await client.remove("in/two.partial")
    assert (tree / "in/one").read_bytes() == b"half"
    assert not (tree / "in/two.partial").exists()


async def test_tokens_for_one_exact_file_share_its_unfinished_one(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("send", "in", destinations=("in/one",))) as client:
        await write(client, "in/one.partial", b"half")
    token = end.token("send", "in", destinations=("in/one",))
    assert await digest(end, token, "in/one.partial") == hashlib.sha256(b"half").digest()
    async with end.client(token) as client:
        await client.posix_rename("in/one.partial", "in/one")
    assert (tree / "in/one").read_bytes() == b"half"


async def test_the_name_of_an_unfinished_file_gives_no_right_to_change_it(end: FarEnd, tree: Path) -> None:
    """An account that may neither replace nor delete keeps to it, whatever files and folders are called."""
    end.change(overwrite="deny", may_delete=False)
    (tree / "in/season.part").mkdir()
    (tree / "in/film.part").write_bytes(b"film")
    before = snapshot(tree)
    async with end.client() as client:
        acts: tuple[Act, ...] = (
            lambda c: write(c, "in/film.part"),
            lambda c: c.truncate("in/film.part", 0),
            lambda c: c.remove("in/film.part"),
            lambda c: c.rename("in/film.part", "in/gone"),
            lambda c: c.rmdir("in/season.part"),
            lambda c: c.rename("in/season.part", "in/gone"),
        )
        for act in acts:
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await act(client)
    assert snapshot(tree) == before


async def test_a_tampered_token_opens_nothing(end: FarEnd) -> None:
    good = end.token("receive", "in")
    for bad in (good[:-2], good[:-1] + ("A" if good[-1] != "A" else "B"), good + "A"):
        with pytest.raises(asyncssh.PermissionDenied):
            async with end.client(bad):
                pass


async def test_an_account_that_keeps_what_is_there(end: FarEnd, tree: Path) -> None:
    """overwrite = "deny": new files come in, under any way clients have, and nothing of before changes."""
    end.change(overwrite="deny")
    before = snapshot(tree)
    async with end.client() as client:
        for act in (
            lambda: write(client, "in/film"),
            lambda: client.open("in/film", "r+b"),
            lambda: client.open("in/film", "ab"),
            lambda: client.truncate("in/film", 1),
            lambda: client.chmod("in/film", 0o600),
        ):
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await act()
        await write(client, "in/new.partial", b"whole")
        with pytest.raises(asyncssh.SFTPFailure):
            await client.posix_rename("in/new.partial", "in/film")
        await client.posix_rename("in/new.partial", "in/new")
        await client.utime("in/new", (7, 7))  # what it brought itself it may finish
    assert {name: content for name, content in snapshot(tree).items() if name in before} == before
    assert (tree / "in/new").read_bytes() == b"whole"


@pytest.mark.parametrize(
    "act",
    [
        lambda c, link: c.truncate(link, 0),
        lambda c, link: c.chmod(link, 0o600),
        lambda c, link: c.utime(link, (1, 1)),
        lambda c, link: write(c, link),
        lambda c, link: c.open(link, FXF_WRITE),
        lambda c, link: c.open(link, "ab"),
    ],
    ids=["truncate", "chmod", "times", "write over", "write in between", "append"],
)
@pytest.mark.parametrize("link", ["in/link.new", "in/link.partial"])
async def test_a_link_of_ones_own_does_not_lead_to_what_is_there_already(
    end: FarEnd, tree: Path, act: Callable[[asyncssh.SFTPClient, str], Awaitable[object]], link: str
) -> None:
    """Nor does the mark of who brought a file, which it keeps, once the file has its final name."""
    async with end.client() as client:
        await write(client, "in/done.partial", b"done")
        await client.rename("in/done.partial", "in/done")
    end.change(overwrite="deny", may_delete=False)
    before, facts = snapshot(tree), (tree / "in/done").stat()
    async with end.client() as client:
        await client.symlink(link, "done")  # the library sends them in the draft's order, not in OpenSSH's
        assert (tree / link).is_symlink()
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await act(client, link)
        await client.remove(link)
    assert snapshot(tree) == before
    assert (facts.st_mode, facts.st_mtime) == (
        (tree / "in/done").stat().st_mode,
        (tree / "in/done").stat().st_mtime,
    )


async def test_properties_of_files_folders_and_what_links_lead_to(end: FarEnd, tree: Path) -> None:
    """What may be replaced is changed through links too, as any server does."""
    async with end.client() as client:
        await client.setstat("in/link", asyncssh.SFTPAttrs(size=2, permissions=0o640, atime=7, mtime=7))
        await client.chmod("in/deep", 0o750)
        await client.utime("in/link-folder", (9, 9))
        with pytest.raises(asyncssh.SFTPFailure):
            await client.truncate("in/deep", 0)
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.chmod("in/missing", 0o600)
    film, other = (tree / "other/film").stat(), (tree / "other").stat()
    assert (film.st_size, film.st_mode & 0o777, film.st_mtime) == (2, 0o640, 7)
    assert (tree / "in/deep").stat().st_mode & 0o777 == 0o750
    assert other.st_mtime == 9


async def test_an_account_without_the_right_to_delete(end: FarEnd, tree: Path) -> None:
    end.change(may_delete=False)
    async with end.client() as client:
        for act in (
            lambda: client.remove("in/film"),
            lambda: client.rmdir("in/deep"),
            lambda: client.rename("in/film", "in/gone"),
        ):
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await act()
        await write(client, "in/mine")
        await client.rename("in/mine", "in/still-mine")
        await client.remove("in/still-mine")
    assert (tree / "in/film").exists()
    assert not (tree / "in/still-mine").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "unfinished"])
async def test_a_folder_of_ones_own_is_not_moved_with_what_others_brought_into_it(
    end: FarEnd, tree: Path, kind: str
) -> None:
    async with end.client(end.token("send", "in")) as client, end.client(end.token("send", "in")) as other:
        for folder in ("in/show", "in/show/one"):
            await client.mkdir(folder)
        await write(client, "in/show/one/film")
        await client.rename("in/show", "in/series")
        if kind == "folder":
            await other.mkdir("in/series/one/theirs")
        else:
            await write(other, f"in/series/one/theirs{'.partial' * (kind == 'unfinished')}")
        before = snapshot(tree)
        for act in (client.rename, client.posix_rename):
            with pytest.raises(REFUSED):
                await act("in/series", "in/again")
        assert snapshot(tree) == before


@pytest.mark.parametrize("by_token", [True, False])
@pytest.mark.parametrize("stays", [True, False])
async def test_a_folder_of_ones_own_is_moved_with_what_came_by_a_second_connection(
    end: FarEnd, tree: Path, by_token: bool, stays: bool
) -> None:
    """As programs do that bring several files side by side."""
    end.change(overwrite="deny", may_delete=False)
    token = end.token("send", "in") if by_token else ""
    async with end.client(token) as client, AsyncExitStack() as stack:
        other = await stack.enter_async_context(end.client(token))
        await client.mkdir("in/show")
        await other.mkdir("in/show/one")
        await write(other, "in/show/one/film")
        await write(other, "in/show/one/next.partial")
        if not stays:
            await stack.aclose()
        await client.rename("in/show", "in/series")
        await client.posix_rename("in/series", "in/again")
        with pytest.raises(REFUSED):
            await client.remove("in/again/one/film")
    assert (tree / "in/again/one/film").exists()


@pytest.mark.parametrize("kind", ["whole", "unfinished"])
async def test_an_account_moves_its_folder_but_not_with_what_a_token_is_bringing(
    end: FarEnd, tree: Path, kind: str
) -> None:
    end.change(may_delete=False)
    async with end.client() as client, end.client(end.token("send", "in")) as other:
        await client.mkdir("in/show")
        (tree / "in/show/.DS_Store").write_text("put there on the server")
        (tree / "in/show/old.partial").write_text("put there on the server")
        await write(other, f"in/show/film{'.partial' * (kind == 'unfinished')}")
        if kind == "whole":
            await client.rename("in/show", "in/series")
        else:
            with pytest.raises(REFUSED):
                await client.rename("in/show", "in/series")
    assert (tree / "in/series").exists() == (kind == "whole")


async def test_a_folder_of_ones_own_may_be_moved_as_often_as_one_likes(end: FarEnd, tree: Path) -> None:
    async with end.client(end.token("send", "in")) as client:
        for folder in ("in/show", "in/show/one"):
            await client.mkdir(folder)
        await write(client, "in/show/one/film.partial")
        await client.rename("in/show", "in/series")
        await client.posix_rename("in/series/one/film.partial", "in/series/one/film")
        await client.rename("in/series", "in/again")
        await client.remove("in/again/one/film")
        await client.rmdir("in/again/one")
        await client.rmdir("in/again")
    assert not (tree / "in/again").exists()


async def test_what_took_the_place_of_ones_own_is_not_ones_own(end: FarEnd, tree: Path) -> None:
    """Hard links stand in for new files that got the inode of the old ones."""
    end.change(overwrite="deny", may_delete=False)
    async with end.client() as client:
        await client.mkdir("mine")
        for name in ("removed", "moved", "mine/film"):
            await write(client, name, b"mine")
        (tree / "kept").hardlink_to(tree / "removed")
        await client.remove("removed")
        await client.rename("moved", "there")
        await client.rename("mine", "yours")
        (tree / "mine").mkdir()
        (tree / "removed").hardlink_to(tree / "kept")
        (tree / "moved").hardlink_to(tree / "there")
        (tree / "mine/film").hardlink_to(tree / "yours/film")
        for name in ("removed", "moved", "mine/film"):
            for act in (lambda c, n: c.truncate(n, 0), write, lambda c, n: c.remove(n)):
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await act(client, name)
        await client.utime("there", (5, 6))
        assert (tree / "there").read_bytes() == b"mine"


async def test_a_new_file_with_the_inode_of_ones_own_is_not_ones_own(end: FarEnd, tree: Path) -> None:
    end.change(overwrite="deny", may_delete=False)
    async with end.client() as client:
        await write(client, "in/mine", b"mine")
        inode = (tree / "in/mine").stat().st_ino
        (tree / "in/mine").unlink()
        (tree / "in/mine").write_bytes(b"theirs")
        if (tree / "in/mine").stat().st_ino != inode:
            pytest.skip("this file system does not use an inode again at once")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await write(client, "in/mine", b"mine")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await client.remove("in/mine")
    assert (tree / "in/mine").read_bytes() == b"theirs"


async def test_one_direction_only(end: FarEnd, tree: Path) -> None:
    end.change(upload="deny", may_write=False)
    async with end.client() as client:
        assert await read(client, "in/film") == b"in/film"
        for act in WRITING.values():
            with pytest.raises((*REFUSED, asyncssh.SFTPOpUnsupported)):
                await act(client)
    end.change(upload="allow", may_write=True, download="deny", may_read=False)
    async with end.client() as client:
        await write(client, "in/new")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await read(client, "in/film")


async def test_a_token_is_checked_beyond_the_account(end: FarEnd, tree: Path) -> None:
    token = end.token("receive", "in")
    end.change(download="deny")
    with pytest.raises(asyncssh.PermissionDenied):
        async with end.client(token):
            pass


async def test_a_cancelled_session_loses_its_connection(end: FarEnd, tree: Path) -> None:
    async with end.client() as client:
        await client.listdir("/")
        end.sessions.cancel_all()
        with pytest.raises((asyncssh.SFTPError, OSError)):
            await client.listdir("/")


async def test_a_token_for_thousands_of_files_opens_them(end: FarEnd, tree: Path) -> None:
    names = [secrets.token_hex(16) for _ in range(2000)]
    token = end.token("receive", "in/film", *names)
    assert len(token) > 30_000
    async with end.client(token) as client:
        assert await read(client, "in/film") == b"in/film"
