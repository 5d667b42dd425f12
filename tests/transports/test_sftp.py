"""The SFTP transport by itself: servers without extensions, folders made in parallel, odd answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from connect_helper.errors import (
    AlreadyExists,
    ContentError,
    LengthMismatch,
    SourceMissing,
    TargetIsFolder,
    TargetNotFolder,
)
from connect_helper.spec.names import partial_name
from connect_helper.transports.base import BlockHashes, ReceiveItem
from tests.support.sessions import noise
from tests.support.sshd import PasswordServer, SshServer
from tests.support.transports import Memory, open_transport, sending

PLAIN = "internal-sftp -P posix-rename,fsync,statvfs,fstatvfs,limits,lsetstat"


@pytest.fixture(scope="module", params=["stock", "without extensions"])
def sshd(request: pytest.FixtureRequest) -> Iterator[SshServer]:
    with SshServer(sftp="" if request.param == "stock" else PLAIN) as server:
        yield server


@pytest.mark.parametrize("size", [0, 1, 32_768, 261_120, 261_121, 3_000_000])
async def test_files_of_every_size_go_up_and_come_down(sshd: SshServer, tmp_path: Path, size: int) -> None:
    content, name = noise(size), str(sshd.root / f"{tmp_path.name}").encode()
    async with open_transport(sshd) as transport:
        item, counts = sending(content, name)
        await transport.send(item)
        assert sum(counts) == item.done.offset == size
        facts = await transport.facts(name)
        assert facts is not None
        target = Memory()
        fetched: list[int] = []
        back = ReceiveItem(name, size, facts.mtime_ns, target, 0, BlockHashes("sha256"), fetched.append)
        await transport.receive(back)
        assert sum(fetched) == size
        assert bytes(target.content) == content
        assert back.hashes.digest() == item.hashes.digest()
        assert (
            await transport.digest(name, "sha256", size, expected=item.hashes.digest())
            == item.hashes.digest()
        )
        assert await transport.digest(name, "sha256", size, expected="0" * 64) == item.hashes.digest()


async def test_publishing_replaces_or_refuses(sshd: SshServer, tmp_path: Path) -> None:
    folder = sshd.root / tmp_path.name
    folder.mkdir()
    (folder / "there").write_text("old")
    (folder / "folder").mkdir()
    name = str(folder).encode()
    async with open_transport(sshd) as transport:
        for target, how, error in (
            (b"/new", "fresh", None),
            (b"/there", "fresh", AlreadyExists),
            (b"/there", "replace", None),
            (b"/folder", "replace", TargetIsFolder),
        ):
            (folder / "p").write_text("new")
            if error is None:
                await transport.publish(name + b"/p", name + target, how)
                assert (folder / target.decode()[1:]).read_text() == "new"
            else:
                with pytest.raises(error):
                    await transport.publish(name + b"/p", name + target, how)
        with pytest.raises(AlreadyExists):
            await transport.send(sending(b"x", name + b"/there")[0])
        assert (folder / "there").read_text() == "new"


async def test_a_file_is_replaced_whatever_its_name_and_what_is_left_beside_it(
    sshd: SshServer, tmp_path: Path
) -> None:
    folder = sshd.root / tmp_path.name
    folder.mkdir()
    for target in ("n" * 255, "é" * 127, "film"):
        partial = os.fsdecode(partial_name(os.fsencode(target)))
        (folder / partial).write_text("new")
        (folder / target).write_text("old")
    (folder / "film.partial.old").write_text("left by a session that was killed")
    async with open_transport(sshd) as transport:
        for target in ("n" * 255, "é" * 127, "film"):
            path = os.fsencode(folder / target)
            partial_path = os.fsencode(folder) + b"/" + partial_name(os.fsencode(target))
            await transport.publish(partial_path, path, "replace")
            assert (folder / target).read_text() == "new"
    assert {path.name for path in folder.iterdir()} == {"n" * 255, "é" * 127, "film", "film.partial.old"}
    assert (folder / "film.partial.old").read_text().startswith("left")


async def test_folders_are_made_by_many_at_once(sshd: SshServer, tmp_path: Path) -> None:
    base = str(sshd.root / tmp_path.name).encode()
    (sshd.root / (tmp_path.name + "-file")).write_text("x")
    async with open_transport(sshd) as first, open_transport(sshd) as second:
        paths = [base + b"/a/b/" + str(number % 5).encode() for number in range(20)]
        async with asyncio.TaskGroup() as group:
            for path in paths:
                group.create_task(first.make_folder(path))
                group.create_task(second.make_folder(path + b"/"))
        assert len(list((sshd.root / tmp_path.name / "a" / "b").iterdir())) == 5
        with pytest.raises(TargetNotFolder):
            await first.make_folder(base + b"-file/below")


async def test_what_is_not_there_is_said(sshd: SshServer) -> None:
    missing = str(sshd.root / "missing").encode()
    async with open_transport(sshd) as transport:
        assert await transport.facts(missing) is None
        await transport.remove(missing)
        with pytest.raises(SourceMissing):
            await transport.read_ranges(missing, [(0, 1)])
        with pytest.raises(SourceMissing):
            async for _entry in transport.scan(missing, links="follow"):
                pass
        with pytest.raises(LengthMismatch):
            await transport.digest(missing, "sha256", 5, expected="")


async def test_ranges_end_where_the_file_ends(sshd: SshServer, tmp_path: Path) -> None:
    content, path = noise(700_000), sshd.root / tmp_path.name
    path.write_bytes(content)
    async with open_transport(sshd) as transport:
        ranges = [(0, 10), (100, 600_000), (699_990, 100), (800_000, 5)]
        found = await transport.read_ranges(str(path).encode(), ranges)
    assert found == [content[offset : offset + length] for offset, length in ranges]


@pytest.mark.parametrize("size", [50_000, 500_000])  # in one request, in several
@pytest.mark.parametrize("trick", ["short", "long"])
async def test_a_server_that_answers_with_fewer_or_more_bytes(trick: str, size: int, tmp_path: Path) -> None:
    content = noise(size)

    class Tricky(asyncssh.SFTPServer):
        def read(self, file_obj: object, offset: int, length: int) -> bytes:
            if trick == "short":
                return content[offset : offset + min(length, 1 + offset % 7_000)]
            return content[offset : offset + length] + b"more"

    path = tmp_path / "film"
    path.write_bytes(content)
    async with PasswordServer(sftp=Tricky) as server, open_transport(server) as transport:
        name = str(path).encode()
        facts = await transport.facts(name)
        assert facts is not None
        target = Memory()
        item = ReceiveItem(name, len(content), facts.mtime_ns, target, 0, BlockHashes(), lambda _count: None)
        if trick == "short":
            await transport.receive(item)
            assert bytes(target.content) == content
        else:
            with pytest.raises(ContentError):
                await transport.receive(item)


async def test_silence_counts_only_while_an_answer_is_owed(sshd: SshServer) -> None:
    async with open_transport(sshd) as transport:
        await transport.facts(b"/")
        assert transport.silent_s == 0
        task = asyncio.create_task(transport.facts(b"/"))
        await asyncio.sleep(0)
        assert transport.silent_s >= 0
        await task
        assert transport.silent_s == 0


async def test_what_is_told_as_sent_can_be_gone_on_from_when_sending_is_cancelled(
    sshd: SshServer, tmp_path: Path
) -> None:
    """But for less than a piece between two places to go on from."""
    item, counts = sending(noise(4_000_000), bytes(tmp_path / "film.partial"))
    far = asyncio.Event()

    def count(amount: int) -> None:
        counts.append(amount)
        if sum(counts) > 1_000_000:
            far.set()

    item.sink = count
    async with open_transport(sshd) as transport:
        transport._limiter.set_rate(16_000)
        task = asyncio.create_task(transport.send(item))
        async with asyncio.timeout(20):
            await far.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sum(counts) - 256 * 1024 < item.done.offset <= sum(counts) < 2_000_000
