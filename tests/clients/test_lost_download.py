"""The helper is killed while a page's download runs, and started again: what the user's folder holds then."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh
import psutil
import pytest

from tests.support.official import World, sha256_of
from tests.support.person import AtThePages
from tests.support.sshd import PasswordServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024


class NotedReads:
    """An SFTP server of the test, which notes how many bytes were read of its files."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.server = PasswordServer(sftp=self._sftp)

    def _sftp(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        notes = self

        class Noting(asyncssh.SFTPServer):
            def read(self, file_obj: object, offset: int, size: int) -> bytes:
                data = super().read(file_obj, offset, size)
                assert isinstance(data, bytes)
                notes.bytes_read += len(data)
                return data

        return Noting(channel, chroot=os.fsencode(self.server.root))


async def test_a_download_survives_the_death_of_the_helper(world: World, person: AtThePages) -> None:
    content = os.urandom(4 * MIB)
    noted = NotedReads()
    final = world.helper.downloads / "film.bin"
    async with noted.server as server, world.page() as page:
        (server.root / "film.bin").write_bytes(content)
        spec = {
            "direction": "receive",
            "remote_host": server.host,
            "ssh_port": server.port,
            "remote_user": server.user,
            "remote_password": server.password,
            "sshfp": sha256_of(server.host_key_line),
            "paths": [{"source": "/film.bin"}],
        }
        request_id = await page.start({**spec, "target_rate_kbps": 8000})
        await person.allow()
        await page.until("id => client.transfer(id)?.info.bytes_written > 1000000", request_id)
        transfer_id = (await page.info(request_id))["uuid"]

        workers = psutil.Process(world.helper.pid).children(recursive=True)
        assert workers
        await world.helper.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=10)
        assert not alive
        assert not final.exists()
        (partial,) = partials(world.helper.downloads)
        kept = partial.read_bytes()
        assert len(kept) >= MIB // 2
        assert content.startswith(kept)

        await world.helper.start()
        await page.open()  # the SDK keeps the app_id of the page
        shown = await page.status(request_id, "failed")  # the password was in memory only
        assert shown["uuid"] == transfer_id
        assert "sign in" in shown["error_desc"].lower()
        assert not final.exists()
        assert partials(world.helper.downloads) == [partial]

        noted.bytes_read = 0
        fresh = {"remote_user": server.user, "remote_password": server.password}
        resuming = page.callbacks("resumeTransfer", transfer_id, fresh)
        resumed, _ = await asyncio.gather(resuming, person.allow())  # the user's yes ended with the helper
        assert resumed["value"]["transfer_spec"]["uuid"] == transfer_id
        await page.until("id => client.transfer(id).info.status === 'completed'", request_id)
        assert final.read_bytes() == content
        assert partials(world.helper.downloads) == []
        # What was kept is not fetched again, but for the pieces by which both ends are compared.
        assert noted.bytes_read < len(content) - len(kept) // 2


async def test_a_download_over_an_existing_file_leaves_it_alone_when_the_helper_dies(
    world: World, person: AtThePages
) -> None:
    content, older = os.urandom(4 * MIB), b"what the user had before"
    final = world.helper.downloads / "report.bin"
    final.write_bytes(older)
    async with PasswordServer() as server, world.page() as page:
        (server.root / "report.bin").write_bytes(content)
        request_id = await page.start(
            {
                "direction": "receive",
                "remote_host": server.host,
                "ssh_port": server.port,
                "remote_user": server.user,
                "remote_password": server.password,
                "sshfp": sha256_of(server.host_key_line),
                "paths": [{"source": "/report.bin"}],
                "overwrite": "always",
                "target_rate_kbps": 8000,
            }
        )
        await person.allow()
        await page.until("id => client.transfer(id)?.info.bytes_written > 500000", request_id)
        await world.helper.kill()
        assert final.read_bytes() == older
        assert len(partials(world.helper.downloads)) == 1
    await world.helper.start()
    assert final.read_bytes() == older


def partials(folder: Path) -> list[Path]:
    """Unfinished files in `folder`."""
    return sorted(folder.glob("*.partial"))
