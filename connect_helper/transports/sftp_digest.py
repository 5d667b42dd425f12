"""Asks a program on the server for the digest of a file, where its shell is open to us.

The command line is constant: the path goes through standard input to `xargs`, so that no name is ever
read by a shell (SEC-17, SEC-25). Any trouble means "no answer", and the caller reads the file back.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import asyncssh

from connect_helper.transports.proof import patience_s

_log = logging.getLogger(__name__)

# Names of hashlib to the programs of GNU coreutils and busybox.
PROGRAMS: Final = {
    "md5": "md5sum",
    "sha1": "sha1sum",
    "sha256": "sha256sum",
    "sha384": "sha384sum",
    "sha512": "sha512sum",
}
ANSWER_LIMIT: Final = 16 * 1024  # bytes
_ANSWER: Final = re.compile(rb"\\?([0-9a-f]{32,128})[ \t]")


async def program_digest(
    connection: asyncssh.SSHClientConnection, path: bytes, algorithm: str, length: int
) -> str:
    """Hex digest of the file at `path` as a program of the server computes it; "" when there is none."""
    program = PROGRAMS.get(algorithm)
    if program is None or b"\0" in path:
        return ""
    # A relative path means the login folder to both SFTP and the shell; "./" keeps "-" off the options.
    name = path if path.startswith(b"/") else b"./" + path
    try:
        async with asyncio.timeout(patience_s(length)):
            answer = await _run(connection, f"exec xargs -0 -n 1 {program}", name + b"\0")
    except (asyncssh.Error, OSError, TimeoutError) as error:
        _log.info("no digest by a program of the server: %s", error)
        return ""
    found = _ANSWER.match(answer)
    return found.group(1).decode("ascii") if found else ""


async def _run(connection: asyncssh.SSHClientConnection, command: str, data: bytes) -> bytes:
    process = await connection.create_process(command, encoding=None, stderr=asyncssh.DEVNULL)
    try:
        process.stdin.write(data)
        process.stdin.write_eof()
        answer: bytes = await process.stdout.read(ANSWER_LIMIT)
        return answer
    finally:
        process.close()
