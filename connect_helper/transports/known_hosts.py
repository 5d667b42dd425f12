"""The program's own list of known servers, in the OpenSSH known_hosts format.

Kept apart from the user's `~/.ssh/known_hosts`: what a person accepted in our dialog is not an answer
they gave to `ssh`, and the other way round. Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; plain host
names, "[host]:port" for other ports than 22, the `@revoked` marker. Lines this program does not
understand (patterns, hashes, certificate authorities) are kept and match nothing.
"""

from __future__ import annotations

import threading
from pathlib import Path

from connect_helper.errors import Unavailable
from connect_helper.settings import Folders, write_private

FILE_NAME = "known_hosts"
_HEADER = "# Servers accepted in connect-helper. Remove a line to be asked again.\n"


class KnownHosts:
    """Looks keys up and adds them; safe to use from several threads of one process.

    The file is read anew at each call, so that a line removed by hand counts at once.
    """

    def __init__(self, folders: Folders) -> None:
        self.path: Path = folders.state / FILE_NAME
        self._lock = threading.Lock()

    def lookup(self, host: str, port: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Trusted and revoked keys of a server, each "type base64".

        Raises Unavailable when the file cannot be read: an unreadable list must not look like an
        empty one, which would ask the user about a server whose key may have changed.
        """
        with self._lock:
            lines = self._read().splitlines()
        name = host_name(host, port)
        trusted: list[str] = []
        revoked: list[str] = []
        for line in lines:
            marker, names, key = _parse(line)
            if name not in names:
                continue
            if marker == "@revoked":
                revoked.append(key)
            elif not marker:
                trusted.append(key)
        return tuple(trusted), tuple(revoked)

    def add(self, host: str, port: int, key: str) -> None:
        """Trust `key` ("type base64") for this server from now on. Raises Unavailable."""
        kind, data = key.split()[:2]
        line = f"{host_name(host, port)} {kind} {data}\n"
        with self._lock:
            text = self._read() or _HEADER
            if line in text.splitlines(keepends=True):
                return
            self._write(text + ("" if text.endswith("\n") else "\n") + line)

    def forget(self, host: str, port: int) -> int:
        """Remove the trusted keys of a server, keep revoked ones; tells how many lines went.

        Raises Unavailable.
        """
        name = host_name(host, port)
        with self._lock:
            lines = self._read().splitlines(keepends=True)
            kept = [line for line in lines if _parse(line)[0] or name not in _parse(line)[1]]
            if len(kept) < len(lines):
                self._write("".join(kept))
        return len(lines) - len(kept)

    def _write(self, text: str) -> None:
        try:
            write_private(self.path, text)
        except OSError as error:
            raise Unavailable(
                f"The list of known servers in {self.path} cannot be written: {error.strerror}.",
                internal_message=str(error),
            ) from error

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"The list of known servers in {self.path} cannot be read; mend or remove the file.",
                internal_message=str(error),
            ) from error


def host_name(host: str, port: int) -> str:
    """How a server is named in the file: names are compared without regard to case."""
    bare = host.lower()
    return bare if port == 22 else f"[{bare}]:{port}"


def _parse(line: str) -> tuple[str, frozenset[str], str]:
    """Marker, names and "type base64" of a line; no names when it holds no key."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return "", frozenset(), ""
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3:
        return marker, frozenset(), ""
    return marker, frozenset(fields[0].lower().split(",")), f"{fields[1]} {fields[2]}"
