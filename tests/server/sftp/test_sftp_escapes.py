"""No path a client can write, and no swapping on the disk, leads a session out of its docroot (SEC-14)."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.packets import FLAG_CREAT, FLAG_EXCL, FLAG_READ, FLAG_WRITE
from tests.support.escapes import NAMES_TRIED, THOROUGH, TIME_LIMIT_S
from tests.support.sftp_raw import NO_ATTRS, RawClient, raw_client, text
from tests.support.sftp_server import FarEnd

CANARY = b"nobody's business"
AT_ONCE = 25  # paths tried over one connection
PARTS = st.one_of(
    st.sampled_from(
        [b"..", b".", b"", b"in", b"out", b"far", b"canary", b"outside", b"root", b"proc", b"self", b"cwd",
         b"...", b"..\\..", b"%2e%2e", b"\xc0\xae\xc0\xae", b"..\0", b"etc", b"passwd", b"x.partial"]
    ),
    st.binary(min_size=1, max_size=5),
)  # fmt: skip
PATHS = st.builds(
    lambda lead, parts: lead + b"/".join(parts), st.sampled_from([b"", b"/"]), st.lists(PARTS, max_size=8)
)


def trap(end: FarEnd) -> Path:
    """A docroot full of links to the outside; returns the folder outside."""
    outside = end.folder / "outside"
    (outside / "in").mkdir(parents=True)
    outside.chmod(0o755)
    (outside / "canary").write_bytes(CANARY)
    (end.root / "in").mkdir()
    (end.root / "out").symlink_to("../outside")
    (end.root / "in/out").symlink_to("../../outside")
    (end.root / "far").symlink_to(outside)
    (end.root / "canary").symlink_to("../outside/canary")
    (end.root / "proc").symlink_to("/proc")
    return outside


async def try_all(client: RawClient, path: bytes) -> list[int]:
    """Ask for everything that can be done with a path, all at once."""
    name, mode = text(path), struct.pack(">II", packets.ATTR_MODE, 0o777)
    size = struct.pack(">IQ", packets.ATTR_SIZE, 0)
    numbers = [
        client.open(path, FLAG_READ),
        client.open(path, FLAG_WRITE | FLAG_CREAT),
        client.open(path + b"/new", FLAG_WRITE | FLAG_CREAT | FLAG_EXCL),
        client.ask(packets.STAT, name),
        client.ask(packets.OPENDIR, name),
        client.ask(packets.SETSTAT, name + mode),
        client.ask(packets.SETSTAT, name + size),
        client.ask(packets.MKDIR, text(path + b"/made") + NO_ATTRS),
        client.ask(packets.RENAME, text(b"/in/mine") + text(path + b"/mine")),
        client.ask(packets.RENAME, text(path + b"/canary") + text(b"/in/stolen")),
        client.ask(packets.REMOVE, text(path + b"/canary")),
        client.ask(packets.SYMLINK, text(path) + text(b"/in/link")),
        client.extended(b"statvfs@openssh.com", name),
        client.extended(b"check-file-name", name + text(b"sha256") + bytes(20)),
    ]
    for number in numbers:
        await client.answer(number)
    return numbers


def untouched(outside: Path) -> bool:
    names = sorted(path.name for path in outside.iterdir())
    return names == ["canary", "in"] and (outside / "canary").read_bytes() == CANARY


async def handles_lead_inside(client: RawClient, numbers: list[int]) -> bool:
    """Read what was opened, and close it."""
    for number in numbers:
        kind, body = client.answers[number]
        if kind == packets.HANDLE:
            handle = body[4:]
            read = client.read(handle, 0, 100)
            kind, data = await client.answer(read)
            if kind == packets.DATA and CANARY in data:
                return False
            await client.answer(client.ask(packets.CLOSE, text(handle)))
    return True


@pytest.fixture
def outside(end: FarEnd) -> Path:
    return trap(end)


@pytest.mark.timeout(TIME_LIMIT_S)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=NAMES_TRIED // AT_ONCE,
    database=None,
    derandomize=not THOROUGH,
)
@given(paths=st.lists(PATHS, min_size=AT_ONCE, max_size=AT_ONCE))
async def test_no_path_of_a_client_leads_outside(end: FarEnd, outside: Path, paths: list[bytes]) -> None:
    """`NAMES_TRIED` of them, 100,000 by `make fuzz`."""
    (end.root / "in/mine").touch()
    async with raw_client(end) as client:
        for path in paths:
            numbers = await try_all(client, path)
            assert await handles_lead_inside(client, numbers)
            client.answers.clear()
    assert untouched(outside)


async def test_swapping_a_folder_and_a_link_leads_nowhere(end: FarEnd, outside: Path) -> None:
    """SEC-14: on the server's disk a folder becomes a link to the outside and back, as fast as it goes."""
    (end.root / "real").mkdir()
    (end.root / "real/canary").write_bytes(b"inside")
    over = threading.Event()

    def swap() -> None:
        real, out, spare = end.root / "real", end.root / "out", end.root / "spare"
        while not over.is_set():
            real.rename(spare)
            out.rename(real)
            real.rename(out)
            spare.rename(real)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes] = set()
    try:
        async with raw_client(end) as client:
            for _ in range(40):
                numbers = [client.open(b"real/canary", FLAG_READ) for _ in range(10)]
                client.open(b"real/new", FLAG_WRITE | FLAG_CREAT)
                client.ask(packets.SETSTAT, text(b"real") + struct.pack(">II", packets.ATTR_MODE, 0o711))
                client.ask(packets.REMOVE, text(b"real/new"))
                for number in numbers:
                    kind, body = await client.answer(number)
                    if kind == packets.HANDLE:
                        seen.add(await client.data(client.read(body[4:], 0, 100)))
                        client.ask(packets.CLOSE, text(body[4:]))
    finally:
        over.set()
        swapping.join()
    assert seen == {b"inside"}
    assert untouched(outside)
    assert outside.stat().st_mode & 0o777 == 0o755
