"""An upload that was killed goes on under another token for the same folder, or anew: it never fails.

What the first token left is closed to the second, who may be somebody else; over HTTP uploads belong to the
account, so there the second goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.far_server import FarServer, far_server, user
from tests.support.sessions import noise
from tests.support.token_uploads import cut_short, plan, run

SIZE = 24_000_001
ENOUGH = 8_000_000  # bytes after which the first session is ended
YOUNG = 300_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FarServer]:
    folder = tmp_path / "server"
    ann = user("ann", folder / "files", upload="token", download="token", overwrite="deny", browse=False)
    (folder / "files/in").mkdir()
    async with far_server(folder, ann) as running:
        yield running


def port(server: FarServer, way: str) -> int:
    return (server.running.ssh_port if way == "sftp" else server.running.https_port) or 0


@pytest.mark.parametrize("way", ["sftp", "https"])
@pytest.mark.parametrize("what", ["a record", "too young for a record", "another source"])
async def test_a_killed_upload_goes_on_or_anew_with_a_new_token(
    way: str, what: str, server: FarServer, tmp_path: Path
) -> None:
    source, arrived = tmp_path / "film", server.folder / "files/in/film"
    source.write_bytes(noise(SIZE))
    slow = plan(
        server.folder, port(server, way), way, source, rate_kbps=16_000 if "young" in what else 100_000
    )
    await cut_short(slow, YOUNG if "young" in what else ENOUGH)
    if "young" in what:
        for record in Path(slow.resume_folder).glob("*.json"):
            record.unlink()  # a killed process leaves none
    if what == "another source":
        source.write_bytes(noise(SIZE, 7))
    left = {path: path.read_bytes() for path in arrived.parent.iterdir()}
    assert left
    ended, told = await run(plan(server.folder, port(server, way), way, source))
    assert (ended.outcome, told) == ("completed", ""), ended
    assert arrived.read_bytes() == source.read_bytes()
    if way == "sftp":
        assert {path: path.read_bytes() for path in arrived.parent.iterdir() if path != arrived} == left
