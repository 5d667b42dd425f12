"""What the server counts, in the words of Prometheus (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry per server, never the process-wide one: two servers in one process stay apart."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._sessions = Gauge(
            "connect_helper_sessions", "Sessions now open.", ("protocol",), registry=registry
        )
        self._opened = Counter(
            "connect_helper_sessions_opened", "Sessions opened.", ("protocol",), registry=registry
        )
        self._bytes = Counter(
            "connect_helper_bytes", "File bytes moved.", ("protocol", "direction"), registry=registry
        )
        self._files = Counter(
            "connect_helper_files",
            "Files finished.",
            ("protocol", "direction", "result"),
            registry=registry,
        )
        self._logins = Counter("connect_helper_logins", "Logins tried.", ("via", "result"), registry=registry)
        self._refused = Counter(
            "connect_helper_connections_refused", "Connections turned away.", ("reason",), registry=registry
        )
        self._requests = Counter(
            "connect_helper_http_requests", "HTTP requests answered.", ("method", "status"), registry=registry
        )
        self._log_queue = Gauge(
            "connect_helper_transfer_log_queue", "Entries waiting for the transfer log.", registry=registry
        )

    def session_opened(self, protocol: str) -> None:
        self._sessions.labels(protocol).inc()
        self._opened.labels(protocol).inc()

    def session_closed(self, protocol: str) -> None:
        self._sessions.labels(protocol).dec()

    def mover(self, protocol: str, direction: str) -> Callable[[int], None]:
        """A function that counts bytes; `direction` is "in" or "out", seen from the server."""
        return self._bytes.labels(protocol, direction).inc

    def file_finished(self, protocol: str, direction: str, result: str) -> None:
        """`result` is "done" or "failed"."""
        self._files.labels(protocol, direction, result).inc()

    def login(self, via: str, result: str) -> None:
        """`result` is "accepted" or the code of the refusal."""
        self._logins.labels(via, result).inc()

    def connection_refused(self, reason: str) -> None:
        """`reason` is a short word of ours, such as "sessions" or "address"."""
        self._refused.labels(reason).inc()

    def request(self, method: str, status: int) -> None:
        """Count an HTTP answer; unknown methods are one."""
        known = method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CANCEL"}
        self._requests.labels(method if known else "other", str(status)).inc()

    def log_queue(self, waiting: int) -> None:
        self._log_queue.set(waiting)

    def text(self) -> bytes:
        """All figures, for a scraper."""
        return generate_latest(self._registry)
