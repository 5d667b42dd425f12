"""The SSH listener: lets clients in by `Admission`, gives each an SFTP session, and nothing else.

No shell, no command, no forwarding of ports or agents. Algorithms: AES-GCM, and AES-CTR with SHA-2 for old
clients; no key exchange, host key or signature with SHA-1 (SEC-25).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh

from connect_helper.errors import ConnectHelperError
from connect_helper.server.access import Access
from connect_helper.server.admission import Admission
from connect_helper.server.cipher_choice import prefer
from connect_helper.server.fair_turns import FairTurns
from connect_helper.server.fast_lane import arrived, give_way
from connect_helper.server.login_limiter import network_of
from connect_helper.server.login_queue import Login, LoginQueue
from connect_helper.server.sessions import Session, Sessions
from connect_helper.server.sftp.channel import SftpChannel
from connect_helper.server.sftp.desk import Workers
from connect_helper.server.sftp.files import Files
from connect_helper.server.sftp.free_space import FreeSpace
from connect_helper.server.sftp.maker_records import MakerRecords
from connect_helper.server.sftp.open_handles import AllHandles, OpenHandles
from connect_helper.server.sftp.packets import BadPacket
from connect_helper.server.sftp.room import Room
from connect_helper.server.sftp.service import SftpService
from connect_helper.server.sftp.unfinished import Makers
from connect_helper.server.turns import Turns
from connect_helper.storage.docroot import Docroot
from connect_helper.version import __version__
from connect_helper.wire.connection import LeanConnection, fits

_log = logging.getLogger(__name__)

CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
OLD_CIPHERS: Final = ("aes256-ctr", "aes192-ctr", "aes128-ctr")
MACS: Final = ("hmac-sha2-256", "hmac-sha2-512")  # for CTR; not the -etm ones (Terrapin)
KEX: Final = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)
SIGNATURES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
PACKET: Final = 256 * 1024  # bytes a client may send in one packet
SMALLEST_PACKET: Final = 4096  # bytes a client must take in one; all known ones take 16 KiB and more
MOST_CHANNELS: Final = 16  # of one connection
REKEY_BYTES: Final = 64 * 1024**3  # AES-GCM with 256 KiB packets stays far below its limit of blocks
KEEPALIVE_S: Final = 30.0
WATCH_S: Final = 2.0
THREADS: Final = 48
SLOW_THREADS: Final = 4
LISTS_AT_ONCE: Final = 4  # parts of folders that are read for the same hand
FILES: Final = 65_536  # open at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """What the configuration says about SSH. Port 0 is any free one; seconds of 0 are no limit."""

    address: str
    port: int
    host_keys: Sequence[Path]
    login_seconds: float = 30
    idle_seconds: float = 900
    logins_under_way: int = 200
    logins_under_way_per_address: int = 40
    keep_free: float = 0.01  # of the disk
    makers: Path | None = None  # where it is kept who began unfinished files; None: in memory


@dataclass(slots=True)
class _House:
    """What all connections share."""

    settings: SshSettings
    admission: Admission
    sessions: Sessions
    workers: Workers
    tasks: asyncio.TaskGroup
    logins: LoginQueue
    makers: Makers
    handles: AllHandles
    open: set[SshConnection] = field(default_factory=set)
    stopping: bool = False


class SshServer:
    """A running listener."""

    def __init__(self, house: _House, acceptor: asyncssh.SSHAcceptor) -> None:
        self._house = house
        self._acceptor = acceptor

    @property
    def port(self) -> int:
        return self._acceptor.get_port()

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, let those that transfer end within `grace_s`, then end all."""
        house = self._house
        house.stopping = True
        self._acceptor.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while house.open:
                    for connection in tuple(house.open):
                        connection.end_if_idle()
                    await asyncio.sleep(0.1)
        for connection in tuple(house.open):
            connection.abort()


@contextlib.asynccontextmanager
async def ssh_server(
    settings: SshSettings, admission: Admission, sessions: Sessions
) -> AsyncIterator[SshServer]:
    """Listen as long as the context lasts. Raises OSError, asyncssh.KeyImportError, Unavailable."""
    handles = AllHandles.for_descriptors(_allow_many_files())
    with (
        contextlib.closing(await asyncio.to_thread(MakerRecords, settings.makers)) as records,
        ThreadPoolExecutor(THREADS, "sftp") as quick,
        ThreadPoolExecutor(SLOW_THREADS, "sftp-slow") as slow,
    ):
        refused: OSError | asyncssh.KeyImportError | None = None
        async with asyncio.TaskGroup() as tasks:
            logins = LoginQueue(settings.logins_under_way, settings.logins_under_way_per_address)
            workers = Workers(
                quick,
                slow,
                Room(),
                FairTurns(SLOW_THREADS),
                Turns(LISTS_AT_ONCE),
                FreeSpace(settings.keep_free),
            )
            makers = Makers(records)
            house = _House(settings, admission, sessions, workers, tasks, logins, makers, handles)
            try:
                acceptor = await _listen(house)
            except (OSError, asyncssh.KeyImportError) as error:
                refused = error  # raised in here, it would come out in a group
            else:
                watch = tasks.create_task(_watch(house), name="ssh idle watch")
                server = SshServer(house, acceptor)
                try:
                    yield server
                finally:
                    watch.cancel()
                    await server.stop(0)
        if refused is not None:
            raise refused


def _allow_many_files() -> int:
    """Each session needs a handful of descriptors; the usual soft limit of 1024 is soon used up.

    Returns how many there may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES if soft == resource.RLIM_INFINITY else soft


async def _listen(house: _House) -> asyncssh.SSHAcceptor:
    settings = house.settings
    keys = await asyncio.to_thread(lambda: [asyncssh.read_private_key(path) for path in settings.host_keys])
    return await asyncssh.listen(
        settings.address or None,
        settings.port,
        server_factory=lambda: SshConnection(house),
        server_host_keys=keys,
        backlog=512,
        encoding=None,
        line_editor=False,
        allow_scp=False,
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
        gss_host=None,
        max_pktsize=PACKET,
        encryption_algs=[*CIPHERS, *OLD_CIPHERS],
        kex_algs=list(KEX),
        mac_algs=list(MACS),
        signature_algs=list(SIGNATURES),
        compression_algs=["none"],
        server_version=f"ConnectHelper_{__version__}",
        login_timeout=settings.login_seconds,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=4,
        rekey_bytes=REKEY_BYTES,
    )


async def _watch(house: _House) -> None:
    """End connections on which nothing has been asked for too long."""
    limit = house.settings.idle_seconds
    while limit:
        await asyncio.sleep(min(WATCH_S, limit / 4))
        now = asyncio.get_running_loop().time()
        for connection in tuple(house.open):
            connection.end_if_idle(since=now - limit)


class SshConnection(asyncssh.SSHServer):
    """One connection of a client, from its first byte to its end."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._connection: asyncssh.SSHServerConnection
        self._address = ""
        self._login = Login("", self._resume, self._make_room)
        self._logging_in = False
        self._paused: asyncio.Transport | None = None  # while it waits for its turn to log in
        self._access: Access | None = None
        self._closed = asyncio.Event()
        self._waiting: list[SftpChannel] | None = []  # begun before the docroot was open; None: it is
        self._start: Callable[[SftpChannel], None] = self._waiting.append
        self._channels: set[SftpChannel] = set()  # opened and not closed, whether SFTP began on them or not
        self._lean: LeanConnection | None = None
        self._services: set[SftpService] = set()
        self._used_at = asyncio.get_running_loop().time()
        self._seen = 0  # requests counted the last time somebody looked

    # Logging in ------------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        house = self._house
        prefer(conn, CIPHERS)
        self._connection = conn
        arrived(conn.get_extra_info("socket"))
        peer = conn.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "local"
        self._login = Login(network_of(self._address), self._resume, self._make_room)
        place = "refused" if house.stopping else house.logins.enter(self._login)
        if place == "refused":
            house.sessions.metrics.connection_refused("logins")
            conn.abort()
            return
        if place == "wait" and not self._pause():
            house.logins.leave(self._login)
            conn.abort()
            return
        self._logging_in = True
        house.open.add(self)

    def _pause(self) -> bool:
        """Read nothing of the client until it is its turn; False where the library does not let us."""
        transport = getattr(self._connection, "_transport", None)
        if not isinstance(transport, asyncio.Transport):
            return False
        transport.pause_reading()
        self._paused = transport
        return True

    def _resume(self) -> None:
        if self._paused is not None and not self._paused.is_closing():
            self._paused.resume_reading()
        self._paused = None

    def _make_room(self) -> None:
        """End a login that has come to nothing yet, for one from somewhere else."""
        self._house.sessions.metrics.connection_refused("logins")
        self._connection.abort()

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        try:
            self._access = await self._house.admission.admit(username, password, self._address, "ssh")
        except ConnectHelperError:
            return False
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        try:
            self._access = self._house.admission.admit_key(username, key.public_data, self._address)
        except ConnectHelperError:
            return False
        return True

    def auth_completed(self) -> None:
        self._login_over()
        access = self._access
        if access is None:
            self._connection.abort()
            return
        self._house.tasks.create_task(self._live(access), name=f"ssh connection from {self._address}")

    def _login_over(self) -> None:
        if self._logging_in:
            self._logging_in = False
            self._house.logins.leave(self._login)

    def connection_lost(self, exc: Exception | None) -> None:
        self._login_over()
        self._house.open.discard(self)
        self._closed.set()

    # Serving ---------------------------------------------------------------------------------------

    async def _live(self, access: Access) -> None:
        """Hold the session and the docroot as long as the connection lasts."""
        try:
            with self._house.sessions.open(access, "sftp", self._address) as session:
                session.on_cancel(self._connection.abort)
                docroot = await asyncio.to_thread(
                    Docroot.open, access.account.docroot, follow_links=access.follow_links
                )
                with docroot:
                    await self._serve_channels(session, Files(docroot, access, self._house.makers))
        except ConnectHelperError as error:
            self._connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, error.user_message)
        except OSError as error:
            _log.warning("the docroot of %r cannot be opened: %s", access.account.name, error)
            self._connection.disconnect(
                asyncssh.DISC_BY_APPLICATION, "The folder of this account cannot be opened."
            )

    async def _serve_channels(self, session: Session, files: Files) -> None:
        handles = OpenHandles.of(self._house.handles, session.access, session.peer)
        async with asyncio.TaskGroup() as tasks:

            def start(channel: SftpChannel) -> None:
                serving = self._serve(channel, session, files, handles)
                tasks.create_task(serving, name=f"sftp channel {session.id}")

            self._start = start
            waiting, self._waiting = self._waiting or [], None
            for channel in waiting:
                start(channel)
            await self._closed.wait()

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], Awaitable[asyncssh.SSHServerSession[bytes]]] | bool:
        if len(self._channels) >= MOST_CHANNELS or self._house.stopping:
            return False
        channel = self._connection.create_server_channel(
            None, "strict", self._house.workers.room.window, PACKET
        )
        session = SftpChannel(self._begin, self._channels.discard, self._give_way)
        self._channels.add(session)
        return channel, self._checked(channel, session)

    async def _checked(
        self, channel: asyncssh.SSHServerChannel[bytes], session: SftpChannel
    ) -> asyncssh.SSHServerSession[bytes]:
        """Refuse who wants each answer in crumbs: only now is it known how large a packet they take."""
        if getattr(channel, "_send_pktsize", SMALLEST_PACKET) < SMALLEST_PACKET:
            self._channels.discard(session)
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
                f"This server sends packets of at least {SMALLEST_PACKET} bytes.",
            )
        return session

    def _begin(self, channel: SftpChannel) -> None:
        if not self._closed.is_set():
            self._start(channel)

    async def _serve(
        self, channel: SftpChannel, session: Session, files: Files, handles: OpenHandles
    ) -> None:
        """One channel, to its end. Whatever goes wrong ends this connection only."""
        house = self._house
        service = SftpService(
            files,
            session,
            channel.outlet,
            house.workers,
            handles,
            link_first=_by_the_draft(self._connection),
        )
        self._services.add(service)
        self._house.workers.room.sessions += 1
        self._go_lean(channel)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(service.run(), name=f"sftp {session.id}")
                channel.serve_with(service)
        except* (ConnectHelperError, BadPacket) as errors:
            _log.info("session %s ended: %s", session.id, errors.exceptions)
            self._connection.abort()
        except* Exception:  # noqa: BLE001 - the edge: one client's trouble must not end the server
            _log.exception("session %s failed", session.id)
            self._connection.abort()
        else:
            channel.close()
        finally:
            self._services.discard(service)
            self._house.workers.room.sessions -= 1
            self._used_at = asyncio.get_running_loop().time()

    def _give_way(self) -> None:
        give_way(self._connection.get_extra_info("socket"))

    def _go_lean(self, channel: SftpChannel) -> None:
        if self._lean is None and fits(self._connection, channel.channel):
            self._lean = LeanConnection(self._connection, self._house.workers.room)
        if self._lean is not None:
            channel.outlet.go_lean(self._lean)

    # Ending ----------------------------------------------------------------------------------------

    def end_if_idle(self, *, since: float | None = None) -> None:
        """End the connection if nothing is under way, and nothing was asked for since then."""
        now = asyncio.get_running_loop().time()
        seen = sum(service.requests for service in self._services)
        if seen != self._seen or any(service.busy for service in self._services) or self._logging_in:
            self._seen, self._used_at = seen, now
        if since is None and not any(service.has_files for service in self._services):
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, "The server is stopping.")
        elif since is not None and self._used_at < since:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, "Nothing was asked for too long.")

    def abort(self) -> None:
        """End the connection at once."""
        self._connection.abort()


def _by_the_draft(connection: asyncssh.SSHServerConnection) -> bool:
    """Tell clients with libssh (KDE's file manager): it names a link first where the server is not OpenSSH.

    So does the library below us, but the helper, which bears its name, does not.
    """
    return str(connection.get_extra_info("client_version", "")).startswith("SSH-2.0-libssh_")
