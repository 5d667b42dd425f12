"""Small steps of the server's start: settings in the form its parts take them, sockets, files. Blocking."""

from __future__ import annotations

import errno
import socket
import sqlite3
import uuid
from pathlib import Path
from typing import ClassVar, Final

import asyncssh

from connect_helper.errors import ConnectHelperError
from connect_helper.server.checking import examine
from connect_helper.server.configuration import ServerConfig
from connect_helper.server.metrics import Metrics
from connect_helper.server.private_files import write_new
from connect_helper.server.ssh import SshSettings
from connect_helper.server.transfer_log import Rotation, TransferLog

# What a reload puts to work; the rest waits for a restart.
_RELOADED: Final[dict[str, set[str] | bool]] = {
    "user": True,
    "ssh": {"shared_keys", "aspera_conf_keys"},
    "token": {"key", "key_file", "life_seconds"},
    "limits": {"sessions", "sessions_per_account", "upload_kbps", "download_kbps"},
    "https": {"cert", "key"},
    "node": {"max_response_entries", "max_response_seconds", "max_file_create_kb"},
    "server": {"name", "stop_seconds"},
}

_TAKEN_FIRST: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


class CannotServe(ConnectHelperError):
    """The server cannot start; the sentences say what to mend."""

    code: ClassVar[str] = "cannot_serve"


def checked(config: ServerConfig, path: Path) -> tuple[str, ...]:
    """Look at all that the configuration names; returns warnings. Raises CannotServe."""
    findings = examine(config, path)
    if findings.problems:
        raise CannotServe("\n".join(findings.problems))
    return findings.warnings


def ssh_settings(config: ServerConfig) -> SshSettings:
    """The settings of the SSH listener."""
    return SshSettings(
        address=config.ssh.address,
        port=config.ssh.port,
        host_keys=config.ssh.host_keys,
        login_seconds=config.ssh.login_seconds,
        idle_seconds=config.ssh.idle_seconds,
        logins_under_way=config.limits.logins_under_way,
        logins_under_way_per_address=config.limits.logins_under_way_per_address,
        keep_free=config.limits.keep_free_percent / 100,
        makers=config.server.state / "unfinished.sqlite",
    )


def told_fingerprint(config: ServerConfig) -> str | None:
    """The fingerprint for transfer specs, "SHA256:...": of the host key that clients take of several.

    They take the first kind of their own list that a server has; the helper's and OpenSSH's begin alike.
    """
    if not config.ssh.enabled:
        return None
    keys = [asyncssh.read_private_key(file) for file in config.ssh.host_keys]
    return min(keys, key=_rank).get_fingerprint() if keys else None


def _rank(key: asyncssh.SSHKey) -> int:
    kind = key.get_algorithm()
    return _TAKEN_FIRST.index(kind) if kind in _TAKEN_FIRST else len(_TAKEN_FIRST)


def transfer_log(config: ServerConfig, metrics: Metrics) -> TransferLog | None:
    """The transfer log, started; None where it is switched off. Raises CannotServe."""
    if not config.log.transfers:
        return None
    rotation = Rotation(
        max_bytes=config.log.transfers_max_megabytes * 1_000_000,
        keep_files=config.log.transfers_keep_files,
        keep_days=config.log.transfers_keep_days,
    )
    log = TransferLog(config.server.state / "transfers.sqlite", rotation, metrics.log_queue)
    try:
        log.start()
    except (sqlite3.Error, OSError) as error:
        raise CannotServe(
            f"The transfer log in {config.server.state} cannot be used: {error}. Move it away."
        ) from error
    return log


def node_id(state: Path) -> str:
    """A UUID made at the first start and kept."""
    path = state / "node-id"
    try:
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (FileNotFoundError, ValueError):
        path.unlink(missing_ok=True)
        made = str(uuid.uuid4())
        write_new(path, made.encode() + b"\n")
        return made


def listening_socket(address: str, port: int) -> socket.socket:
    """Bound; without an address on IPv6 and IPv4 alike where the system has both."""
    if not address and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=512)


def cannot_listen(service: str, address: str, port: int, error: OSError) -> CannotServe:
    """The error to raise when a port cannot be opened."""
    at = f"{service}: cannot listen at port {port}"
    match error.errno:
        case errno.EADDRINUSE:
            return CannotServe(f"{at}: another program uses it. End that one, or set another port.")
        case errno.EACCES | errno.EPERM:
            return CannotServe(
                f"{at}: this account may not. Set a port above 1023, or grant the right to it."
            )
        case errno.EADDRNOTAVAIL:
            return CannotServe(f"{at} of {address}: this machine does not have that address.")
        case number if isinstance(error, socket.gaierror) or (number or 0) < 0:  # no error of the system
            return CannotServe(f'{at} of "{address}": that is no address and no name that is known.')
        case _:
            return CannotServe(f"{at}: {error.strerror}.")


def needs_restart(started: ServerConfig, after: ServerConfig) -> list[str]:
    """Sections in which `after` differs from what runs, and only a restart makes up for that."""
    old, new = (config.model_dump(exclude=_RELOADED) for config in (started, after))
    return [
        f"{name}: was changed; that takes effect at the next start." for name in old if old[name] != new[name]
    ]
