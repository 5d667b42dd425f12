"""The whole server: it starts, serves on every port, reloads, and ends gracefully."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import aiohttp
import asyncssh
import pytest
from typer.testing import CliRunner

from connect_helper.cli import app
from connect_helper.commands.common import EXIT_FAILED
from connect_helper.server.control import RunsAlready
from connect_helper.server.program import serve
from connect_helper.server.source import Source
from connect_helper.server.startup import CannotServe
from connect_helper.server.tokens import TokenAuthority
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.ssh_connection import Credentials, Endpoint, connect
from tests.support.far_server import TOKEN_KEY, FarServer, far_server, user
from tests.support.known_server import KnownServer
from tests.support.server_parts import PASSWORD, claims


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, password)}


def ssh(server: FarServer, name: str = "ann", secret: str = PASSWORD) -> KnownServer:
    """A login at the server."""
    return KnownServer(server.running.ssh_port or 0, name, secret)


def http(server: FarServer) -> str:
    return f"http://127.0.0.1:{server.running.http_port}"


async def until(condition: Any, what: str) -> None:
    """Wait until `condition()` is true; fail with `what` after ten seconds."""
    try:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  a log or a file has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within ten seconds: {what}")


async def test_one_account_is_served_by_ssh_https_and_http(tmp_path: Path) -> None:
    docroot = tmp_path / "ann"
    async with far_server(tmp_path / "server", user("ann", docroot)) as server:
        (docroot / "film.mov").write_bytes(b"film")
        async with ssh(server) as connection, connection.start_sftp_client() as sftp:
            assert "film.mov" in await sftp.listdir(".")
        async with aiohttp.ClientSession(headers=basic("ann")) as client:
            https = f"https://127.0.0.1:{server.running.https_port}"
            for base in (https, http(server)):
                async with client.get(f"{base}/info", ssl=False) as response:
                    assert (await response.json())["transfer_user"] == "ann"
        assert server.running.fingerprint is not None
        assert server.running.warnings == (
            "http: is enabled; what goes over it, tokens and files, can be read on the way.",
            "http.passwords: is on; passwords can be read on the way. Use HTTPS for the Node API.",
        )


async def test_a_user_may_be_kept_from_following_links_and_from_making_them(tmp_path: Path) -> None:
    kept = user("ann", tmp_path / "a", follow_links=False, make_links=False)
    async with far_server(tmp_path / "server", kept, user("ben", tmp_path / "a")) as server:
        (tmp_path / "a" / "film").write_bytes(b"film")
        (tmp_path / "a" / "link").symlink_to("film")
        for name, found in (("ann", False), ("ben", True)):
            async with ssh(server, name) as connection, connection.start_sftp_client() as sftp:
                assert ("link" in await sftp.listdir(".")) == await sftp.exists("link") == found
            async with aiohttp.ClientSession(headers=basic(name)) as client:
                async with client.get(f"{http(server)}/fallback/v1/files/link") as response:
                    assert response.status == (200 if found else 404)
                asked = {"paths": [{"path": "/link"}]}
                async with client.post(f"{http(server)}/files/info", json=asked) as response:
                    (item,) = (await response.json())["paths"]
                assert ("error" not in item) == found
                made = {"paths": [{"path": "/new", "type": "symbolic_link", "target": {"path": "/film"}}]}
                async with client.post(f"{http(server)}/files/create", json=made) as response:
                    (item,) = (await response.json())["paths"]
                assert ("error" not in item) == found
        async with ssh(server, "ann") as connection, connection.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.symlink("film", "other")
        assert not (tmp_path / "a" / "other").is_symlink()


async def test_a_token_opens_its_folder_by_ssh_and_by_http(tmp_path: Path) -> None:
    docroot = tmp_path / "tom"
    tom = user("tom", docroot, upload="token", download="token")
    del tom["password_hash"]
    async with far_server(tmp_path / "server", tom) as server:
        (docroot / "inbox").mkdir()
        (docroot / "inbox" / "film.mov").write_bytes(b"film")
        (docroot / "secret").write_bytes(b"secret")
        text = TokenAuthority(TOKEN_KEY).issue(claims("tom", now=time.time()))
        async with ssh(server, "tom", text) as connection, connection.start_sftp_client() as sftp:
            async with sftp.open("inbox/film.mov", "rb") as file:
                assert await file.read() == b"film"
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat("secret")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {text}"}) as client:
            async with client.get(f"{http(server)}/fallback/v1/files/inbox/film.mov") as response:
                assert await response.read() == b"film"
            async with client.get(f"{http(server)}/fallback/v1/files/secret") as response:
                assert response.status == 404


async def test_operators_see_sessions_and_figures_and_end_them(tmp_path: Path) -> None:
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    async with (
        far_server(tmp_path / "server", *users) as server,
        aiohttp.ClientSession(headers=basic("ann")) as client,
        ssh(server, "ben") as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.stat(".")
        async with client.get(f"{http(server)}/operator/sessions") as response:
            (session,) = (await response.json())["sessions"]
        assert (session["account"], session["protocol"], session["status"]) == ("ben", "sftp", "running")
        path = f"{http(server)}/operator/sessions/{session['id']}"
        async with client.put(f"{path}/rate", json={"upload_kbps": 800}) as response:
            assert await response.json() == {"upload_kbps": 800, "download_kbps": None}
        for wrong in ({}, {"upload_kbps": "fast"}, {"upload_kbps": 0}, {"speed": 1}, [1]):
            async with client.put(f"{path}/rate", json=wrong) as response:
                assert response.status == 400
        unreadable = {"Authorization": "Basic \u00e9"}
        async with client.get(f"{http(server)}/operator/sessions", headers=unreadable) as response:
            assert response.status == 401
        async with client.get(f"{http(server)}/metrics") as response:
            figures = await response.read()
        assert b'connect_helper_sessions{protocol="sftp"} 1.0' in figures
        assert b'connect_helper_http_requests_total{method="PUT",status="400"} 5.0' in figures
        async with client.post(f"{path}/cancel") as response:
            assert response.status == 204
        async with asyncio.timeout(10):
            await connection.wait_closed()
        async with client.post(f"{path}/cancel") as response:
            assert response.status == 404


@pytest.mark.parametrize("by", ["operator", "node", "command"])
async def test_a_session_ends_although_its_token_cannot_be_revoked(tmp_path: Path, by: str) -> None:
    """Its disk may be full. Who ended it is told that the client may come back."""
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    token = TokenAuthority(TOKEN_KEY).issue(claims("ben", now=time.time()))
    async with (
        far_server(tmp_path / "server", *users) as server,
        aiohttp.ClientSession(headers=basic("ann")) as client,
        ssh(server, "ben", token) as connection,
    ):
        async with client.get(f"{http(server)}/operator/sessions") as response:
            (session,) = (await response.json())["sessions"]
        (server.toml.parent / "revoked-tokens.lock").mkdir()
        if by == "command":
            wish = ["server", "sessions", "--config", str(server.toml), "--cancel", session["id"]]
            result = await asyncio.to_thread(CliRunner().invoke, app, wish)  # it has a loop of its own
            assert result.exit_code == EXIT_FAILED
            said = " ".join(result.output.split())
        else:
            operator, node = f"operator/sessions/{session['id']}/cancel", f"ops/transfers/{session['id']}"
            method, route = ("POST", operator) if by == "operator" else ("DELETE", node)
            async with client.request(method, f"{http(server)}/{route}") as response:
                assert response.status == 503
                said = (await response.json())["error"]["user_message"]
        assert "could not be revoked" in said
        async with asyncio.timeout(10):
            await connection.wait_closed()


@pytest.mark.parametrize("by", ["operator", "node"])
async def test_who_was_cancelled_does_not_come_back_with_the_same_token(tmp_path: Path, by: str) -> None:
    """The helper takes an aborted connection for a bad line, and would go on at once."""
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    token = TokenAuthority(TOKEN_KEY).issue(claims("ben", now=time.time()))
    async with (
        far_server(tmp_path / "server", *users) as server,
        aiohttp.ClientSession(headers=basic("ann")) as client,
        ssh(server, "ben", token) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.stat(".")
        async with client.get(f"{http(server)}/operator/sessions") as response:
            (session,) = (await response.json())["sessions"]
        if by == "operator":
            call = client.post(f"{http(server)}/operator/sessions/{session['id']}/cancel")
        else:
            call = client.delete(f"{http(server)}/ops/transfers/{session['id']}")
        async with call as response:
            assert response.status == 204
        async with asyncio.timeout(10):
            await connection.wait_closed()
        with pytest.raises(asyncssh.PermissionDenied):
            await ssh(server, "ben", token)
        async with ssh(server, "ben") as again, again.start_sftp_client() as own:  # the account is as it was
            assert await own.exists(".")


@pytest.mark.parametrize("headers", [{}, basic("ben"), basic("ann", "guess")])
async def test_others_see_nothing_of_the_operators(tmp_path: Path, headers: dict[str, str]) -> None:
    users = (user("ann", tmp_path / "a", admin=True), user("ben", tmp_path / "b"))
    async with (
        far_server(tmp_path / "server", *users) as server,
        aiohttp.ClientSession(headers=headers) as client,
    ):
        for path in ("metrics", "operator/sessions"):
            async with client.get(f"{http(server)}/{path}") as response:
                assert response.status == 401
                assert "Basic" not in response.headers.get("WWW-Authenticate", "")


async def test_an_operator_who_demands_encryption_is_not_served_over_plain_http(tmp_path: Path) -> None:
    ann = user("ann", tmp_path / "a", admin=True, lowest_cipher="aes-128")
    async with (
        far_server(tmp_path / "server", ann) as server,
        aiohttp.ClientSession(headers=basic("ann")) as client,
    ):
        https = f"https://127.0.0.1:{server.running.https_port}"
        for method, path, found in (
            ("GET", "metrics", 200),
            ("GET", "operator/sessions", 200),
            ("POST", "operator/sessions/x/cancel", 404),
            ("PUT", "operator/sessions/x/rate", 404),
        ):
            async with client.request(method, f"{http(server)}/{path}") as response:
                assert response.status == 403
                assert (await response.json())["error"]["reason"] == "encryption_required"
            async with client.request(method, f"{https}/{path}", ssl=False) as response:
                assert response.status == found


async def test_a_reload_brings_users_and_ends_the_sessions_of_who_is_gone(tmp_path: Path) -> None:
    users = (user("ann", tmp_path / "a"), user("ben", tmp_path / "b"))
    async with (
        far_server(tmp_path / "server", *users) as server,
        ssh(server, "ben") as kept,
        ssh(server, "ann") as lost,
    ):
        server.configure({**server.settings, "user": [users[1], user("cleo", tmp_path / "c")]})
        server.reloading.set()
        async with asyncio.timeout(10):
            await lost.wait_closed()
        async with ssh(server, "cleo"), kept.start_sftp_client() as sftp:
            assert await sftp.exists(".")
        with pytest.raises(asyncssh.PermissionDenied):
            await ssh(server, "ann")


async def test_a_reload_with_a_mistake_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        mistakes: list[dict[str, Any]] = [
            {**server.settings, "ssh": {"port": 0}},
            {**server.settings, "user": [user("ben", tmp_path / "b", password_hash="plain")]},
        ]
        for mistake in mistakes:
            caplog.clear()
            server.configure(mistake)
            server.reloading.set()
            await until(lambda: "the old ones hold" in caplog.text, "the complaint")
            async with ssh(server):
                pass


async def test_a_reload_that_switches_https_off_does_not_ask_for_its_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The port closes at the next start; who is taken out in the same go is out now."""
    caplog.set_level(logging.INFO)
    users = (user("ann", tmp_path / "a"), user("ben", tmp_path / "b"))
    async with far_server(tmp_path / "server", *users) as server:
        (server.toml.parent / server.settings["https"]["cert"]).unlink()
        off = {**server.settings["https"], "enabled": False}
        server.configure({**server.settings, "https": off, "user": [users[1]]})
        server.reloading.set()
        await until(lambda: "reloaded" in caplog.text, "an end of the reload")
        with pytest.raises(asyncssh.PermissionDenied):
            await ssh(server, "ann")
    assert "https: was changed; that takes effect at the next start." in caplog.text


async def test_a_changed_port_waits_for_a_restart_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        server.configure({**server.settings, "ssh": {**server.settings["ssh"], "port": 1}})
        server.reloading.set()
        await until(lambda: "settings were reloaded" in caplog.text, "the reload")
    told = [record.message for record in caplog.records if "next start" in record.message]
    assert told == ["ssh: was changed; that takes effect at the next start."]


async def test_a_reload_tells_of_a_restart_where_one_is_needed_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:

        async def reloaded(**changes: Any) -> list[str]:
            caplog.clear()
            server.configure({**server.settings, **changes})
            server.reloading.set()
            await until(lambda: "settings were reloaded" in caplog.text, "the reload")
            return [record.message for record in caplog.records if "next start" in record.message]

        users = [user("ann", tmp_path / "a", upload="deny"), user("ben", tmp_path / "b")]
        assert (
            await reloaded(user=users, server={**server.settings.get("server", {}), "stop_seconds": 1}) == []
        )
        waits = ["fallback: was changed; that takes effect at the next start."]
        assert await reloaded(fallback={"enabled": False}) == waits
        assert await reloaded(fallback={"enabled": False}, user=users) == waits
        assert await reloaded() == []


async def test_specs_tell_what_runs_also_after_a_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:

        async def spec() -> dict[str, Any]:
            wish = {"transfer_requests": [{"transfer_request": {"paths": [{}], "destination_root": "/"}}]}
            async with (
                aiohttp.ClientSession(headers=basic("ann", PASSWORD)) as client,
                client.post(f"{http(server)}/files/upload_setup", json=wish) as response,
            ):
                return dict((await response.json())["transfer_specs"][0]["transfer_spec"])

        before = await spec()
        (key,) = server.settings["ssh"]["host_keys"]
        (server.toml.parent / key).unlink()
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(server.toml.parent / key))
        server.configure(
            {**server.settings, "fallback": {"enabled": False}, "server": {"name": "new.example"}}
        )
        server.reloading.set()
        await until(lambda: "settings were reloaded" in caplog.text, "the reload")
        after = await spec()
        assert after["remote_host"] == "new.example"
        same = ("sshfp", "http_fallback", "http_fallback_port")
        assert [after.get(name) for name in same] == [before.get(name) for name in same]
        assert before["sshfp"]


async def test_of_several_host_keys_that_is_told_which_clients_take(tmp_path: Path) -> None:
    """The helper and OpenSSH alike take the first kind of their own list that the server has."""
    for kind in ("ecdsa-sha2-nistp256", "ssh-ed25519"):
        await asyncio.to_thread(asyncssh.generate_private_key(kind).write_private_key, str(tmp_path / kind))
    keys = [str(tmp_path / kind) for kind in ("ecdsa-sha2-nistp256", "ssh-ed25519")]
    ann = user("ann", tmp_path / "a")
    async with far_server(tmp_path / "server", ann, ssh={"host_keys": keys}) as server:
        async with aiohttp.ClientSession(headers=basic("ann")) as client:
            wish = {"transfer_requests": [{"transfer_request": {"destination_root": "/"}}]}
            async with client.post(f"{http(server)}/files/upload_setup", json=wish) as response:
                spec = (await response.json())["transfer_specs"][0]["transfer_spec"]
            async with client.get(f"{http(server)}/info") as response:
                told = {one["name"]: one["value"] for one in (await response.json())["settings"]}
        assert spec["sshfp"] == told["ssh_fingerprint"] == server.running.fingerprint

        async def ask(key: str, fingerprint: str) -> bool:
            raise AssertionError(f"{key} was asked about")

        tries: list[str] = []
        connected = await connect(
            Endpoint("127.0.0.1", spec["ssh_port"], ("127.0.0.1",)),
            Credentials("ann", PASSWORD),
            KnownKeys(sshfp=spec["sshfp"]),
            ask,
            reached=lambda address, _: tries.append(address),
        )
        connected.connection.close()
        await connected.connection.wait_closed()
        assert tries == ["127.0.0.1"], "the first key shown is the right one"
        known = tmp_path / "known_hosts"
        options = ("StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={known}", "BatchMode=yes")
        ssh_program = await asyncio.create_subprocess_exec(
            "ssh", "-F", "none", "-p", str(spec["ssh_port"]), *(f"-o{option}" for option in options),
            "ann@127.0.0.1", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await ssh_program.wait()
        (line,) = known.read_text().splitlines()
        assert asyncssh.import_public_key(line.partition(" ")[2]).get_fingerprint() == spec["sshfp"]


async def test_a_stop_lets_a_session_end_and_takes_no_new_one(tmp_path: Path) -> None:
    docroot = tmp_path / "a"
    async with (
        asyncio.timeout(30),
        far_server(tmp_path / "server", user("ann", docroot)) as server,
        ssh(server) as connection,
        connection.start_sftp_client() as sftp,
        sftp.open("slow.bin", "wb") as file,
    ):
        await file.write(b"first")
        server.stopping.set()
        await refused(server)
        await file.write(b" and last")
    assert (docroot / "slow.bin").read_bytes() == b"first and last"


async def refused(server: FarServer) -> None:
    """Try until the server takes no new connection; the first tries may come before it has begun to stop."""
    async with asyncio.timeout(10):
        while True:
            try:
                (await ssh(server)).abort()
            except (OSError, asyncssh.Error):
                return


async def test_a_stop_ends_sessions_that_do_not_end_themselves(tmp_path: Path) -> None:
    impatient = {"stop_seconds": 0.2}
    async with (
        asyncio.timeout(30),
        far_server(tmp_path / "server", user("ann", tmp_path / "a"), server=impatient) as server,
    ):
        connection = await ssh(server)
        sftp = await connection.start_sftp_client()
        file = await sftp.open("open.bin", "wb")
        await file.write(b"x")
        server.stopping.set()
        await connection.wait_closed()


async def test_two_servers_do_not_share_a_state_folder(tmp_path: Path) -> None:
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        stop = asyncio.Event()
        with pytest.raises(RunsAlready):
            await serve(Source(server.toml), stop, asyncio.Event(), lambda running: stop.set())


async def test_a_second_start_by_mistake_leaves_the_running_server_its_control_socket(tmp_path: Path) -> None:
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        stop = asyncio.Event()
        for _ in range(2):
            with pytest.raises(RunsAlready):
                await serve(Source(server.toml), stop, asyncio.Event(), lambda running: stop.set())
        connector = aiohttp.UnixConnector(str(server.state / "control.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.get("http://server/operator/sessions") as response,
        ):
            assert response.status == 200


@pytest.mark.parametrize("service", ["https", "ssh"])
async def test_a_port_in_use_is_named(tmp_path: Path, service: str) -> None:
    async with far_server(tmp_path / "one", user("ann", tmp_path / "a")) as server:
        taken = getattr(server.running, f"{service}_port")
        said = f"{service}: cannot listen at port {taken}: another program uses it"
        with pytest.raises(CannotServe, match=said):
            async with asyncio.timeout(20):
                await _start(tmp_path / "two", user("ann", tmp_path / "a"), **{service: {"port": taken}})


@pytest.mark.parametrize("service", ["https", "ssh"])
@pytest.mark.parametrize(
    ("address", "said"), [("203.0.113.7", "does not have that address"), ("no such", "is no address")]
)
async def test_an_address_that_is_none_of_this_machine_is_named(
    tmp_path: Path, service: str, address: str, said: str
) -> None:
    with pytest.raises(CannotServe, match=f"{service}: cannot listen at port .* of .?{address}.?: .*{said}"):
        await _start(tmp_path / "s", user("ann", tmp_path / "a"), **{service: {"address": address}})


async def _start(folder: Path, *users: Any, **sections: Any) -> None:
    try:
        async with far_server(folder, *users, **sections):
            pass
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def test_names_tokens_and_passwords_stay_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "connect_helper")
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        text = TokenAuthority(TOKEN_KEY).issue(claims("ann", now=time.time()))
        places = ("fallback/v1/files/canary-name?canary=query", "canary-path", "info?canary=query")
        secrets = (
            f"Bearer {text}",
            f"Bearer CHT1_canary{'x' * 60}",
            basic("ann", "canary-word")["Authorization"],
        )
        async with aiohttp.ClientSession() as client:
            for place in places:
                for secret in secrets:
                    async with client.get(f"{http(server)}/{place}", headers={"Authorization": secret}):
                        pass
    assert "http GET /fallback/v1/files/" in caplog.text
    for canary in ("canary", text, PASSWORD, TOKEN_KEY):
        assert canary not in caplog.text


async def test_the_control_socket_is_for_the_servers_own_account(tmp_path: Path) -> None:
    async with far_server(tmp_path / "server", user("ann", tmp_path / "a")) as server:
        socket = server.state / "control.sock"
        assert socket.stat().st_mode & 0o777 == 0o600
        assert server.state.stat().st_mode & 0o777 == 0o700
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as client,
            client.get("http://server/operator/sessions") as response,
        ):
            assert json.loads(await response.read()) == {"sessions": [], "ended": []}
    assert not socket.exists()
