"""Uploads stop before the disk is full, however many there are."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from connect_helper.server.sftp import free_space
from connect_helper.server.sftp.packets import FLAG_CREAT, FLAG_WRITE, Status
from connect_helper.server.sftp.room import MIB
from tests.support.sftp_raw import raw_client
from tests.support.sftp_server import far_end

FILES = 8


async def test_many_files_together_stop_where_one_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_space, "LOOK_EVERY", 4 * MIB)
    async with far_end(tmp_path, keep_free=1e-9) as end, raw_client(end) as client:
        names = [b"film%d" % number for number in range(FILES)]
        handles = [await client.handle(client.open(name, FLAG_WRITE | FLAG_CREAT)) for name in names]
        for handle in handles:
            assert await client.status(client.write(handle, 0, b"x")) is Status.OK
        full = SimpleNamespace(f_bavail=0, f_blocks=1000, f_frsize=4096)
        monkeypatch.setattr(os, "fstatvfs", lambda _handle: full)
        written = 0
        for count in range(6):
            for handle in handles:
                status = await client.status(client.write(handle, count * MIB, bytes(MIB)))
                written += status is Status.OK
        assert written <= 4 + 1
