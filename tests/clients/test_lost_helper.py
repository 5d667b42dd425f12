"""The helper is killed while a page's upload runs, and started again: what page and server then hold.

The page is loaded again, as a user would: the SDK of this version, having found its helper at once, does not
search for it a second time.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from tests.support.official import World, sha256_of
from tests.support.person import AtThePages
from tests.support.sshd import PasswordServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024


async def gone(processes: list[psutil.Process]) -> None:
    """Wait until the processes have ended by themselves."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=10)
    assert not alive


async def test_an_upload_survives_the_death_of_the_helper(world: World, person: AtThePages) -> None:
    content = os.urandom(4 * MIB)
    source = world.helper.user_home / "long.bin"
    source.write_bytes(content)
    async with PasswordServer() as server, world.page() as page:
        await asyncio.gather(page.callbacks("showSelectFileDialog", {}, position=0), person.choose(source))
        spec = {
            "direction": "send",
            "remote_host": server.host,
            "ssh_port": server.port,
            "remote_user": server.user,
            "remote_password": server.password,
            "sshfp": sha256_of(server.host_key_line),
            "paths": [{"source": str(source)}],
            "destination_root": "/",
        }
        request_id = await page.start({**spec, "target_rate_kbps": 8000})
        await person.allow()
        await page.until("id => client.transfer(id)?.info.bytes_written > 500000", request_id)
        transfer_id = (await page.info(request_id))["uuid"]

        workers = psutil.Process(world.helper.pid).children(recursive=True)
        assert workers
        await world.helper.kill()
        await gone(workers)
        assert not (server.root / "long.bin").exists()
        partial = partial_size(server.root)
        assert 0 < partial < len(content)

        await world.helper.start()
        await page.open()  # the SDK keeps the app_id of the page
        shown = await page.status(request_id, "failed")  # the password was in memory only
        assert shown["uuid"] == transfer_id
        assert "sign in" in shown["error_desc"].lower()
        assert server.password not in journal(world.helper.home)

        fresh = {"remote_user": server.user, "remote_password": server.password}
        resumed, _ = await asyncio.gather(
            page.callbacks("resumeTransfer", transfer_id, fresh), person.allow()
        )
        assert resumed["value"]["transfer_spec"]["uuid"] == transfer_id
        await page.until("id => client.transfer(id).info.status === 'completed'", request_id)
        assert (server.root / "long.bin").read_bytes() == content
        assert partial_size(server.root) == 0


def partial_size(folder: Path) -> int:
    """Bytes of the partial file in `folder`, 0 when there is none."""
    return sum(path.stat().st_size for path in folder.glob("*.partial"))


def journal(home: Path) -> str:
    """Everything the helper keeps on disk, as text."""
    files = [path for folder in ("state", "run", "logs") for path in (home / folder).rglob("*")]
    return "\n".join(path.read_bytes().decode("latin-1") for path in files if path.is_file())
