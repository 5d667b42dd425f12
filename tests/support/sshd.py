"""Servers to test against: a stock OpenSSH `sshd` on loopback, and an asyncssh one that takes passwords.

`SshServer` runs the system's own sshd as the current user, key login only, with the folder `root` as
a place to put files (sshd itself is not confined to it: remote paths are absolute paths below `root`).
`PasswordServer` runs inside the test's event loop, confined to its `root`, and notes what clients tried.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import asyncssh
import psutil
from asyncssh.auth import KbdIntChallenge

from connect_helper.transports.lane import Lane

START_LIMIT_S = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def public_line(key: asyncssh.SSHKey) -> str:
    """Type and base64 of a public key, without comment: "ssh-ed25519 AAAA..."."""
    return " ".join(key.export_public_key().decode().split()[:2])


class SshServer:
    """A stock sshd. Use as a context manager, or call `start` and `stop`.

    `user` and `client_key` (OpenSSH text, no passphrase) log in; `host_key_line` and `fingerprint`
    ("SHA256:...") are what it shows. `extra` are further lines of sshd_config.
    """

    def __init__(self, *, extra: str = "", host_key_type: str = "ssh-ed25519", sftp: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.root = self.folder / "root"
        self.root.mkdir()
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = getpass.getuser()
        self._extra = extra
        # Not sftp-server: sshd starts that through the login shell, whose start-up files can hang.
        self._sftp = sftp or "internal-sftp"
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = key.export_private_key().decode()
        (self.folder / "authorized_keys").write_bytes(key.export_public_key())
        self.set_host_key(asyncssh.generate_private_key(host_key_type))
        self.process: subprocess.Popen[bytes] | None = None

    def set_host_key(self, key: asyncssh.SSHKey) -> None:
        """Show this key from the next start on."""
        self.host_key = key
        self.host_key_line = public_line(key)
        self.fingerprint = key.get_fingerprint()
        path = self.folder / "host_key"
        path.write_bytes(key.export_private_key())
        path.chmod(0o600)

    def _config(self) -> str:
        return f"""
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.folder}/host_key
AuthorizedKeysFile {self.folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
MaxSessions 50
Subsystem sftp {self._sftp}
{self._extra}
"""

    def start(self) -> None:
        """Start sshd and wait until it answers."""
        program = shutil.which("sshd") or "/usr/sbin/sshd"
        if os.getuid() == 0:  # sshd wants its empty folder for privilege separation
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(self._config())
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End sshd and every session of it at once, as a crash would."""
        if self.process is None:
            return
        for pid in _descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End sshd; its folder goes too."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _descendants(pid: int) -> list[int]:
    """Processes below `pid`, innermost last."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


SftpFactory = Callable[["asyncssh.SSHServerChannel[bytes]"], asyncssh.SFTPServer]


class _PasswordLogin(asyncssh.SSHServer):
    def __init__(self, owner: PasswordServer) -> None:
        self._owner = owner

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._owner.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        self._owner.auth_requests.append(username)
        return True

    def password_auth_supported(self) -> bool:
        return not self._owner.keyboard_only

    def validate_password(self, username: str, password: str) -> bool:
        self._owner.passwords.append(password)
        return (username, password) == (self._owner.user, self._owner.password)

    def kbdint_auth_supported(self) -> bool:
        return self._owner.keyboard_only

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> KbdIntChallenge:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        return self.validate_password(username, responses[0])


class PasswordServer:
    """An asyncssh SFTP server that takes one user and password. An async context manager.

    `auth_requests`, `passwords` note every attempt; `connections` every connection that got as far as
    a key exchange. `sftp` replaces the SFTP server class (hostile names); `options` go to asyncssh.
    """

    def __init__(
        self,
        *,
        user: str = "ana",
        password: str = "correct horse",
        sftp: SftpFactory | None = None,
        keyboard_only: bool = False,
        host_keys: tuple[asyncssh.SSHKey, ...] = (),
        **options: object,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="password-server-"))
        self.root = self.folder / "root"
        self.root.mkdir()
        self.host = "127.0.0.1"
        self.port = 0
        self.user = user
        self.password = password
        self.keyboard_only = keyboard_only
        self.host_keys = host_keys or (asyncssh.generate_private_key("ssh-ed25519"),)
        self.auth_requests: list[str] = []
        self.passwords: list[str] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._sftp = sftp
        self._options = options
        self._acceptor: asyncssh.SSHAcceptor | None = None

    @property
    def host_key_line(self) -> str:
        return public_line(self.host_keys[0])

    @property
    def fingerprint(self) -> str:
        return self.host_keys[0].get_fingerprint()

    def _confined(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(self.root))

    async def __aenter__(self) -> PasswordServer:
        self._acceptor = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: _PasswordLogin(self),
            server_host_keys=list(self.host_keys),
            sftp_factory=self._sftp or self._confined,
            **self._options,
        )
        self.port = self._acceptor.get_port()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            for connection in self.connections:
                connection.abort()
            await self._acceptor.wait_closed()
        shutil.rmtree(self.folder, ignore_errors=True)


def served_by(server: SshServer, lane: Lane) -> psutil.Process:
    """The process of the server that a connection ends in."""
    assert server.process is not None
    _, port = lane.connection.get_extra_info("sockname")[:2]
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
            leaves = process.children(recursive=True) or [process]
            return leaves[-1]
    raise AssertionError("no process has this connection")
