"""Logging in with as few requests as there can be, and the library's own way where that does not fit."""

from __future__ import annotations

import asyncio
import re
import time

import asyncssh
import pytest

from connect_helper.errors import AuthFailed, TransferError
from connect_helper.transports import quick_login
from connect_helper.transports.connections import OPEN_LIMIT_S, Connections
from connect_helper.transports.head_start import HeadStart
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.quick_login import Haste, Method, quicken
from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.ssh_connection import Connected, Credentials, Endpoint, connect
from tests.support.sshd import PasswordServer, SshServer
from tests.support.transports import open_transport

LIMIT_S = 30


async def never(_key: str, _fingerprint: str) -> bool:
    raise AssertionError("the key is known")


async def log_in(server: SshServer, key: str) -> Connected:
    endpoint = Endpoint("h.example", server.port, ("127.0.0.1",))
    login = Credentials(server.user, private_key=key)
    connected = await connect(endpoint, login, KnownKeys(trusted=(server.host_key_line,)), never)
    connected.connection.close()
    await connected.connection.wait_closed()
    return connected


def methods(server: SshServer) -> list[str]:
    """The login requests the server saw."""
    log = (server.folder / "sshd.log").read_text()
    return re.findall(r"userauth-request for user \S+ service ssh-connection method (\S+)", log)


async def test_a_key_logs_in_with_one_request() -> None:
    with SshServer(extra="LogLevel DEBUG1\n") as server:
        connected = await log_in(server, server.client_key)
        assert methods(server) == ["publickey"]
        assert connected.method == "publickey"
        assert 0 < connected.round_trip_s < 1


async def test_an_rsa_key_signs_with_what_the_server_takes() -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    with SshServer(extra="LogLevel DEBUG1\n") as server:
        with (server.folder / "authorized_keys").open("ab") as keys:
            keys.write(key.export_public_key())
        await log_in(server, key.export_private_key().decode())
        assert methods(server) == ["publickey"]


async def test_a_key_that_does_not_fit_is_refused_once() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    with SshServer(extra="LogLevel DEBUG1\n") as server:
        with pytest.raises(AuthFailed):
            await log_in(server, key.export_private_key().decode())
        assert methods(server) == ["publickey"]


async def test_a_library_of_another_make_goes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_login, "_NEEDED", ("_renamed_in_a_later_version",))
    with SshServer(extra="LogLevel DEBUG1\n") as server:
        await log_in(server, server.client_key)
        assert methods(server) == ["none", "publickey", "publickey"]


@pytest.mark.parametrize("keyboard_only", [False, True])
async def test_a_further_connection_takes_the_method_that_worked(keyboard_only: bool) -> None:
    async with PasswordServer(keyboard_only=keyboard_only) as server:
        async with open_transport(server, connections=2) as transport, asyncio.timeout(LIMIT_S):
            while transport.connections < 2:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.02)
            wanted = "keyboard-interactive" if keyboard_only else "password"
            assert transport._connections._method.result() == wanted
        assert server.passwords == [server.password] * 2


async def test_a_wrong_password_counts_once_however_many_connections_there_are_to_be() -> None:
    async with PasswordServer() as server:
        server.password, asked = "another one", server.password
        login = Credentials(server.user, password=asked)
        known = KnownKeys(trusted=(server.host_key_line,))
        endpoint = Endpoint("h.example", server.port, ("127.0.0.1",))
        transport = SftpTransport(Connections(endpoint, login, known, never, TokenBucket(None), 8))
        with pytest.raises(AuthFailed):
            await transport.__aenter__()
        assert server.passwords == [asked]
        async with asyncio.timeout(LIMIT_S):
            while not all(one.is_closed() for one in server.connections):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_sftp_is_asked_for_right_behind_the_login() -> None:
    with SshServer(extra="LogLevel DEBUG2\n") as server:
        async with open_transport(server, connections=3) as transport, asyncio.timeout(LIMIT_S):
            while transport.connections < 3:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.02)
            for lane in transport._all.all:
                assert await lane.wire.real_path(str(server.root).encode()) == str(server.root).encode()
                assert "send_packet" not in vars(lane.connection)
        log = (server.folder / "sshd.log").read_text()
    assert log.count("subsystem request for sftp") == log.count("Accepted publickey") == 3


async def test_a_key_that_is_refused_leaves_nothing_of_what_was_sent_behind_it() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    with SshServer() as server:
        begun: list[bool] = []
        async with HeadStart(lambda: begun.append(True)) as start:
            login = Credentials(server.user, private_key=key.export_private_key().decode())
            endpoint = Endpoint("h.example", server.port, ("127.0.0.1",))
            known = KnownKeys(trusted=(server.host_key_line,))
            with pytest.raises(AuthFailed):
                await connect(endpoint, login, known, never, haste=Haste(behind=start))
            assert begun == [True]
            assert start._opening is None
            assert not start.begun  # so that nobody logs in once more over it


async def test_a_server_without_sftp_says_so_at_once() -> None:
    with SshServer(sftp="/nowhere/sftp-server") as server:
        began = time.monotonic()
        with pytest.raises(TransferError):
            async with open_transport(server):
                pass
        assert time.monotonic() - began < OPEN_LIMIT_S / 2


async def test_who_only_says_to_read_in_order_is_asked_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with (
        PasswordServer(server_version="OpenSSH_99") as server,
        open_transport(server, connections=3) as transport,
        asyncio.timeout(LIMIT_S),
    ):
        while transport.connections < 3:  # noqa: ASYNC110 - the transport tells nobody
            await asyncio.sleep(0.02)
        assert await transport.real_path(b"/") == b"/"
    assert "once more, step by step" in caplog.text


async def test_a_server_that_hangs_up_over_the_login_refused_it() -> None:
    """OpenSSH calls the last try an error of the protocol; more of them would lock the account."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    with SshServer(extra="MaxAuthTries 1\nLogLevel DEBUG1\n") as server:
        with pytest.raises(AuthFailed):
            await log_in(server, key.export_private_key().decode())
        assert methods(server) == ["publickey"]


class Library:
    """What a connection of the library shows to the quick login, and how often that began."""

    def __init__(self) -> None:
        self.begun = 0
        self._auth = None
        self._auth_methods: list[bytes] = []
        self._client_keys = None

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self.begun += 1

    def send_service_request(self, service: bytes) -> None:
        return None

    async def send_userauth_request(self, *_parts: object) -> None:
        return None

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default


async def test_a_turn_that_comes_together_with_the_service_begins_one_login() -> None:
    """Under load both are there in one round of the loop, and a second request looked like a refusal."""
    library = Library()
    turn: asyncio.Future[Method] = asyncio.get_running_loop().create_future()
    quicken(library, Haste(turn=turn))
    library.send_service_request(b"ssh-userauth")
    turn.set_result("password")  # whoever waits for it hears so in the next round
    library.try_next_auth()  # the service is granted in this one
    await asyncio.sleep(0)
    assert library.begun == 1
