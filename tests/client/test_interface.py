"""`from connect_helper import send, receive`, against a real server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from connect_helper import (
    Policies,
    Progress,
    Receipt,
    TransferFailed,
    areceive,
    asend,
    receive,
    send,
)
from connect_helper.errors import HostNotFound, InvalidRequest, SourceMissing, TargetError, UnsafeName
from tests.support.sessions import noise
from tests.support.sshd import SshServer


def test_it_sends_and_receives(tmp_path: Path, sshd: SshServer, key: Path, address: str) -> None:
    (tmp_path / "film").write_bytes(noise(400_000))
    heard: list[Progress] = []
    files: list[Receipt] = []
    result = send(
        tmp_path / "film",
        f"{address}/in",
        key=key,
        host_key=sshd.fingerprint,
        policies=Policies(checksum="sha-256"),
        on_progress=heard.append,
        on_file=files.append,
    )
    assert result.ok
    assert (result.direction, result.files_done, result.bytes_written) == ("send", 1, 400_000)
    assert (sshd.root / "in" / "film").read_bytes() == noise(400_000)
    assert result.receipts == tuple(files)
    assert (files[0].state, files[0].proof, files[0].size) == ("done", "digest", 400_000)
    assert files[0].digest.startswith("sha-256:")
    assert heard[0].phase == "connecting"
    assert (heard[-1].phase, heard[-1].bytes_written, heard[-1].files_done) == ("running", 400_000, 1)

    back = receive(f"{address}/in/film", tmp_path / "out", key=str(key), host_key="accept-new")
    assert (back.direction, back.files_done) == ("receive", 1)
    assert back.receipts[0].proof == "size"
    assert (tmp_path / "out" / "film").read_bytes() == noise(400_000)


async def test_several_sources_and_names_of_their_own(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    login: Any = {"key": key, "host_key": "accept-new"}
    assert (await asend([tmp_path / "a", str(tmp_path / "b")], address, **login)).files_done == 2
    assert (await asend({tmp_path / "a": "c", tmp_path / "b": "d"}, address, **login)).files_done == 2
    assert sorted(path.name for path in sshd.root.iterdir()) == ["a", "b", "c", "d"]
    assert (await areceive({f"{address}/c": "x", f"{address}/d": "y"}, tmp_path / "out", **login)).ok
    assert (tmp_path / "out" / "x").read_text() == "a"
    assert (tmp_path / "out" / "y").read_text() == "b"


async def test_a_link_that_is_named_is_followed_and_lends_its_name(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to("real")
    await asend(tmp_path / "link", address, key=key, host_key="accept-new")
    assert (sshd.root / "link").read_text() == "text"


async def test_a_server_never_seen_is_refused_unless_told_otherwise(
    tmp_path: Path, home: Path, sshd: SshServer, key: Path, address: str
) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(TransferFailed) as caught:
        await asend(tmp_path / "a", address, key=key)
    assert caught.value.reason == "host_key_unknown"
    assert caught.value.result.refused
    await asend(tmp_path / "a", address, key=key, host_key="accept-new")
    assert sshd.host_key_line in (home / "state" / "known_hosts").read_text()
    assert (await asend(tmp_path / "a", address, key=key)).files_skipped == 1


async def test_a_failed_file_is_told_by_an_error_or_by_the_result(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (sshd.root / "b").mkdir()
    sources = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(TransferFailed) as caught:
        await asend(sources, address, key=key, host_key="accept-new")
    result = await asend(sources, address, key=key, host_key="accept-new", check=False)
    for one in (caught.value.result, result):
        assert (one.outcome, one.code, one.files_failed, one.refused) == (
            "failed", "target_is_folder", 1, False,
        )  # fmt: skip
    assert [receipt.code for receipt in result.receipts if receipt.state == "failed"] == ["target_is_folder"]


async def test_what_is_wrong_is_said_before_anything_is_sent(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    (tmp_path / "a").write_text("a")
    source = tmp_path / "a"
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (InvalidRequest, {"key": None}),
        (InvalidRequest, {"key": tmp_path / "none"}),
        (InvalidRequest, {"password": "pa\udcdfwort"}),
        (InvalidRequest, {"key_passphrase": "pa\udcdfwort"}),
        (InvalidRequest, {"host_key": "MD5:aa"}),
        (InvalidRequest, {"rate_kbps": 0}),
        (InvalidRequest, {"retries": -1}),
        (InvalidRequest, {"rate": 1_000}),  # an option of the command line
        (InvalidRequest, {"overwrite": "always"}),  # one of the policies
        *((InvalidRequest, {"connections": number}) for number in (0, 129, True, "4")),
        (InvalidRequest, {"policies": {"overwrite": "perhaps"}}),
        (InvalidRequest, {"policies": {"no_such_policy": True}}),
        (InvalidRequest, {"policies": {"newer_than_s": 100.0, "older_than_s": 200.0}}),
        (InvalidRequest, {"policies": Policies(exclude_patterns=("[a",))}),
        (InvalidRequest, {"overwrite": "none"}),
        (InvalidRequest, {"remove_after_transfers": True}),
    ]
    for error, options in cases:
        with pytest.raises(error):
            await asend(source, address, **{"key": key, "host_key": "accept-new", **options})
    with pytest.raises(SourceMissing):
        await asend(tmp_path / "none", address, key=key)
    with pytest.raises(InvalidRequest):
        await asend([], address, key=key)
    for nothing in ("", [source, ""], {"": "a"}):
        with pytest.raises(InvalidRequest, match="empty"):
            await asend(nothing, address, key=key)
    with pytest.raises(InvalidRequest, match="empty"):
        await areceive(f"{address}/a", "", key=key)
    with pytest.raises(UnsafeName):
        await asend({source: "../b"}, address, key=key)
    with pytest.raises(HostNotFound):
        await asend(source, "ssh://no-such-host.invalid/in", key=key)
    with pytest.raises(InvalidRequest):
        await areceive([f"{address}/a", "ssh://other.example/a"], tmp_path, key=key)
    with pytest.raises(TargetError):
        await areceive(f"{address}/a", source, key=key)
    assert list(sshd.root.iterdir()) == []


async def test_where_a_loop_runs_send_and_receive_say_what_to_use_there(tmp_path: Path, address: str) -> None:
    with pytest.raises(RuntimeError, match=r"await asend\(\) there"):
        send(tmp_path, address)
    with pytest.raises(RuntimeError, match=r"await areceive\(\) there"):
        receive(address, tmp_path)


async def test_cancelled_it_stops_in_good_order_and_goes_on_the_next_time(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    (tmp_path / "film").write_bytes(noise(9_000_000))
    far = asyncio.Event()

    def look(progress: Progress) -> None:
        if progress.bytes_written > 2_000_000:
            far.set()

    login: Any = {"key": key, "host_key": "accept-new"}
    task = asyncio.create_task(asend(tmp_path / "film", address, rate_kbps=16_000, on_progress=look, **login))
    async with asyncio.timeout(30):
        await far.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [path.name for path in sshd.root.iterdir()] == ["film.partial"]
    heard: list[Progress] = []
    assert (await asend(tmp_path / "film", address, rate_kbps=40_000, on_progress=heard.append, **login)).ok
    assert next(one.bytes_written for one in heard if one.bytes_written) > 1_500_000
    assert (sshd.root / "film").read_bytes() == noise(9_000_000)


async def test_an_error_of_the_callers_own_ends_the_transfer(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    (tmp_path / "film").write_bytes(noise(9_000_000))

    def look(progress: Progress) -> None:
        if progress.bytes_written:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await asend(
            tmp_path / "film", address, key=key, host_key="accept-new", rate_kbps=16_000, on_progress=look
        )
    assert not (sshd.root / "film").exists()


async def test_the_secrets_show_in_no_repr(tmp_path: Path, sshd: SshServer, key: Path, address: str) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(TransferFailed) as caught:
        await asend(tmp_path / "a", address, password="hunter2", host_key="accept-new")
    assert caught.value.reason == "auth_failed"
    assert "hunter2" not in repr(caught.value) + repr(caught.value.result) + str(caught.value)


async def test_a_name_that_is_no_utf8_is_carried_as_it_is(
    tmp_path: Path, sshd: SshServer, key: Path, address: str
) -> None:
    odd = os.fsencode(tmp_path) + b"/f\xff"
    Path(os.fsdecode(odd)).write_text("odd")
    await asend(os.fsdecode(odd), address, key=key, host_key="accept-new")
    assert os.listdir(os.fsencode(sshd.root)) == [b"f\xff"]  # noqa: PTH208 - bytes are wanted
    await areceive(f"{address}/f%FF", tmp_path / "out", key=key)
    assert (tmp_path / "out" / os.fsdecode(b"f\xff")).read_text() == "odd"
