"""The server put together: what listens, what runs beside it, how it reloads and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from connect_helper.errors import ConnectHelperError
from connect_helper.server.accounts import Accounts, accounts_of
from connect_helper.server.admission import Admission
from connect_helper.server.checking import tls_context
from connect_helper.server.configuration import ServerConfig
from connect_helper.server.control import controlled
from connect_helper.server.http.app import HttpParts, build_app
from connect_helper.server.http.node.api import NodeApi
from connect_helper.server.http.node.description import NODE_OPERATIONS
from connect_helper.server.http.node.settings import NodeSettings
from connect_helper.server.http.serving import HttpListener
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.server.login_limiter import LoginLimiter
from connect_helper.server.metrics import Metrics
from connect_helper.server.operating import Operating, admins_only, control_socket
from connect_helper.server.operating_description import OPERATOR_OPERATIONS
from connect_helper.server.private_files import make_private_folder
from connect_helper.server.revocations import Revocations
from connect_helper.server.sessions import Sessions
from connect_helper.server.source import Source
from connect_helper.server.ssh import SshServer, ssh_server
from connect_helper.server.startup import (
    cannot_listen,
    checked,
    listening_socket,
    needs_restart,
    node_id,
    ssh_settings,
    told_fingerprint,
    transfer_log,
)
from connect_helper.storage.docroot import Docroot

_log = logging.getLogger(__name__)
_SAVE_EVERY_S: Final = 10.0
_IDLE_CHECK_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where the server listens. None: switched off."""

    ssh_port: int | None
    https_port: int | None
    http_port: int | None
    fingerprint: str | None  # of the host key that clients take, "SHA256:..."
    warnings: tuple[str, ...]


async def serve(
    source: Source, stopping: asyncio.Event, reloading: asyncio.Event, tell: Callable[[Running], None]
) -> None:
    """Run until `stopping` is set; read the settings again whenever `reloading` is.

    Raises ConfigurationInvalid, AsperaConfUnreadable, CannotServe, FolderUnusable, RunsAlready, WeakKey.
    """
    settings = await asyncio.to_thread(source.read)
    warnings = (*settings.warnings, *await asyncio.to_thread(checked, settings.config, source.toml))
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(_opened(source, settings.config))
        ports = await server.listen(stack)
        async with _tasks(server, reloading):
            _log.info("the server runs: ssh=%s https=%s http=%s", *ports)
            for warning in warnings:
                _log.warning("%s", warning)
            tell(server.running(ports, warnings))
            await stopping.wait()
            await server.wind_down()
    _log.info("the server has stopped")


@contextlib.asynccontextmanager
async def _opened(source: Source, config: ServerConfig) -> AsyncIterator[_Server]:
    server = await asyncio.to_thread(_Server, source, config)
    try:
        yield server
    finally:
        server.close()
        await asyncio.to_thread(server.close_files)


@contextlib.asynccontextmanager
async def _tasks(server: _Server, reloading: asyncio.Event) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(server.sessions.sample(), name="session samples"),
            group.create_task(server.save_logins(), name="save failed logins"),
            group.create_task(server.reload_at(reloading), name="reload"),
        ]
        if server.http is not None:
            running.append(group.create_task(server.http.watch(), name="http watch"))
        try:
            yield
        finally:
            for task in running:
                task.cancel()


class _Server:
    """The parts of one running server. Made in a thread, used on the loop."""

    def __init__(self, source: Source, config: ServerConfig) -> None:
        state = config.server.state
        make_private_folder(state)
        self._source = source
        self._config = config
        self._started = config  # what holds until a restart: all that a reload does not bring about
        self._fingerprint = told_fingerprint(config)
        self._node_id = node_id(state)
        self.metrics = Metrics()
        self._transfer_log = transfer_log(config, self.metrics)
        revocations = Revocations(config.token.revocations)
        self.sessions = Sessions(self.metrics, self._transfer_log, withdraw=revocations.revoke)
        self._accounts = Accounts(accounts_of(config))
        self._limiter = LoginLimiter(state / "failed-logins.json")
        self._admission = Admission(self._accounts, revocations, self._limiter, self.metrics)
        self._tls = tls_context(config.https) if config.https.enabled else None
        self._node: NodeApi | None = None
        self._ssh: SshServer | None = None
        self.http: HttpListener | None = None
        self._ports: tuple[int | None, int | None, int | None] = (None, None, None)
        self._limit(config)

    def close(self) -> None:
        self._admission.close()
        if self._node is not None:
            self._node.close()

    def close_files(self) -> None:
        """Write what is left to write. Blocking."""
        try:
            self._limiter.save()
        except OSError as error:
            _log.warning("failed logins could not be saved: %s", error.strerror)
        if self._transfer_log is not None:
            self._transfer_log.close()

    # Listening -------------------------------------------------------------------------------------

    async def listen(self, stack: contextlib.AsyncExitStack) -> tuple[int | None, int | None, int | None]:
        """Open everything that is switched on; `stack` closes it. Returns the ports of SSH, HTTPS, HTTP."""
        config = self._config
        control = control_socket(config.server.state)
        await stack.enter_async_context(controlled(control, self.sessions, self.metrics))
        https, http, ssh = None, None, None
        if config.https.enabled or config.http.enabled:
            self.http = HttpListener(self._app())
            stack.push_async_callback(self.http.close)
            await self.http.start()
            if config.https.enabled:
                https = await self._listen_http(config.https.address, config.https.port, self._tls)
            if config.http.enabled:
                http = await self._listen_http(config.http.address, config.http.port, None)
        if config.ssh.enabled:
            ssh = await self._listen_ssh(stack)
        self._ports = (ssh, https, http)
        if self._node is not None:
            self._node.settings = self._node_settings()
        return self._ports

    async def _listen_ssh(self, stack: contextlib.AsyncExitStack) -> int:
        settings = ssh_settings(self._config)
        try:
            self._ssh = await stack.enter_async_context(ssh_server(settings, self._admission, self.sessions))
        except OSError as error:
            raise cannot_listen("ssh", settings.address, settings.port, error) from error
        return self._ssh.port

    async def _listen_http(self, address: str, port: int, tls: ssl.SSLContext | None) -> int:
        assert self.http is not None  # noqa: S101 - made by the caller
        try:
            sock = listening_socket(address, port)
        except OSError as error:
            raise cannot_listen("https" if tls else "http", address, port, error) from error
        await self.http.listen(sock, tls)
        return int(sock.getsockname()[1])

    def _app(self) -> web.Application:
        config = self._config
        parts = HttpParts(
            admission=self._admission,
            sessions=self.sessions,
            open_docroot=self._open_docroot,
            state=config.server.state,
            limits=UploadLimits(
                unfinished_s=config.fallback.unfinished_seconds,
                unfinished_per_account=config.fallback.unfinished_per_account,
                idle_s=config.fallback.idle_seconds,
                keep_free_percent=config.limits.keep_free_percent,
            ),
            fallback=config.fallback.enabled,
            plain_passwords=config.http.passwords,
        )
        operating = Operating(self.sessions, self.metrics, admins_only(self._admission))
        routes: list[web.AbstractRouteDef] = [*operating.routes()]
        if config.node.enabled:
            self._node = NodeApi(self._admission, self.sessions, self._node_settings())
            routes += self._node.routes()
        described = [OPERATOR_OPERATIONS]
        if config.node.enabled:
            described.append(NODE_OPERATIONS)
        app = build_app(parts, more_routes=routes, descriptions=described)
        app.on_response_prepare.append(self._count_answer)
        return app

    async def _count_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        self.metrics.request(request.method, response.status)
        # The route's template, never the path or the query: those hold names, and may hold secrets.
        resource = request.match_info.route.resource
        template = None if resource is None else resource.canonical
        _log.debug("http %s %s: %d", request.method, template, response.status)

    def _open_docroot(self, name: str) -> Docroot | None:
        account = self._accounts.get(name)
        return None if account is None else Docroot.open(account.docroot)

    def _node_settings(self) -> NodeSettings:
        config = self._config
        ssh, https, http = self._ports
        return NodeSettings(
            node_id=self._node_id,
            server_name=config.server.name,
            ssh_port=ssh,
            https_port=https,
            http_port=http,
            fallback=self._started.fallback.enabled,
            sshfp=self._fingerprint,
            max_response_entries=config.node.max_response_entries,
            max_response_s=config.node.max_response_seconds,
            max_file_create_kb=config.node.max_file_create_kb,
            keep_free_percent=self._started.limits.keep_free_percent,
        )

    def running(self, ports: tuple[int | None, int | None, int | None], warnings: tuple[str, ...]) -> Running:
        """What is told once everything listens."""
        ssh, https, http = ports
        return Running(
            ssh_port=ssh,
            https_port=https,
            http_port=http,
            fingerprint=self._fingerprint,
            warnings=warnings,
        )

    # While it runs -----------------------------------------------------------------------------------

    async def save_logins(self) -> None:
        """Keep the count of failed logins on disk, for as long as this runs."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            try:
                await asyncio.to_thread(self._limiter.save)
            except OSError as error:
                _log.warning("failed logins could not be saved: %s", error.strerror)

    async def reload_at(self, reloading: asyncio.Event) -> None:
        """Read the settings again whenever the event is set, for as long as this runs."""
        while True:
            await reloading.wait()
            reloading.clear()
            try:
                await self._reload()
            except (ConnectHelperError, OSError, ValueError) as error:
                text = error.user_message if isinstance(error, ConnectHelperError) else str(error)
                _log.error("the settings were not reloaded, the old ones hold: %s", text)

    async def _reload(self) -> None:
        settings = await asyncio.to_thread(self._source.read)
        config = settings.config
        warnings = await asyncio.to_thread(checked, config, self._source.toml)
        accounts = await asyncio.to_thread(lambda: list(accounts_of(config)))
        if self._tls is not None and config.https.enabled and config.https.cert is not None:
            self._tls.load_cert_chain(config.https.cert, config.https.key)
        self._accounts.replace(accounts)
        self._admission.accounts_changed()
        ended = self.sessions.accounts_changed(self._accounts.get)
        self._config = config
        self._limit(config)
        if self._node is not None:
            self._node.settings = self._node_settings()
        for warning in (*settings.warnings, *warnings, *needs_restart(self._started, config)):
            _log.warning("%s", warning)
        _log.info("the settings were reloaded: accounts=%d, sessions ended=%d", len(accounts), ended)

    def _limit(self, config: ServerConfig) -> None:
        limits = config.limits
        self.sessions.limit = limits.sessions
        self.sessions.limit_per_account = limits.sessions_per_account
        self.sessions.whole["in"].change(limits.upload_kbps)
        self.sessions.whole["out"].change(limits.download_kbps)

    async def wind_down(self) -> None:
        """Take nothing new, let what runs end within the limit, then end it."""
        grace_s = self._config.server.stop_seconds
        _log.info("stopping: %d sessions are open", len(self.sessions.listing()))
        if self.http is not None:
            self.http.stop_listening()
        async with asyncio.TaskGroup() as group:
            if self._ssh is not None:
                group.create_task(self._ssh.stop(grace_s), name="stop ssh")
            group.create_task(self._until_quiet(grace_s), name="wait for sessions")
        self.sessions.cancel_all()

    async def _until_quiet(self, grace_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self.sessions.listing():
                    self.sessions.close_idle()
                    await asyncio.sleep(_IDLE_CHECK_S)


def signals(stopping: asyncio.Event, reloading: asyncio.Event) -> None:
    """SIGTERM and SIGINT stop the server, SIGHUP has it read its settings again."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
