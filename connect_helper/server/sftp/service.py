"""One SFTP session: takes requests as they come, has them done side by side, answers each when it is done.

Requests about paths keep their order where they meet (`order`), requests about one open file have a lane of
their own (`lane`). What waits is bounded (`desk`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from connect_helper.errors import UnsafePath
from connect_helper.server.sessions import Session
from connect_helper.server.sftp import packets
from connect_helper.server.sftp.desk import Desk, Outlet, Workers
from connect_helper.server.sftp.extensions import OFFERED, Extensions
from connect_helper.server.sftp.failures import failure
from connect_helper.server.sftp.files import Files
from connect_helper.server.sftp.handle_requests import HandleRequests
from connect_helper.server.sftp.open_handles import OpenHandles
from connect_helper.server.sftp.packets import BadPacket, Data, Fields, Packets, Request, Status
from connect_helper.server.sftp.path_requests import PathRequests


class SftpService:
    """Serves one channel; `run` it, feed it with `received`, end it with `ended`."""

    def __init__(
        self,
        files: Files,
        session: Session,
        outlet: Outlet,
        workers: Workers,
        handles: OpenHandles,
        *,
        link_first: bool = False,
    ) -> None:
        """`link_first` is that of `PathRequests`."""
        self._outlet = outlet
        self._input = Packets(self._request)
        self._greeted = False
        self._asked = asyncio.Event()  # nothing more will be asked
        self._over = asyncio.Event()  # all is answered, or the client is gone
        self._lost = False
        self._broken: BadPacket | None = None
        self._tasks = asyncio.TaskGroup()
        self._desk = desk = Desk(files, session, outlet, workers, self._tasks)
        self._handles = HandleRequests(desk, handles)
        paths = PathRequests(desk, link_first=link_first)
        extensions = Extensions(desk, self._handles)
        self._by_kind = {**paths.by_kind, **self._handles.by_kind, packets.EXTENDED: self._extended}
        self._by_name: dict[bytes, Callable[[int, Fields], None]] = {
            **paths.by_name,
            **self._handles.by_name,
            **extensions.by_name,
        }
        self._early: list[Data] | None = []  # what came before `run` began
        self.requests = 0  # so far

    @property
    def busy(self) -> bool:
        """Tell whether answers are owed."""
        return self._desk.owed > 0

    @property
    def has_files(self) -> bool:
        """Tell whether a file is open, or answers are owed."""
        return self.busy or self._handles.has_files

    async def run(self) -> None:
        """Serve until the client is done or gone; files left open are closed then.

        Raises BadPacket when the client does not speak the protocol, SessionCancelled; both in groups.
        """
        desk = self._desk
        try:
            async with self._tasks:
                early, self._early = self._early or [], None
                for data in early:
                    self.received(data)
                last = self._tasks.create_task(self._last_answer(), name=f"sftp end {desk.session.id}")
                last.add_done_callback(lambda _task: self._over.set())
                await self._over.wait()
                if self._lost:
                    raise _ClientGone
        except* _ClientGone:
            if self._broken is not None:
                raise self._broken from None
        finally:
            desk.stop.set()
            await self._handles.close_all(lost=self._lost)

    async def _last_answer(self) -> None:
        """Wait until the client has asked for all it wants, and has been sent it."""
        await self._asked.wait()
        await self._desk.idle.wait()
        await self._outlet.room(0)

    def received(self, data: Data) -> None:
        """Take bytes of the client."""
        if self._early is not None:
            self._early.append(data)
        elif not self._lost:
            try:
                self._input.feed(data)
            except BadPacket as error:
                self._broken = error
                self.ended(lost=True)

    def ended(self, *, lost: bool) -> None:
        """Nothing more will come; `lost`: nobody waits for answers either."""
        self._asked.set()
        if lost:
            self._lost = True
            self._over.set()

    def _request(self, request: Request) -> None:
        if request.kind == packets.INIT:
            self._greet(request.fields)
            return
        if not self._greeted:
            raise BadPacket("a request came before the greeting")
        self.requests += 1
        self._desk.took(request)
        try:
            self._dispatch(request)
        except OSError as error:
            self._desk.answer(failure(request.number, error), request.size)
        except UnsafePath as error:
            self._desk.answer(packets.status(request.number, Status.NO_SUCH_FILE, error.user_message))

    def _dispatch(self, request: Request) -> None:
        if request.kind == packets.WRITE:
            self._handles.write(request)
            return
        act = self._by_kind.get(request.kind, self._unsupported)
        act(request.number, request.fields)

    def _extended(self, number: int, fields: Fields) -> None:
        act = self._by_name.get(fields.string(), self._unsupported)
        act(number, fields)

    def _unsupported(self, number: int, _fields: Fields) -> None:
        self._desk.answer(packets.status(number, Status.OP_UNSUPPORTED))

    def _greet(self, fields: Fields) -> None:
        if fields.u32() < 3 or self._greeted:
            raise BadPacket("no version that is spoken here")
        self._greeted = True
        offered = b"".join(packets.string(name) + packets.string(version) for name, version in OFFERED)
        body = packets.u32(3) + offered
        self._outlet.send(packets.u32(1 + len(body)) + bytes((packets.VERSION,)) + body)


class _ClientGone(Exception):
    """Ends the tasks of a session whose client waits for nothing."""
