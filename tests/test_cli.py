"""The command, as a process: one helper per user, found again, ended cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncssh
import pytest

from connect_helper import cli
from connect_helper.api.listening import DESKTOP_PORTS
from tests.support.helper import COMMAND, Helper


@pytest.fixture
async def helper(tmp_path: Path) -> AsyncIterator[Helper]:
    async with Helper.running(tmp_path / "home") as running:
        yield running


async def command(home: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run connect-helper; return exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        *arguments,
        env={**os.environ, "CONNECT_HELPER_HOME": str(home), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_address_is_recorded_for_pages_and_programs(helper: Helper) -> None:
    record = helper.home / "run" / "http.uri"
    address, key = record.read_text().splitlines()
    assert address == helper.base_url
    assert 33003 <= helper.port <= 33022
    assert len(key) >= 32
    for name in ("http.uri", "control.json"):
        assert stat.S_IMODE((helper.home / "run" / name).stat().st_mode) == 0o600


async def test_sec_01_it_listens_on_loopback_only(helper: Helper) -> None:
    table = Path(f"/proc/{helper.pid}/net/tcp").read_text().splitlines()[1:]
    descriptors = Path(f"/proc/{helper.pid}/fd").iterdir()
    sockets = {str(entry.readlink()) for entry in descriptors if entry.is_symlink()}
    rows = [line.split() for line in table]
    addresses = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert len(addresses) == 3
    assert all(address.startswith("0100007F:") for address in addresses)


async def test_a_second_one_says_where_the_first_runs(helper: Helper) -> None:
    code, _, said = await command(helper.home, "run")
    assert code == 3
    assert helper.base_url in said


async def test_status_tells_where_and_what(helper: Helper) -> None:
    code, said, _ = await command(helper.home, "status")
    assert code == 0
    assert helper.base_url in said
    code, said, _ = await command(helper.home, "status", "--json")
    facts = json.loads(said)
    assert code == 0
    assert set(facts) >= {"version", "transfers"}


async def test_open_opens_the_window_signed_in(helper: Helper) -> None:
    browser = helper.home / "browser"
    code, _, _ = await command(helper.home, "open", BROWSER=str(browser))
    assert code == 0
    address = await helper.opened("#code=")
    window, _, code_text = address.partition("/#code=")
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{window}/api/session", json={"code": code_text}) as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["token"]


async def test_stop_ends_it_and_removes_the_records(helper: Helper) -> None:
    code, said, _ = await command(helper.home, "stop")
    assert (code, said.strip()) == (0, "connect-helper has ended.")
    assert not (helper.home / "run" / "http.uri").exists()
    assert (await command(helper.home, "status"))[0] == 4
    assert (await command(helper.home, "stop"))[0] == 4


async def test_sigterm_ends_it_cleanly(helper: Helper) -> None:
    assert await helper.stop() == 0
    assert not (helper.home / "run" / "http.uri").exists()
    assert "Traceback" not in helper.output()


async def test_what_a_killed_one_left_behind_does_not_count(helper: Helper) -> None:
    await helper.kill()
    assert (helper.home / "run" / "http.uri").exists()
    assert (await command(helper.home, "status"))[0] == 4
    await helper.start()
    assert (await command(helper.home, "status"))[0] == 0


@pytest.mark.parametrize("held", [DESKTOP_PORTS, DESKTOP_PORTS[:1]])
async def test_it_runs_without_the_desktops_port_and_says_so(tmp_path: Path, held: range) -> None:
    with contextlib.ExitStack() as holders:
        for port in held:
            holders.enter_context(socket.create_server(("127.0.0.1", port)))
        async with Helper.running(tmp_path / "home") as helper:
            facts = json.loads((await command(helper.home, "status", "--json"))[1])
            free = [port for port in DESKTOP_PORTS if port not in held]
            assert facts["desktop"] == (f"http://127.0.0.1:{free[0]}" if free else "")
            assert f"Port {DESKTOP_PORTS[0]} is held by" in helper.output()
            assert f"look for port {DESKTOP_PORTS[0]} and do not find this helper" in helper.output()


async def test_the_desktops_port_is_told(helper: Helper) -> None:
    address = f"http://127.0.0.1:{DESKTOP_PORTS[0]}"
    assert f"{address}   (for the Aspera SDK)" in (await command(helper.home, "status"))[1]
    assert f"{address}   (for the Aspera SDK)" in helper.output()
    async with aiohttp.ClientSession() as http:
        call = {"jsonrpc": "2.0", "id": 1, "method": "get_info", "params": []}
        async with http.post(address, json=call) as answer:
            assert (await answer.json())["result"]["version"]


async def test_a_launch_makes_a_session_known_and_a_page_cannot(helper: Helper) -> None:
    record = json.loads((helper.home / "run" / "control.json").read_text())
    launched, session = f"{record['window']}/api/control/launched", {"app_id": "a", "session_id": "s-1"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "verify_session", "params": session}
    async with aiohttp.ClientSession() as http:

        async def verified() -> bool:
            async with http.post(record["desktop"], json=call) as answer:
                known: bool = (await answer.json())["result"]["result"]
                return known

        async with http.post(launched, json=session) as refused:
            assert refused.status == 401
        assert not await verified()
        key = {"Authorization": f"Bearer {record['key']}"}
        async with http.post(launched, json={"app_id": "a"}, headers=key) as incomplete:
            assert incomplete.status == 400
        async with http.post(launched, json=session, headers=key) as taken:
            assert taken.status == 200
        assert await verified()


async def test_it_takes_the_next_port_when_one_is_held(tmp_path: Path) -> None:
    async with Helper.running(tmp_path / "first") as first:
        port = first.port
        await first.stop()
        with socket.create_server(("127.0.0.1", port)):
            await first.start()
            assert first.port > port
            async with asyncio.timeout(10):  # it answers pages before it has looked the holder up
                while f"Port {port} is held by" not in first.output():  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.05)


async def test_an_open_request_is_answered_before_it_ends(helper: Helper) -> None:
    async with aiohttp.ClientSession() as http:
        asked = time.monotonic()
        polls = [http.get(f"{helper.base_url}/v5/connect/info/ping") for _ in range(5)]
        os.kill(helper.pid, signal.SIGTERM)
        answers = await asyncio.gather(*polls, return_exceptions=True)
        assert time.monotonic() - asked < 5
        for answer in answers:
            if isinstance(answer, aiohttp.ClientResponse):
                assert answer.status == 200
                answer.release()


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    code, _, said = await command(tmp_path / "home", "run")
    assert code == 1
    assert "cannot be made" in said
    assert "Traceback" not in said


REFUSED_AT = "ssh://ana@127.0.0.1:1/in"


@pytest.mark.parametrize(
    ("words", "ends_with", "said"),
    [
        ('send "$FILE" "$AT" --password-stdin <&-', 2, "Standard input holds no password"),
        ('send "$FILE" "$AT" <&-', 2, "no terminal"),
        ('send "$FILE" "$AT" --password-stdin >&- <"$FILE"', 3, "refused the connection"),
        ("server hash-password <&-", 1, "A password has"),
        ("doctor >/dev/full", 1, "This cannot go on: No space left on device"),
        ("--version >/dev/full", 1, "This cannot go on: No space left on device"),
    ],
)
async def test_closed_and_full_standard_streams_end_with_a_sentence(
    tmp_path: Path, words: str, ends_with: int, said: str
) -> None:
    (tmp_path / "film").write_text("film\n")
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'exec "$COMMAND" {words}',
        env={
            **os.environ,
            "CONNECT_HELPER_HOME": str(tmp_path / "home"),
            "COMMAND": str(COMMAND),
            "FILE": str(tmp_path / "film"),
            "AT": REFUSED_AT,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert said in errors.decode()
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors
    assert process.returncode == ends_with


async def test_what_an_output_without_utf_8_cannot_show_ends_no_transfer(tmp_path: Path) -> None:
    (tmp_path / "film").write_text("film")
    key = tmp_path / "key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    code, out, said = await command(
        tmp_path / "home", "send", str(tmp_path / "film"), REFUSED_AT, "-i", str(key),
        PYTHONIOENCODING="iso-8859-1",
    )  # fmt: skip
    assert (code, out) == (3, "Connecting?\n")
    assert "refused the connection" in said


async def test_a_file_of_its_own_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "home" / "run" / "control.json"
    in_the_way.mkdir(parents=True)
    code, _, said = await command(tmp_path / "home", "run")
    assert code == 1
    assert f"This cannot go on: {in_the_way}: Is a directory.\n" in said
    assert "Traceback" not in said


async def test_help_names_the_commands(tmp_path: Path) -> None:
    code, said, _ = await command(tmp_path, "--help")
    assert code == 0
    for name in ("run", "demo", "open", "status", "stop"):
        assert name in said


@pytest.mark.parametrize("arguments", [["doctor"], ["run"], ["--version"]])
def test_on_windows_every_command_says_that_it_is_not_supported_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "argv", ["connect-helper", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{cli.NOT_ON_WINDOWS}\n")
