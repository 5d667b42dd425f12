"""Who is new goes first: a login waits for a few busy sessions' turns, not for those of all.

Logging in takes about ten exchanges. With an ordinary event loop each of them waits for one round of
everybody who has something to read or room to write, and with hundreds of busy sessions that adds up to
seconds. Here sockets are on one of two lanes. Those that have just come are asked about first, all of them;
of those that `give_way`, a few at a time, each in its turn: the system keeps the order (epoll(7)).
"""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
from asyncio.trsock import TransportSocket
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Final, cast

Socket = socket.socket | TransportSocket
FEW: Final = 16  # sockets that give way, looked after between two looks at the others


class LaneSelector(selectors.BaseSelector):
    """Two of the system's lists of sockets, the slower one being an entry of the other."""

    def __init__(self) -> None:
        self._quick = selectors.EpollSelector()
        self._slow = _FewAtOnce()
        self._in_slow: set[int] = set()  # descriptors that give way, registered at the moment or not
        self._gate = self._quick.register(self._slow, selectors.EVENT_READ)
        maps = cast("Any", (self._quick.get_map(), self._slow.get_map()))
        self._map: Mapping[Any, selectors.SelectorKey] = ChainMap(*maps)

    def _lane(self, fileobj: Any) -> selectors.EpollSelector:
        handle = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self._slow if handle in self._in_slow else self._quick

    def move(self, handle: int, *, slow: bool) -> None:
        """Have a socket give way from here on, or no longer."""
        if slow == (handle in self._in_slow):
            return
        before = self._lane(handle)
        (self._in_slow.add if slow else self._in_slow.discard)(handle)
        key = before.get_map().get(handle)
        if key is not None:
            before.unregister(handle)
            self._lane(handle).register(handle, key.events, key.data)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._lane(fileobj).register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._lane(fileobj).unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._lane(fileobj).modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._lane(fileobj).get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._quick.select(timeout)
        if not any(key is self._gate for key, _ in ready):
            return ready
        return [one for one in ready if one[0] is not self._gate] + self._slow.select(0)

    def close(self) -> None:
        self._slow.close()
        self._quick.close()


class _FewAtOnce(selectors.EpollSelector):
    """Tells of no more than `FEW` at once; the others come first the next time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = []
        for handle, event in self._selector.poll(timeout, FEW):  # type: ignore[attr-defined] # of the base class
            key = self.get_map().get(handle)
            if key is not None:
                writes = selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0
                reads = selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                ready.append((key, (writes | reads) & key.events))
        return ready


class LaneLoop(asyncio.SelectorEventLoop):
    """An event loop with both lanes."""

    def __init__(self) -> None:
        self.lanes = LaneSelector()
        super().__init__(self.lanes)


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop for a server: with two lanes where the system has what that takes."""
    return LaneLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def arrived(sock: Socket | None) -> None:
    """A connection is new, whoever had its descriptor before."""
    _move(sock, slow=False)


def give_way(sock: Socket | None) -> None:
    """A connection has logged in and keeps the server busy."""
    _move(sock, slow=True)


def _move(sock: Socket | None, *, slow: bool) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(loop, LaneLoop) and sock is not None and sock.fileno() >= 0:
        loop.lanes.move(sock.fileno(), slow=slow)
