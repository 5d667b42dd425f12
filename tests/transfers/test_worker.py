"""The worker process as the helper sees it: a pipe in, a pipe out, and an end to everything."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connect_helper.transfers.messages import Answer, Ended, Event, Progress, Question, SetRate, Start, Stop
from connect_helper.transfers.plan import HostKeys, Login
from connect_helper.transfers.wire import encode, parse_event
from connect_helper.transfers.worker import NICENESS
from tests.support.managing import until
from tests.support.sessions import download, noise, plan_for, upload
from tests.support.sshd import PasswordServer, SshServer

SIZE = 20_000_000
KBPS = 40_000


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


@pytest.fixture
def far(sshd: SshServer, tmp_path: Path) -> Path:
    folder = sshd.root / tmp_path.name
    folder.mkdir()
    return folder


class Helper:
    """The helper's side of one worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.written = 0

    def say(self, message: Start | Stop | SetRate | Answer) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode(message))

    async def next(self) -> Event:
        assert self.process.stdout is not None
        event = parse_event(await self.process.stdout.readline())
        if isinstance(event, Progress):
            self.written = event.bytes_written
        return event

    async def until_written(self, amount: int) -> None:
        while self.written < amount:
            assert not isinstance(await self.next(), Ended)

    async def ended(self) -> Ended:
        while not isinstance(event := await self.next(), Ended):
            pass
        return event

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@asynccontextmanager
async def worker() -> AsyncIterator[Helper]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "connect_helper.transfers.worker_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=8 * 1024 * 1024,
    )
    helper = Helper(process)
    try:
        async with asyncio.timeout(180):
            yield helper
    finally:
        if process.returncode is None:
            helper.close()
            async with asyncio.timeout(20):
                await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # or its pipes warn on the way out


async def test_sessions_run_one_after_the_other(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(noise(300_000))
    async with worker() as helper:
        for name in ("first", "second"):
            plan = plan_for(sshd, [upload(tmp_path / "film", far / name)], tmp_path / "resume")
            helper.say(Start(plan=plan))
            assert (await helper.ended()).outcome == "completed"
            assert (far / name).read_bytes() == noise(300_000)
        helper.close()
        assert await helper.process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processors are shared out like this on Linux only")
async def test_a_worker_gives_way_to_everybody_else() -> None:
    command = (sys.executable, "-P", "-m", "connect_helper.transfers.worker_process")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, start_new_session=True)
    try:
        nicer = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
        await until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == min(nicer, 19))
        group = Path(f"/proc/{process.pid}/autogroup")
        if group.exists():  # the kernel can share processors out among sessions
            await until(lambda: group.read_text().endswith(f"nice {NICENESS}\n"))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_what_comes_in_one_breath_with_the_start_counts(
    sshd: SshServer, far: Path, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(noise(300_000))
    plan = plan_for(sshd, [upload(tmp_path / "film", far / "film")], tmp_path / "resume", rate_kbps=1)
    async with worker() as helper:
        for message, outcome in ((Stop(), "stopped"), (SetRate(rate_kbps=None), "completed")):
            assert helper.process.stdin is not None
            helper.process.stdin.write(encode(Start(plan=plan)) + encode(message))
            assert (await helper.ended()).outcome == outcome


async def test_a_question_waits_for_its_answer(tmp_path: Path) -> None:
    (tmp_path / "film").write_text("x")
    async with PasswordServer() as server, worker() as helper:
        item = [upload(tmp_path / "film", "film")]
        plan = plan_for(server, item, tmp_path / "resume", host_keys=HostKeys())
        for accepted, outcome in ((False, "failed"), (True, "completed")):
            helper.say(Start(plan=plan))
            while not isinstance(question := await helper.next(), Question):
                pass
            assert server.auth_requests == []
            helper.say(Answer(question_id=question.question_id + 1, accepted=True))  # of nobody
            helper.say(Answer(question_id=question.question_id, accepted=accepted))
            assert (await helper.ended()).outcome == outcome


@pytest.mark.parametrize("direction", ["send", "receive"])
@pytest.mark.parametrize("end", ["stop", "kill", "eof"])
async def test_however_a_session_is_cut_short_it_goes_on_later(
    direction: str, end: str, sshd: SshServer, far: Path, tmp_path: Path
) -> None:
    content = noise(SIZE)
    near = tmp_path / "near"
    near.mkdir()
    source, target = (near / "film", far / "copy") if direction == "send" else (far / "film", near / "copy")
    source.write_bytes(content)
    item = [upload(source, target)] if direction == "send" else [download(source, near, "copy")]
    plan = plan_for(sshd, item, tmp_path / "resume", rate_kbps=KBPS)
    async with worker() as helper:
        helper.say(Start(plan=plan))
        await helper.until_written(8_000_000)
        if end == "kill":
            helper.process.send_signal(signal.SIGKILL)
            assert await helper.process.wait() == -signal.SIGKILL
        elif end == "eof":
            helper.close()
            assert await helper.process.wait() == 0
        else:
            helper.say(Stop())
            began = time.monotonic()
            assert (await helper.ended()).outcome == "stopped"
            assert time.monotonic() - began < 2
    assert not target.exists()
    assert target.with_name("copy.partial").stat().st_size > 1_000_000
    async with worker() as helper:
        helper.say(Start(plan=plan.model_copy(update={"rate_kbps": None})))
        while not helper.written:
            await helper.next()
        assert helper.written > 1_000_000  # what was there counts
        assert (await helper.ended()).outcome == "completed"
    assert target.read_bytes() == content
    assert not target.with_name("copy.partial").exists()


async def test_the_rate_changes_on_the_way(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(noise(SIZE))
    plan = plan_for(sshd, [upload(tmp_path / "film", far / "f")], tmp_path / "resume", rate_kbps=800)
    async with worker() as helper:
        helper.say(Start(plan=plan))  # 200 s at this rate
        await helper.until_written(1)
        helper.say(SetRate(rate_kbps=None))
        assert (await helper.ended()).outcome == "completed"


async def test_nonsense_is_logged_without_its_content(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    (tmp_path / "film").write_text("x")
    async with worker() as helper:
        assert helper.process.stdin is not None
        for line in (
            b"{nonsense canary-1",
            b'{"type": "start", "plan": {"login": "canary-2"}}',
            b"[" * 100_000,
        ):
            helper.process.stdin.write(line + b"\n")
        helper.say(Stop())  # of nothing
        secrets = {"password": "canary-3", "private_key": sshd.client_key}
        login = Login.model_validate({"user": "nobody", **secrets})
        plan = plan_for(sshd, [upload(tmp_path / "film", far / "f")], tmp_path / "resume", login=login)
        helper.say(Start(plan=plan))
        await helper.ended()
        helper.close()
        assert helper.process.stderr is not None
        log = (await helper.process.stderr.read()).decode()
    assert "is no command" in log
    for secret in ("canary-1", "canary-2", "canary-3", sshd.client_key.splitlines()[1]):
        assert secret not in log


async def test_names_that_are_no_utf8_go_through_the_pipe(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad-\xff"))
    source.write_text("x")
    async with worker() as helper:
        target = os.fsdecode(os.fsencode(far) + b"/bad-\xfe")
        helper.say(Start(plan=plan_for(sshd, [upload(source, target)], tmp_path / "resume")))
        assert (await helper.ended()).outcome == "completed"
    assert Path(target).read_text() == "x"


async def test_memory_does_not_grow_with_the_file(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    with (tmp_path / "film").open("wb") as file:
        file.truncate(300_000_000)
    async with worker() as helper:
        for item in (upload(tmp_path / "film", far / "f"), download(far / "f", tmp_path, "back")):
            helper.say(Start(plan=plan_for(sshd, [item], tmp_path / "resume")))
            ended = await helper.ended()
            assert ended.outcome == "completed", ended.message
        status = Path(f"/proc/{helper.process.pid}/status").read_text()
        peak_kib = int(status.split("VmHWM:")[1].split()[0])
        assert peak_kib < 200 * 1024
