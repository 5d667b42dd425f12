"""Running the small programs that show dialogs (zenity, kdialog, osascript, PowerShell).

No shell is ever involved, the program is named by its absolute path, and what a page wrote reaches it
only as data: behind `--option=`, on standard input or in the environment.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import Unavailable

# Where dialog programs live. The PATH of the user's shell is not asked: a program planted in a writable
# folder of it would be shown every password typed into our dialogs.
PROGRAM_FOLDERS: Final = (
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/run/current-system/sw/bin",
)
OUTPUT_LIMIT: Final = 16 * 1024 * 1024  # bytes; 100,000 chosen files with long paths stay below
_ENDED_BY_SOMEONE: Final = frozenset(
    {-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT, -getattr(signal, "SIGHUP", 1)}
)


@dataclass(frozen=True, slots=True, repr=False)
class Finished:
    """How a program ended. No repr: the output may hold a password."""

    code: int  # exit code; negative: the signal that ended it
    output: bytes
    complaints: bytes  # standard error, at most 64 KiB of it

    @property
    def closed_from_outside(self) -> bool:
        """Somebody ended the program, which is one way to close a dialog."""
        return self.code in _ENDED_BY_SOMEONE


def find_program(name: str, folders: Sequence[str] = PROGRAM_FOLDERS) -> str | None:
    """The absolute path of a program of the system, None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join(folders))


async def run_program(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    output_limit: int = OUTPUT_LIMIT,
) -> Finished:
    """Run `argv` to its end and return what it said.

    Cancelling the call kills the program. Raises Unavailable when it cannot be started or says more than
    `output_limit` bytes.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C in the terminal of the helper is not meant for the dialog
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise Unavailable("The dialog could not be shown.", internal_message=f"{argv[0]}: {error}") from error
    try:
        return await _collect(process, stdin, output_limit)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _collect(process: asyncio.subprocess.Process, stdin: bytes, limit: int) -> Finished:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise Unavailable("The dialog could not be shown.", internal_message="no pipes")
    async with asyncio.TaskGroup() as group:
        said = group.create_task(_read(process.stdout, limit, too_much=process.kill), name="dialog output")
        complaints = group.create_task(_read(process.stderr, 65_536), name="dialog errors")
        group.create_task(_feed(process.stdin, stdin), name="dialog input")
    if len(said.result()) > limit:
        raise Unavailable("The dialog program gave more than can be a choice of files.")
    return Finished(await process.wait(), said.result(), complaints.result()[:65_536])


async def _read(
    pipe: asyncio.StreamReader, limit: int, *, too_much: Callable[[], None] = lambda: None
) -> bytes:
    """Read to the end, keep one byte more than `limit`, drop the rest; calls `too_much` when there is any."""
    kept = bytearray()
    while block := await pipe.read(65_536):
        within = len(kept) <= limit
        kept += block[: limit + 1 - len(kept)]
        if within and len(kept) > limit:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                too_much()
    return bytes(kept)


async def _feed(pipe: asyncio.StreamWriter, data: bytes) -> None:
    try:
        pipe.write(data)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # a program that does not read its input is free to do so


def utf8_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with a UTF-8 character set, the language as it was.

    GTK and Qt programs write names in the character set of the locale; in the C locale every letter
    beyond ASCII would come back as a question mark.
    """
    changed = dict(environment)
    effective = changed.get("LC_ALL") or changed.get("LC_CTYPE") or changed.get("LANG") or "C"
    if "utf-8" in effective.lower() or "utf8" in effective.lower():
        return changed
    if language := changed.pop("LC_ALL", ""):
        changed.setdefault("LANG", language)
    changed["LC_CTYPE"] = "C.UTF-8"
    return changed
