"""A line that is cut at random places, and files that change while they are read (REL-3, 4, 5, 8, 9)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from connect_helper.transfers.session import Session
from tests.support.faults import SEED, Scene, told_on_failure
from tests.support.oracle import accounted_for, nothing_leaks
from tests.support.proxy import FaultProxy
from tests.support.sessions import Listener, download, noise, plan_for, run, upload

BOTH = pytest.mark.parametrize("direction", ["send", "receive"])
TRIES = 60  # sessions until a tree must have got through


def lay_out(scene: Scene, direction: str, files: dict[str, bytes]) -> tuple[object, dict[Path, Path]]:
    """A tree of `files` on the sending side: the item that brings it over, and what it is to become."""
    source, target = scene.near / "tree", scene.far / "in"
    if direction == "receive":
        source, target = scene.far / "tree", scene.near / "in"
    target.mkdir()
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    wanted = {target / "tree" / name: source / name for name in files}
    item = upload(source, target / "tree") if direction == "send" else download(source, target, "tree")
    return item, wanted


LARGE = {"film": noise(9_000_000)}
TREE = {f"d{number % 3}/{number}": noise(size, number) for number, size in enumerate([0, 1, 40_000] * 12)}
TREE |= {"film": noise(2_000_000)}


@BOTH
@pytest.mark.parametrize("files", [LARGE, TREE], ids=["large", "tree"])
async def test_a_line_cut_again_and_again_brings_everything_over_in_the_end(
    direction: str, files: dict[str, bytes], scene: Scene
) -> None:
    dice = random.Random(f"{SEED} {direction} {len(files)}")
    item, wanted = lay_out(scene, direction, files)
    oracle, total = scene.oracle(wanted), sum(map(len, files.values()))
    # At first within the hellos, then anywhere; two cuts at least let some of the data through.
    cuts = [dice.randrange(1, 4_000), dice.randrange(4_000, total // 2), *(
        dice.randrange(total // 4, total) for _ in range(2)
    )]  # fmt: skip
    with told_on_failure(cuts):
        async with nothing_leaks(), FaultProxy(scene.sshd.host, scene.sshd.port) as proxy:
            plan = plan_for(scene.sshd, [item], scene.resume, port=proxy.port, connections=2)
            for cut in cuts:
                proxy.up = proxy.down = 0
                proxy.cut_after = cut
                ended = await run(plan)
                oracle.at_any_moment()
                assert ended.outcome == "completed" or (ended.retryable and ended.message), ended
            proxy.cut_after = None
            listener = Listener()
            ended = await run(plan, listener)
            assert ended.outcome == "completed", ended
            accounted_for(listener.files().values(), len({name.rpartition("/")[2] for name in files}))
    oracle.whole()
    oracle.nothing_kept(scene.resume)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite_quietly(path: Path) -> None:
    """New content in the same file, its time of modification set back."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(noise(facts.st_size, 9))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file under the name, as most editors save."""
    facts = path.stat()
    other = path.with_name("other")
    other.write_bytes(noise(facts.st_size, 8))
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [append, cut_short, rewrite_quietly, replace, Path.unlink])
async def test_a_source_that_changes_while_it_is_sent_never_arrives_mixed(
    change: Callable[[Path], None], scene: Scene
) -> None:
    source, target = scene.near / "film", scene.far / "film"
    source.write_bytes(noise(4_000_000))
    possible = [source.read_bytes()]
    plan = plan_for(scene.sshd, [upload(source, target)], scene.resume, rate_kbps=64_000)
    listener = Listener()
    task = asyncio.create_task(Session(plan, listener).run())
    await listener.until(lambda: listener.written() > 500_000)
    change(source)
    ended = await task
    if source.exists():
        possible.append(source.read_bytes())
    if target.exists():
        assert target.read_bytes() in possible
        assert target.read_bytes() == possible[-1] or change is replace
    if ended.outcome == "completed":
        assert target.exists()
    else:
        assert ended.code in ("source_changed", "source_missing")
        assert ended.message.endswith(".")
        assert not target.exists()
    accounted_for(listener.files().values(), 1)
