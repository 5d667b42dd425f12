"""Partial files have an owner and an end (REL-20)."""

from __future__ import annotations

import asyncio

import pytest

from connect_helper.transfers.session import Session
from connect_helper.transfers.state import Status
from tests.support.faults import Scene
from tests.support.managing import reaches, until
from tests.support.oracle import nothing_leaks
from tests.support.sessions import Listener, download, noise, plan_for, run, upload

SIZE = 6_000_000
ENOUGH = 2_500_000  # bytes after which something is certain, and the record says so


@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_a_partial_file_too_young_for_a_record_is_known_again_after_a_kill(
    direction: str, scene: Scene
) -> None:
    source, target = scene.near / "film", scene.far / "in" / "film"
    if direction == "receive":
        source, target = scene.far / "film", scene.near / "in" / "film"
    source.write_bytes(noise(SIZE))
    target.parent.mkdir()
    item = upload(source, target) if direction == "send" else download(source, target.parent, "film")
    slow = plan_for(scene.sshd, [item], scene.resume, rate_kbps=16_000)
    listener = Listener()
    session = Session(slow, listener)
    task = asyncio.create_task(session.run())
    await listener.until(lambda: listener.written() > 300_000)
    session.stop()
    await task
    for record in scene.resume.glob("*.json"):
        record.unlink()  # a killed process leaves none
    assert target.with_name("film.partial").exists()
    assert (await run(plan_for(scene.sshd, [item], scene.resume))).outcome == "completed"
    assert [path.name for path in target.parent.iterdir()] == ["film"]
    assert target.read_bytes() == source.read_bytes()
    scene.oracle({target: source}).nothing_kept(scene.resume)


async def test_a_removed_upload_takes_its_partial_file_off_the_server(scene: Scene) -> None:
    item, wanted = scene.upload("film", noise(SIZE))
    (target,) = wanted
    partial = target.with_name("film.partial")
    async with nothing_leaks(), scene.manager() as transfers:
        transfer = await transfers.submit(scene.request(item, rate_kbps=16_000))
        await until(lambda: transfer.bytes_written > ENOUGH)
        await transfers.stop(transfer.id)
        assert partial.exists()
        await transfers.remove(transfer.id)
        await until(lambda: not partial.exists())
        await until(lambda: not list(scene.resume.glob("*.json")))
    assert list(target.parent.iterdir()) == []


async def test_what_somebody_put_in_the_place_of_a_partial_file_stays(scene: Scene) -> None:
    item, wanted = scene.upload("film", noise(SIZE))
    (target,) = wanted
    partial = target.with_name("film.partial")
    async with scene.manager() as transfers:
        transfer = await transfers.submit(scene.request(item, rate_kbps=16_000))
        await until(lambda: transfer.bytes_written > ENOUGH)
        await transfers.stop(transfer.id)
        partial.write_bytes(noise(SIZE, 7))
        await transfers.remove(transfer.id)
        await until(lambda: not list(scene.resume.glob("*.json")))
    assert partial.read_bytes() == noise(SIZE, 7)


async def test_without_a_login_it_is_said_what_stays_on_the_server(scene: Scene) -> None:
    item, wanted = scene.upload("film", noise(SIZE))
    (target,) = wanted
    async with scene.manager() as transfers:
        transfer = await transfers.submit(scene.request(item, rate_kbps=16_000))
        await until(lambda: transfer.bytes_written > ENOUGH)
    async with scene.manager() as transfers:
        transfer = transfers.get(transfer.id)
        assert transfer.status is Status.FAILED  # the key is gone with the first run of the program
        await transfers.remove(transfer.id)
        assert transfer.note.startswith("Unfinished files stay on the server: ")
        assert "film.partial" in transfer.note
    assert target.with_name("film.partial").exists()
    assert list(scene.resume.glob("*.json")) == []


async def test_a_transfer_that_never_ran_is_removed_without_a_word(scene: Scene) -> None:
    item, _ = scene.upload("film", b"content")
    async with scene.manager() as transfers:
        transfer = await transfers.submit(scene.request(item, port=1))
        await reaches(transfer, Status.WILL_RETRY, Status.FAILED)
        await transfers.remove(transfer.id)
        assert transfer.note == ""
