"""One session while it is open: its figures, its rate limits, its files, and how it is ended."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final
from typing import Protocol as Interface

from connect_helper.errors import ConnectHelperError
from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.fetch import Fetch
from connect_helper.server.metrics import Metrics
from connect_helper.server.rate import RateLimit
from connect_helper.server.sent_files import SentFile, SentFiles
from connect_helper.server.session_reports import FileReport, Protocol, SessionReport, Status, Way
from connect_helper.server.set_rates import SetRates, transfer_of
from connect_helper.spec.names import display
from connect_helper.storage.docpath import DocPath

_log = logging.getLogger(__name__)
_SOURCES: Final = 100  # of a token, told about its session; there may be ten thousand
_FILES: Final = 200  # finished files kept per session, also after its end; the transfer log has all
_BROKEN: Final = 1000  # broken off, to be finished or not; beyond them the oldest have failed
_BROKE_OFF: Final = "The connection ended before the whole file was sent."
_SAMPLES: Final = 360  # an hour, one each ten seconds


class SessionCancelled(ConnectHelperError):
    """The operator, or a change of the configuration, ended the session."""

    code: ClassVar[str] = "session_cancelled"
    http_status: ClassVar[int] = 403
    error_code: ClassVar[int] = 28

    def __init__(self) -> None:
        super().__init__("The server's operator ended this session.")


@dataclass(slots=True)
class _UnderWay:
    """A file that somebody has open; over several connections, more than once."""

    report: FileReport
    times: int = 0


@dataclass(frozen=True, slots=True)
class _BrokenOff:
    """A file that broke off. `is_whole`: it was finished by other sessions of the transfer."""

    path: DocPath
    way: Way
    size: int  # bytes
    started_at: float
    is_whole: Callable[[], bool]


class House(Interface):
    """What a session needs of the whole."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def whole(self) -> Mapping[Way, RateLimit]:
        """The limits that all sessions share."""
        ...

    @property
    def set_rates(self) -> SetRates:
        """The limits that were set for single transfers."""
        ...

    @property
    def sent(self) -> SentFiles:
        """How far transfers have fetched their files."""
        ...

    def log_file(self, session_id: str, report: FileReport) -> None: ...


class Session:
    """One session while it is open. Made by `Sessions` only."""

    def __init__(
        self,
        house: House,
        access: Access,
        protocol: Protocol,
        peer: str,
        cookie: str | None,
    ) -> None:
        self.id = secrets.token_hex(16)
        self.access = access
        self.account = access.account
        self.protocol: Protocol = protocol
        self.peer = peer
        self.cookie = cookie or (access.token.cookie if access.token else None)
        self.started_at = time.time()
        self.cancelled = False
        self.samples: deque[tuple[float, int, int]] = deque(maxlen=_SAMPLES)  # time, bytes in, bytes out
        self.finished: deque[FileReport] = deque(maxlen=_FILES)
        self._house = house
        self.transfer = transfer_of(access, peer, cookie)
        self._moved: dict[Way, int] = {"in": 0, "out": 0}
        self._files: dict[Way, int] = {"in": 0, "out": 0}
        self._files_failed = 0
        self._under_way: dict[tuple[Way, DocPath], _UnderWay] = {}
        self._broken: dict[DocPath | str, _BrokenOff] = {}  # downloads by path, uploads by id
        self._own: dict[Way, RateLimit] = {way: RateLimit(self.highest_rate(way)) for way in ("in", "out")}
        self._count = {way: house.metrics.mover(protocol, way) for way in ("in", "out")}
        self._on_cancel: list[Callable[[], None]] = []

    @property
    def bytes_in(self) -> int:
        return self._moved["in"]

    @property
    def bytes_out(self) -> int:
        return self._moved["out"]

    def highest_rate(self, way: Way) -> int | None:
        """The lower of the account's and the token's cap, kbit/s; None: no limit."""
        own = self.account.upload_cap_kbps if way == "in" else self.account.download_cap_kbps
        token = self.access.token.rate_cap_kbps if self.access.token else None
        return min((cap for cap in (own, token) if cap is not None), default=None)

    def rate(self, way: Way) -> int | None:
        """The limit now, kbit/s: the cap, or less where somebody set less."""
        limit = self._house.set_rates.limit(self.transfer, way)
        both = (self._own[way].kbps, None if limit is None else limit.kbps)
        return min((kbps for kbps in both if kbps is not None), default=None)

    def set_rate(self, way: Way, kbps: int | None) -> int | None:
        """Set a limit for this and all other sessions of the transfer together; None lifts it.

        Returns what holds now, which is never above the cap.
        """
        wanted = None if kbps is None else max(kbps, 1)
        self._house.set_rates.change(self.transfer, self.access, way, wanted)
        return self.rate(way)

    async def pace(self, amount: int, way: Way) -> None:
        """Wait until `amount` bytes may move, and count them. Raises SessionCancelled."""
        if self.cancelled:
            raise SessionCancelled
        await self._own[way].take(amount)
        limit = self._house.set_rates.limit(self.transfer, way)
        if limit is not None:
            await limit.take(amount)
        await self._house.whole[way].take(amount)
        if self.cancelled:
            raise SessionCancelled
        self._moved[way] += amount
        self._count[way](amount)

    def fetch(self, path: DocPath, facts: os.stat_result) -> Fetch:
        """Begin to send the open file that `facts` tell of, or a part of it."""
        return Fetch(self, self._house.sent, path, facts)

    def file_started(self, path: DocPath, way: Way, size: int | None = None) -> None:
        """Tell that a file is under way, as often as it is opened; `size` in bytes where it is known."""
        report = FileReport(path=path, way=way, started_at=time.time(), size=size)
        self._under_way.setdefault((way, path), _UnderWay(report)).times += 1

    def file_finished(
        self, path: DocPath, way: Way, size: int, digest: str | None = None, error: str | None = None
    ) -> None:
        """Tell how a file ended; `error` is a sentence, None when it is whole. `size` in bytes."""
        begun = self._closed(path, way)
        if way == "out":
            self._broken.pop(path, None)
        self._ended(path, way, size, begun.started_at if begun else time.time(), digest, error)

    def _ended(
        self,
        path: DocPath,
        way: Way,
        size: int,
        started_at: float,
        digest: str | None = None,
        error: str | None = None,
    ) -> None:
        report = FileReport(
            path=path,
            way=way,
            started_at=started_at,
            ended_at=time.time(),
            size=size,
            digest=digest,
            error=error,
        )
        self.finished.append(report)
        if error is None:
            self._files[way] += 1
        else:
            self._files_failed += 1
        self._house.metrics.file_finished(self.protocol, way, "done" if error is None else "failed")
        self._house.log_file(self.id, report)
        _log.info(
            "file %s: session=%s path=%r bytes=%d%s",
            way,
            self.id,
            display(b"/".join(path)),
            size,
            "" if error is None else f" failed: {error}",
        )

    def file_left(self, path: DocPath, way: Way) -> None:
        """Tell that a file is no longer under way, without a verdict: looked into, or left for a resume."""
        self._closed(path, way)

    def file_broke_off(self, path: DocPath, size: int, sent: SentFile) -> None:
        """Tell that not all was sent: the file has failed if it is not whole when the session ends."""
        self._broke_off(path, path, "out", size, lambda: sent.whole)

    def upload_broke_off(self, upload_id: str, path: DocPath, size: int) -> None:
        """Tell that not all came: it has failed if it does not go on, or is given up, in this session."""
        self._broke_off(upload_id, path, "in", size, lambda: False)

    def upload_went_on(self, upload_id: str) -> None:
        """Tell that an upload is whole, or was given up by its client."""
        self._broken.pop(upload_id, None)

    def _broke_off(
        self, key: DocPath | str, path: DocPath, way: Way, size: int, is_whole: Callable[[], bool]
    ) -> None:
        begun = self._closed(path, way)
        before = self._broken.pop(key, None)
        known = before or begun
        started_at = known.started_at if known else time.time()
        self._broken[key] = _BrokenOff(path, way, size, started_at, is_whole)
        if len(self._broken) > _BROKEN:
            self._settle(next(iter(self._broken)))

    def settle(self) -> None:
        """Judge what broke off: nothing more will come."""
        for key in tuple(self._broken):
            self._settle(key)

    def _settle(self, key: DocPath | str) -> None:
        one = self._broken.pop(key)
        if not one.is_whole():
            self._ended(one.path, one.way, one.size, one.started_at, error=_BROKE_OFF)

    def _closed(self, path: DocPath, way: Way) -> FileReport | None:
        """What is known of the beginning of a file that was closed once."""
        one = self._under_way.get((way, path))
        if one is None:
            return None
        one.times -= 1
        if not one.times:
            del self._under_way[way, path]
        return one.report

    def on_cancel(self, act: Callable[[], None]) -> None:
        """Have `act` called once when the session is cancelled: it closes the connection."""
        if self.cancelled:
            act()
        else:
            self._on_cancel.append(act)

    def no_longer_on_cancel(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):
            self._on_cancel.remove(act)

    def cancel(self) -> None:
        """End the session: no further byte moves, and connections are closed."""
        if self.cancelled:
            return
        self.cancelled = True
        acts, self._on_cancel = self._on_cancel, []
        for act in acts:
            act()

    def take_account(self, account: Account) -> None:
        """Go on under an account that differs in its caps only."""
        self.account = account
        for way, limit in self._own.items():
            limit.change(self.highest_rate(way))

    def take_sample(self, now: float) -> None:
        self.samples.append((now, self.bytes_in, self.bytes_out))

    def report(self, *, ended_at: float | None = None, error: str | None = None) -> SessionReport:
        """The session as it stands; with `ended_at`, as it ended."""
        token = self.access.token
        return SessionReport(
            id=self.id,
            account=self.account.name,
            protocol=self.protocol,
            peer=self.peer,
            direction=token.direction if token else None,
            token_id=token.id if token else None,
            cookie=self.cookie,
            started_at=self.started_at,
            ended_at=ended_at,
            status=self._status(ended_at, error),
            error=error,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            files_in=self._files["in"],
            files_out=self._files["out"],
            files_failed=self._files_failed,
            cap_in_kbps=self.rate("in"),
            cap_out_kbps=self.rate("out"),
            under_way=tuple(one.report for one in self._under_way.values()),
            sources=token.sources[:_SOURCES] if token else (),
            destination_root=token.destination_root if token else None,
        )

    def _status(self, ended_at: float | None, error: str | None) -> Status:
        if self.cancelled:
            return "cancelled"
        if ended_at is None:
            return "running"
        return "failed" if error is not None or self._files_failed else "completed"
