"""Another account of the same computer gets nothing of a helper, not even a ping.

A page in that account's browser takes the refusal for "not here" and goes on to its own user's port. Needs
root, or `sudo` without a password, to be somebody else for a moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.helper import Helper

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://portal.example"
WAIT_S = 20.0

# Runs with the system's own Python, since another account may not be able to read this one.
CLIENT = """
import http.client, json, os, sys
port, method, path, body = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
line.request(method, path, body or None, {"Origin": "https://portal.example"})
answer = line.getresponse()
print(json.dumps({"uid": os.getuid(), "status": answer.status, "text": answer.read().decode(),
                  "origin": answer.getheader("Access-Control-Allow-Origin")}))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def helper(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Helper]:
    async with Helper.running(tmp_path_factory.mktemp("home")) as running:
        yield running


async def ask(program: list[str], helper: Helper, method: str, path: str, body: str) -> dict[str, Any]:
    """One request by a program of its own: {"uid", "status", "text", "origin"}."""
    process = await asyncio.create_subprocess_exec(
        *program, "-I", "-c", CLIENT, str(helper.port), method, path, body,
        cwd="/", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(WAIT_S):
        output, _ = await process.communicate()
    answer: dict[str, Any] = json.loads(output)
    return answer


def python() -> str:
    found = shutil.which("python3", path=os.defpath)
    assert found, "The system has no python3."
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_account() -> list[str]:
    """The start of a command that runs Python as nobody."""
    nobody = pwd.getpwnam("nobody").pw_uid
    if os.getuid() == 0:
        command = ["setpriv", f"--reuid={nobody}", "--clear-groups", "--no-new-privs"]
    else:
        command = ["sudo", "-n", "-u", "nobody"]
    try:
        process = await asyncio.create_subprocess_exec(*command, "true", stderr=asyncio.subprocess.DEVNULL)
        possible = await process.wait() == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("nobody else can be played here: no root, and no sudo without a password")
    return [*command, python()]


REQUESTS = [
    ("GET", "/v5/connect/info/ping", ""),
    ("GET", "/v6/connect/info/version", ""),
    ("OPTIONS", "/v5/connect/transfers/start", ""),
    ("POST", "/v5/connect/transfers/activity", '{"aspera_connect_settings": {"app_id": "a"}}'),
    ("POST", "/v5/connect/windows/select-open-file-dialog/", '{"aspera_connect_settings": {"app_id": "a"}}'),
    ("GET", "/sdk/connect.js", ""),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=[path for _, path, _ in REQUESTS])
async def test_another_account_is_refused(
    helper: Helper, other_account: list[str], method: str, path: str, body: str
) -> None:
    answer = await ask(other_account, helper, method, path, body)
    assert answer["uid"] != os.getuid()
    assert answer["status"] == 403
    error = json.loads(answer["text"])["error"]
    assert "another user" in error["user_message"]
    assert answer["origin"] == ORIGIN  # or the other user's page would take its own helper for gone
    assert helper.addresses() == []


async def test_the_same_program_of_our_own_account_is_answered(helper: Helper) -> None:
    answer = await ask([python()], helper, "GET", "/v5/connect/info/ping", "")
    assert answer == {"uid": os.getuid(), "status": 200, "text": "{}", "origin": ORIGIN}
