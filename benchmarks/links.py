"""The line between both ends of a benchmark: loopback, `tc netem`, or a program of yours that makes one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the line is like. Milliseconds there and back, Mbit/s, percent of packets lost."""

    rtt_ms: int
    rate_mbit: int
    loss_percent: float

    def __str__(self) -> str:
        loss = f", {self.loss_percent:g} % loss" if self.loss_percent else ""
        return f"{self.rtt_ms} ms, {self.rate_mbit} Mbit/s{loss}"


class Link(AbstractContextManager["Link"], Protocol):
    """A line while its context is open."""

    address: str  # of the server's end

    def client(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` at the client's end."""
        ...

    def server(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` at the server's end."""
        ...


class Loopback:
    """No line at all."""

    address = "127.0.0.1"

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def client(self, command: Sequence[str]) -> list[str]:
        return list(command)

    server = client


class ProgramLink:
    """A line made by a program: `up RTT_MS RATE_MBIT LOSS_PERCENT`, `client ...`, `server ...`, `down`."""

    def __init__(self, program: str, address: str, conditions: Conditions) -> None:
        self._program = program
        self._conditions = conditions
        self.address = address

    def __enter__(self) -> ProgramLink:
        line = self._conditions
        numbers = [f"{number:g}" for number in (line.rtt_ms, line.rate_mbit, line.loss_percent)]
        subprocess.run([self._program, "up", *numbers], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([self._program, "down"], check=False, stdout=subprocess.DEVNULL)

    def client(self, command: Sequence[str]) -> list[str]:
        return [self._program, "client", *command]

    def server(self, command: Sequence[str]) -> list[str]:
        return [self._program, "server", *command]


class NetemLink:
    """Two network namespaces and `tc netem` on both ends of a veth pair. Needs root and sch_netem.

    The queue holds half a round trip, at least 20 ms; TCP is what the system uses, so set cubic before.
    """

    address = "10.78.0.2"
    _ENDS = (("bench-client", "10.78.0.1"), ("bench-server", "10.78.0.2"))

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._stack = ExitStack()

    def __enter__(self) -> NetemLink:
        with ExitStack() as stack:
            for name, _ in self._ENDS:
                _run("ip", "netns", "add", name)
                stack.callback(_run, "ip", "netns", "del", name)
            (left, _), (right, _) = self._ENDS
            _run(
                "ip", "link", "add", "bench0", "netns", left, "type", "veth", "peer", "bench0", "netns", right
            )
            for name, address in self._ENDS:
                inside = ("ip", "netns", "exec", name)
                _run(*inside, "ip", "address", "add", f"{address}/30", "dev", "bench0")
                _run(*inside, "ip", "link", "set", "bench0", "up")
                _run(*inside, "tc", "qdisc", "add", "dev", "bench0", "root", "netem", *self._netem())
            self._stack = stack.pop_all()
        return self

    def _netem(self) -> list[str]:
        line = self._conditions
        queued_ms = line.rtt_ms / 2 + max(20, line.rtt_ms / 2)  # packets on the way count as queued
        packets = int(line.rate_mbit * 1000 * queued_ms / 1000 / 12) + 10
        loss = ["loss", f"{line.loss_percent}%"] if line.loss_percent else []
        delay = ["delay", f"{line.rtt_ms / 2}ms", "rate", f"{line.rate_mbit}mbit"]
        return [*delay, *loss, "limit", str(packets)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def client(self, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", "bench-client", *command]

    def server(self, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", "bench-server", *command]


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
