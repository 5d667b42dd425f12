"""WebSockets: calls, and news of the transfers of one origin and app_id (desktop reference, section 1.4).

A page takes the program for gone when its socket closes, so an idle one is never closed, and each origin has
a bounded number. News wait in an outbox: changes of one transfer melt into its latest state, so that neither
a busy list nor a page that does not read costs more than that. The content of a file is one message, so it is
in memory as a whole: of all sockets, one at a time gets such an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from connect_helper.api.callers import CALLER, Caller, identified
from connect_helper.api.content_answer import whole_content
from connect_helper.api.desktop.answering import answer_call
from connect_helper.api.desktop.calls import DesktopParts, Streamed
from connect_helper.api.desktop.messages import BadCall, Call, around_result, failure, parse_call
from connect_helper.api.gate import Gate
from connect_helper.api.outbox import Outbox
from connect_helper.errors import ConnectHelperError, TooManyRequests, WrongState
from connect_helper.transfers.state import Status
from connect_helper.transfers.subscriptions import Subscription
from connect_helper.transfers.transfer import Owner, Transfer

log = logging.getLogger(__name__)

SUBSCRIBE: Final = "subscribe_transfer_activity"
READS: Final = frozenset(
    {"read_as_array_buffer", "read_chunk_as_array_buffer", "get_checksum", "read_directory"}
)
"""What pages call in long rows: such calls wait for their turn and are not refused for their number."""
OF_ONE_ORIGIN: Final = 8
OF_STRANGERS: Final = 96  # of all origins together that the user never gave anything
OF_ALL: Final = 160  # fewer than connections, so that calls by POST always find one
MESSAGE_LIMIT: Final = 64 * 1024  # bytes of a call over a socket
CALLS_AT_ONCE: Final = 16  # of one socket
CONTENTS_AT_ONCE: Final = 1  # of all sockets; each takes up to 67 MiB, and as much in the line's own buffer
PACE_S: Final = 0.5  # between two messages of news to one socket
PING_S: Final = 30.0
MESSAGE_SIZE: Final = 256 * 1024  # characters of news in one message; one transfer may need more
GOODBYE_S: Final = 2.0
STALLED_S: Final = 60.0  # a page that takes nothing for this long is gone


class Socket:
    """One open socket. It is the Subscriber of the calls that come over it."""

    def __init__(self, caller: Caller, number: int, transport: asyncio.Transport | None) -> None:
        self.caller = caller
        self.transport = transport
        self.number = number
        self.ws = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False, timeout=GOODBYE_S / 2)
        self.owner: Owner | None = None  # whose transfers it is told of
        self.outbox: Outbox | None = None  # there from the moment the answer to the subscription is sent

    def subscribe(self, app_id: str) -> int:
        """See Subscriber. Once more for the same app_id has everything told anew."""
        owner = Owner(self.caller.origin, app_id)
        if self.owner not in (None, owner):
            raise WrongState("This socket is told of another app_id; open one more.")
        self.owner = owner
        return self.number

    def silence(self) -> None:
        """Tell it nothing any more, until it subscribes again."""
        if self.outbox is not None:
            self.outbox.close()
        self.owner = self.outbox = None

    async def end(self) -> None:
        """Say goodbye, and cut the line when that is not heard."""
        self.silence()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self.ws.close(code=WSCloseCode.GOING_AWAY)
        except (TimeoutError, RuntimeError):  # RuntimeError: still shaking hands
            self.abort()

    def abort(self) -> None:
        """Cut the line: a goodbye would wait behind what the other end does not take."""
        if self.transport is not None:
            self.transport.abort()

    async def send(self, text: str | bytes) -> None:
        """Send text, bytes as UTF-8. Raises ConnectionError when the other end is gone or takes nothing."""
        message = text.encode() if isinstance(text, str) else text
        try:
            async with asyncio.timeout(STALLED_S):
                await self.ws.send_frame(message, WSMsgType.TEXT)
        except TimeoutError:
            raise ConnectionAbortedError from None


class Sockets:
    """All open sockets of this face."""

    def __init__(self, parts: DesktopParts, gate: Gate) -> None:
        self._parts = parts
        self._gate = gate
        self._open: set[Socket] = set()
        self._numbers = itertools.count(1)
        self._contents = asyncio.Semaphore(CONTENTS_AT_ONCE)
        parts.shared.sites.on_revoke(self._silence)

    async def run(self, changes: Subscription) -> None:
        """Put what changes into the outboxes of those who may know. Runs until cancelled."""
        async for batch in changes:
            listening: dict[Owner, list[Outbox]] = {}
            for socket in self._open:
                if socket.owner is not None and socket.outbox is not None:
                    listening.setdefault(socket.owner, []).append(socket.outbox)
            for transfer in batch:
                for outbox in listening.get(transfer.owner, ()):
                    outbox.add_transfers([transfer])

    async def close(self) -> None:
        """Say goodbye to everybody."""
        await asyncio.gather(*(socket.end() for socket in list(self._open)))

    def _silence(self, origin: str) -> None:
        for socket in self._open:
            if socket.caller.origin == origin:
                socket.silence()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Shake hands and serve the socket to its end. Raises CallerNotIdentified, TooManyRequests."""
        caller = identified(request[CALLER])
        self._make_room_for(caller)
        socket = Socket(caller, next(self._numbers), request.transport)
        self._open.add(socket)
        try:
            await socket.ws.prepare(request)
            async with asyncio.TaskGroup() as tasks:
                served = _Served(socket, self._parts, tasks, self._contents)
                try:
                    await self._read(request, served)
                finally:
                    served.end()
        finally:
            self._open.discard(socket)
        return socket.ws

    def _make_room_for(self, caller: Caller) -> None:
        knows = self._parts.shared.sites.has_history
        counts = Counter(socket.caller.origin for socket in self._open)
        strangers = sum(count for origin, count in counts.items() if not knows(origin))
        crowded = strangers >= OF_STRANGERS and not knows(caller.origin)
        if crowded or counts[caller.origin] >= OF_ONE_ORIGIN or len(self._open) >= OF_ALL:
            raise TooManyRequests("Too many pages are open; close some of them.", retry_after=5)

    async def _read(self, request: web.Request, served: _Served) -> None:
        async for message in served.socket.ws:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return  # it broke; closing is no message here
            data = message.data.encode() if isinstance(message.data, str) else message.data
            try:
                call = parse_call(data)
            except BadCall as bad:
                await served.send(failure(bad.id, bad.error))
                continue
            try:
                if call.method in READS:
                    served.begin(call, turn=partial(self._gate.pace, request))
                else:
                    self._gate.count(request)
                    served.begin(call)
            except TooManyRequests as error:
                await served.send(failure(call.id, error))


class _Served:
    """A socket with the tasks it needs, all of them ended with it."""

    def __init__(
        self, socket: Socket, parts: DesktopParts, tasks: asyncio.TaskGroup, contents: asyncio.Semaphore
    ) -> None:
        self.socket = socket
        self._parts = parts
        self._tasks = tasks
        self._contents = contents  # shared with all sockets
        self._running: set[asyncio.Task[None]] = set()
        self._calls = 0
        _ = self._keep(self._ping(), "ping")

    def begin(self, call: Call, turn: Callable[[], Awaitable[None]] | None = None) -> None:
        """Answer a call beside the others: a dialog may take hours. Raises TooManyRequests.

        `turn` is awaited before anything is done; it may raise TooManyRequests too.
        """
        if self._calls >= CALLS_AT_ONCE:
            raise TooManyRequests("Too many calls at once; wait for some answers.")
        self._calls += 1
        self._keep(self._answer(call, turn), "call").add_done_callback(lambda _: self._call_ended())

    def end(self) -> None:
        for task in list(self._running):
            task.cancel()

    def _call_ended(self) -> None:
        self._calls -= 1

    async def _answer(self, call: Call, turn: Callable[[], Awaitable[None]] | None) -> None:
        if turn is not None:
            try:
                await turn()
            except TooManyRequests as error:
                await self.send(failure(call.id, error))
                return
        answer = await answer_call(self._parts, self.socket.caller, call, self.socket)
        if isinstance(answer, Streamed):
            if call.expects_answer:
                await self._send_content(call, answer)
        elif call.expects_answer:
            await self.send(answer)
        if call.method == SUBSCRIBE and self.socket.owner is not None:  # no news before that answer
            await self._tell_all(self.socket.owner)

    async def _send_content(self, call: Call, streamed: Streamed) -> None:
        before, after = around_result(call.id)
        try:
            # The page's turn comes first: whoever holds memory waits for nothing but its own line.
            async with streamed.content as content, self._contents:
                await self.send(await whole_content(content, before=before.encode(), after=after.encode()))
        except ConnectHelperError as error:
            await self.send(failure(call.id, error))

    async def _tell_all(self, owner: Owner) -> None:
        """Have the socket told of every transfer as it is now, and of changes from now on."""
        socket = self.socket
        if socket.outbox is None:
            socket.outbox = Outbox()
            _ = self._keep(self._tell(socket.outbox), "news")
        outbox = socket.outbox
        _, transfers = await self._parts.shared.manager.changes(owner, 0)
        outbox.add_transfers(transfers)

    async def _tell(self, outbox: Outbox) -> None:
        while not outbox.closed:
            await outbox.wait(PING_S)
            transfers, _ = outbox.take()
            for text in self._notifications(transfers):
                await self.send(text)
            await asyncio.sleep(PACE_S)

    def _notifications(self, transfers: list[Transfer]) -> Iterator[str]:
        """As few messages as their size allows; each is made when its turn comes."""
        removed = [transfer for transfer in transfers if transfer.status is Status.REMOVED]
        changed = [transfer for transfer in transfers if transfer.status is not Status.REMOVED]
        for kind, some in (("transferUpdated", changed), ("transferRemoved", removed)):
            texts: list[str] = []
            size = 0
            for text in map(self._parts.texts.one, some):
                if texts and size + len(text) > MESSAGE_SIZE:
                    yield self._notification(kind, texts)
                    texts, size = [], 0
                texts.append(text)
                size += len(text)
            if texts:
                yield self._notification(kind, texts)

    def _notification(self, kind: str, texts: list[str]) -> str:
        data = texts[0] if len(texts) == 1 else f'{{"transfers":[{",".join(texts)}]}}'
        return (
            '{"jsonrpc":"2.0","method":"transfer_activity","params":{'
            f'"subscription":{self.socket.number},"result":{{"type":"{kind}","data":{data}}}}}}}'
        )

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            with suppress(ConnectionError):
                await self.socket.ws.ping()

    async def send(self, text: str | bytes) -> None:
        """A socket that is gone ends by itself; one that takes nothing is ended here."""
        try:
            await self.socket.send(text)
        except ConnectionAbortedError:
            log.info("a socket of %s took no news; it is closed", self.socket.caller.origin)
            self.socket.abort()
        except (ConnectionError, RuntimeError):  # RuntimeError: closed before it was sent
            return

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._tasks.create_task(work, name=f"socket {self.socket.number}: {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
