"""The servers of the far end's benchmarks, each a process of its own: ours and, beside it, a stock sshd.

Both show the same files under the same paths: our account's docroot is `/`. What a process used is read from
/proc, its ended children with it, so that sshd's sessions count.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncssh
import psutil

from benchmarks.links import Link, Loopback
from benchmarks.speed import Server
from connect_helper.server.configuration_text import render
from connect_helper.server.tokens import Direction, TokenAuthority, TokenClaims, new_token_id
from connect_helper.storage.docpath import parse
from tests.support.far_server import TOKEN_KEY, settings_in
from tests.support.sshd import free_port, public_line

PROGRAM = Path(sys.executable).with_name("connect-helper")
START_LIMIT_S = 30.0
TOKEN_LIFE_S = 6 * 3600
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Login:
    """Where a client connects, and as whom."""

    address: str
    port: int
    user: str
    key: Path  # private key without a passphrase
    host_key: str  # "ssh-ed25519 AAAA..."


class FarServer(Protocol):
    """A server while its context is open."""

    @property
    def login(self) -> Login: ...

    def cpu_s(self) -> float:
        """Processor seconds so far, those of ended sessions included."""
        ...


class Sshd(Server):
    """A stock sshd with the limits it comes with."""

    @property
    def login(self) -> Login:
        return Login(self.address, self.port, self.user, self.key, self.host_key)

    def cpu_s(self) -> float:
        """Its sessions count once they have ended and were waited for, soon after their clients."""
        deadline = time.monotonic() + 10
        while psutil.Process(self._process.pid).children() and time.monotonic() < deadline:
            time.sleep(0.05)
        return cpu_of(self._process.pid)


class OurServer:
    """`connect-helper server run`, with one user who may do everything, and tokens for that user.

    `settings` are sections of its configuration, merged into the benchmark's own.
    """

    def __init__(self, link: Link | None = None, *, docroot: Path = Path("/"), **settings: Any) -> None:
        self._link = link or Loopback()
        address = self._link.address
        self.folder = Path(tempfile.mkdtemp(prefix="far-end-"))
        self.docroot = docroot
        key = asyncssh.generate_private_key("ssh-ed25519")
        client_key = self.folder / "client_key"
        client_key.write_bytes(key.export_private_key())
        client_key.chmod(0o600)
        keys = self.folder / "authorized_keys"
        keys.write_text(public_line(key) + "\n")
        self.https_port, ssh_port = free_port(), free_port()
        listening: dict[str, dict[str, Any]] = {
            "ssh": {"address": address, "port": ssh_port},
            "https": {"address": address, "port": self.https_port},
            "http": {"enabled": False},
            "log": {"file": str(self.folder / "server.log")},
        }
        for part, section in settings.items():
            listening[part] = {**listening.get(part, {}), **section}
        name = getpass.getuser()
        user = {"name": name, "docroot": str(docroot), "authorized_keys": [str(keys)]}
        rights: dict[str, Any] = {
            "delete": True,
            "overwrite": "allow",
            "upload": "allow",
            "download": "allow",
        }
        text = settings_in(self.folder / "server", {**user, **rights}, **listening)
        self._toml = self.folder / "server" / "server.toml"
        self._toml.write_text(render(text))
        self._toml.chmod(0o600)
        host_key = asyncssh.read_private_key(self.folder / "server" / "ssh_host_ed25519_key")
        self.login = Login(address, ssh_port, name, client_key, public_line(host_key))
        self.certificate = self.folder / "server" / "certificate.pem"

    def __enter__(self) -> OurServer:
        words = [str(PROGRAM), "server", "run", "--config", str(self._toml)]
        self.output = self.folder / "output"
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self._link.server(words), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.output.read_text()[-500:]}")
            time.sleep(0.1)
        return self

    def _listens(self) -> bool:
        """Look from the server's side: there is no line in between that would have to be up."""
        log = self.folder / "server.log"
        with suppress(FileNotFoundError):
            return "the server runs" in log.read_text()
        return False

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Of the server itself, whatever was started around it to be at the far end of a line."""
        inner = psutil.Process(self._process.pid).children(recursive=True)
        return inner[-1].pid if inner else self._process.pid

    def cpu_s(self) -> float:
        return cpu_of(self.pid)

    def peak_mib(self) -> int:
        """The largest resident size so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def token(self, direction: Direction, path: Path) -> str:
        """A token for one path: the source of a download, the destination root of an upload."""
        now = int(time.time())
        place = parse(os.fsencode(path.relative_to(self.docroot)))
        claims = TokenClaims(
            id=new_token_id(),
            user=self.login.user,
            direction=direction,
            sources=(place,) if direction == "receive" else (),
            destination_root=place if direction == "send" else None,
            issued_at=now,
            expires_at=now + TOKEN_LIFE_S,
        )
        return TokenAuthority(TOKEN_KEY).issue(claims)


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False
