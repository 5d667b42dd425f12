"""Running dialog programs: limits, cancelling, character sets."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from connect_helper.errors import Unavailable
from connect_helper.picking.programs import find_program, run_program, utf8_environment


async def run_python(source: str, *arguments: str, **more: object) -> tuple[int, bytes]:
    argv = [sys.executable, "-c", source, *arguments]
    finished = await run_program(argv, environment=os.environ, **more)  # type: ignore[arg-type]
    return finished.code, finished.output


def running_sources(source: str) -> list[int]:
    """The children of this process that still run the program `source`."""
    return [child.pid for child in psutil.Process().children() if source in child.cmdline()]


async def test_output_code_and_input_come_through() -> None:
    source = "import sys; print(sys.stdin.read() + sys.argv[1]); sys.exit(3)"
    assert await run_python(source, "$(x) `y` \\", stdin=b"in ") == (3, b"in $(x) `y` \\\n")


async def test_names_that_are_no_utf8_pass_both_ways() -> None:
    source = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    assert await run_python(source, os.fsdecode(b"bad\xff")) == (0, b"bad\xff")


async def test_a_program_that_reads_no_input_is_no_trouble() -> None:
    assert (await run_python("pass", stdin=b"x" * 1_000_000))[0] == 0


async def test_too_much_output_is_refused_and_the_program_ended() -> None:
    source = "while True: print('x' * 1000)"
    with pytest.raises(Unavailable):
        await run_python(source, output_limit=10_000)
    assert not running_sources(source)


async def test_much_complaining_does_not_block() -> None:
    source = "import sys; sys.stderr.write('x' * 1_000_000); print('done')"
    assert await run_python(source) == (0, b"done\n")


async def test_cancelling_kills_the_program(tmp_path: Path) -> None:
    started = tmp_path / "started"
    source = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    running = asyncio.create_task(run_python(source, str(started)))
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(started.exists):  # noqa: ASYNC110 - another program makes it
            await asyncio.sleep(0.02)
    assert running_sources(source)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not running_sources(source)


@pytest.mark.parametrize("argv", [["/nonexistent/zenity"], [sys.executable, "a\0b"]])
async def test_what_cannot_be_started_is_unavailable(argv: list[str]) -> None:
    with pytest.raises(Unavailable):
        await run_program(argv, environment={})


def test_programs_are_not_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "connect-helper-planted"
    planted.write_text("#!/bin/sh\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_program(planted.name) is None
    assert find_program("sh") in {"/usr/bin/sh", "/bin/sh"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"LANG": "de_DE.UTF-8"}, {"LANG": "de_DE.UTF-8"}),
        ({"LC_ALL": "C.utf8"}, {"LC_ALL": "C.utf8"}),
        ({}, {"LC_CTYPE": "C.UTF-8"}),
        ({"LANG": "de_DE"}, {"LANG": "de_DE", "LC_CTYPE": "C.UTF-8"}),
        ({"LC_ALL": "C"}, {"LANG": "C", "LC_CTYPE": "C.UTF-8"}),
        ({"LC_CTYPE": "C", "LANG": "en_US.UTF-8"}, {"LC_CTYPE": "C.UTF-8", "LANG": "en_US.UTF-8"}),
    ],
)
def test_programs_write_names_in_utf8(given: dict[str, str], expected: dict[str, str]) -> None:
    assert utf8_environment(given) == expected
