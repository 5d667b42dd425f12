"""Transfers as pages read them: TransferInfo (Connect reference section 7.1), written as JSON text.

Pages ask every second or two, in every tab, and what they ask for must be ready. A text is good until the
transfer's iteration token changes, and its parts are kept for longer: what the page asked for, what stays
the same while a transfer runs, and each file. What never changes is made when a transfer is first heard of;
the rest while pages ask. Both are made ahead, a few transfers at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final

from connect_helper.api.connect.views import without_errors
from connect_helper.api.progress import percentage
from connect_helper.spec.lenient import as_bool
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import Status
from connect_helper.transfers.subscriptions import Subscription
from connect_helper.transfers.transfer import Transfer

TEXTS_KEPT: Final = 4_000  # transfers whose text is remembered
HEARD_KEPT: Final = 40_000  # transfers of which is remembered that something was made ahead
CHARACTERS_KEPT: Final = 32 * 1024 * 1024  # of all texts together, and of what their makers asked for
# Texts are made ahead when somebody asked so lately: page libraries ask every 2 s, and from a tab in the
# background once a minute. It takes a hundredth of a core when a thousand transfers run.
ASKED_S: Final = 90.0
TURN_S: Final = 0.001  # of making texts, before other requests have a turn; one takes 0.01 to 2 ms
# Between two looks at what changed. An answer makes what it finds unmade, and others have turns meanwhile:
# with a thousand transfers running, and a look every 20 ms, that was up to 80 texts.
AHEAD_S: Final = 0.005

_encoded: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class _Known:
    """What is remembered of one transfer."""

    spec: object
    settings: object
    asked: str  # without the last brace
    shows_files: bool
    facts: tuple[Any, ...] = ()
    steady: str = ""
    files: dict[int, tuple[FileReport, str]] = field(default_factory=dict)
    token: int = -1
    whole: bytes = b""  # empty: nobody has asked yet
    reports: int = 0  # files in it

    @property
    def size(self) -> int:
        return len(self.asked) + len(self.whole)


class _Turn:
    """A short time on the event loop."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + TURN_S

    async def over(self) -> None:
        """Let others go first when it is over, and begin another one."""
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + TURN_S


class InfoTexts:
    """Remembers the texts of the transfers asked about last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._characters = 0
        self._heard: dict[str, None] = {}  # ids, the oldest first
        self._asked_at = -ASKED_S

    async def activity(self, token: int, transfers: Iterable[Transfer]) -> bytes:
        """The answer of `activity` (section 7). What has to be made for it leaves turns to other requests.

        A transfer that changes meanwhile may be told as it was or as it is: its next change comes after
        `token` either way.
        """
        self._asked_at = time.monotonic()
        infos, turn = [], _Turn()
        for transfer in transfers:
            known = self._known.get(transfer.id)
            if known is not None and known.token == transfer.iteration_token and _tells_all(known, transfer):
                infos.append(known.whole)
            else:
                infos.append(self.info(transfer))
                await turn.over()
        head = b'{"iteration_token":%d,"result_count":%d,"transfers":[' % (token, len(infos))
        if not infos:
            return head + b"]}"
        # An answer of a megabyte is put together once.
        infos[0] = head + infos[0]
        infos[-1] += b"]}"
        return b",".join(infos)

    async def keep_ready(self, changes: Subscription) -> None:
        """Make texts of what changes before pages ask. Runs until cancelled.

        What a page has asked about is made whole for as long as pages ask. Of the others only what stays is:
        that is most of the work, and is done once, so that the first answer has little left to do. Not again
        for what had to make room since: where more is running than fits, that would never end.
        """
        async for batch in changes:
            asked, turn = time.monotonic() - self._asked_at < ASKED_S, _Turn()
            for transfer in batch:
                known = self._known.get(transfer.id)
                if self._is_new(transfer.id) if known is None else not _fits(known, transfer):
                    self._remember(transfer)
                    self._make_room()
                    await turn.over()
                elif asked and known is not None and known.whole:
                    self.info(transfer)
                    await turn.over()
            await asyncio.sleep(AHEAD_S)

    def _is_new(self, transfer_id: str) -> bool:
        """Tell whether nothing was heard of it, and note that now something was."""
        if transfer_id in self._heard:
            return False
        self._heard[transfer_id] = None
        if len(self._heard) > HEARD_KEPT:
            del self._heard[next(iter(self._heard))]
        return True

    def info(self, transfer: Transfer) -> bytes:
        """One complete TransferInfo. Leaves out `files` and `paths` when the start call asked for that."""
        known = self._known.get(transfer.id)
        if known is None or not _fits(known, transfer):
            known = self._remember(transfer)
        if known.token != transfer.iteration_token:
            before = len(known.whole)
            known.token, known.whole = transfer.iteration_token, _whole(known, transfer)
            known.reports = len(transfer.files)
            self._characters += len(known.whole) - before
            self._make_room()
        return known.whole

    def _remember(self, transfer: Transfer) -> _Known:
        """Make what stays the same for as long as nobody changes the spec."""
        self._forget(transfer.id)
        shows_files = as_bool(transfer.settings.get("return_files"), "return_files") is not False
        asked = _encoded(_asked(transfer))[:-1]
        known = _Known(transfer.spec, transfer.settings, asked, shows_files)
        self._known[transfer.id] = known
        self._characters += known.size
        return known

    def _make_room(self) -> None:
        while self._characters > CHARACTERS_KEPT or len(self._known) > TEXTS_KEPT:
            self._forget(next(iter(self._known)))

    def _forget(self, transfer_id: str) -> None:
        known = self._known.pop(transfer_id, None)
        self._characters -= known.size if known is not None else 0


def _fits(known: _Known, transfer: Transfer) -> bool:
    """Tell whether what is remembered was made of what the transfer was asked to do now."""
    return known.spec is transfer.spec and known.settings is transfer.settings


def _tells_all(known: _Known, transfer: Transfer) -> bool:
    """Tell whether a text with the transfer's token has all that the transfer has.

    A shelved transfer is another object each time it is read, but with the same token it is the same. Only
    its files may not have been read with it, where the disk was busy or too many were asked for.
    """
    return known.spec is transfer.spec or known.reports >= len(transfer.files)


def _whole(known: _Known, transfer: Transfer) -> bytes:
    facts = _facts(transfer)
    if known.facts != facts:
        known.facts, known.steady = facts, _steady(transfer)
    parts = [known.asked, known.steady, _figures(transfer)]
    if known.shows_files:
        parts.append(_files(transfer, known))
    return (",".join(parts) + "}").encode("ascii")


def _asked(transfer: Transfer) -> dict[str, Any]:
    """The part that stays the same while a transfer runs."""
    spec = without_errors(transfer.spec)
    if as_bool(transfer.settings.get("return_paths"), "return_paths") is False:
        spec.pop("paths", None)
    return {"aspera_connect_settings": without_errors(transfer.settings), "transfer_spec": spec}


def _facts(one: Transfer) -> tuple[Any, ...]:
    """All that `_steady` writes of a transfer and that may change."""
    return (
        one.status,
        one.previous_status,
        one.start_time,
        one.end_time,
        one.title,
        one.transport,
        one.explorer_path,
        one.error_code,
        one.error_desc,
    )


def _steady(one: Transfer) -> str:
    """What stays as it is while a transfer runs and nobody changes it; without braces."""
    return (
        f'"uuid":{_quoted(one.id)},'
        f'"add_time":"{local_time(one.add_time)}",'
        f'"start_time":"{local_time(one.start_time)}",'
        f'"end_time":"{local_time(one.end_time)}",'
        f'"status":"{one.status}",'
        f'"previous_status":"{one.previous_status or ""}",'
        f'"title":{_quoted(one.title)},'
        f'"transport":"{one.transport}",'
        f'"explorer_path":{_quoted(one.explorer_path)},'
        f'"error_code":{one.error_code},'
        f'"error_desc":{_quoted(one.error_desc)}'
    )


def _figures(one: Transfer) -> str:
    """What changes with every progress, but for the files; without braces."""
    counts = one.counts
    return (
        f'"modify_time":"{local_time(one.modify_time)}",'
        f'"bytes_expected":{one.bytes_expected},'
        f'"bytes_written":{one.bytes_written},'
        f'"percentage":{percentage(one)!r},'
        f'"calculated_rate_kbps":{round(one.rate_kbps)},'
        f'"elapsed_usec":{one.elapsed_usec},'
        f'"remaining_usec":{one.remaining_usec},'
        f'"current_file":{_quoted(one.current_file)},'
        f'"file_counts":{{"attempted":{counts.attempted},"completed":{counts.completed},'
        f'"failed":{counts.failed},"skipped":{counts.skipped}}},'
        f'"transfer_iteration_token":{one.iteration_token}'
    )


def _files(one: Transfer, known: _Known) -> str:
    """The member `files`. Most of them are the reports of the time before."""
    texts, before = [], known.files
    if one.status is Status.RUNNING:
        known.files = {}
    for index, report in one.files.items():
        seen = before.get(index)
        if seen is None or seen[0] is not report:
            seen = (report, _file(one.id, report))
        if one.status is Status.RUNNING:
            known.files[index] = seen
        texts.append(seen[1])
    if one.status is not Status.RUNNING:
        known.files = {}  # the whole text stays good by now
    return f'"files":[{",".join(texts)}]'


def _file(transfer_id: str, report: FileReport) -> str:
    return (
        f'{{"file":{_quoted(report.path)},'
        f'"bytes_expected":{report.bytes_expected},'
        f'"bytes_written":{report.bytes_written},'
        f'"fasp_file_id":"{_file_id(transfer_id, report.index)}"}}'
    )


def local_time(seconds: float) -> str:
    """`YYYY-MM-DDTHH:MM:SS` in local time without zone, "" for never."""
    return _local_time(int(seconds)) if seconds else ""


@lru_cache(maxsize=8_192)
def _local_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


@lru_cache(maxsize=8_192)
def _file_id(transfer_id: str, index: int) -> str:
    """Five groups of 8 hex digits, as page libraries know them; stable for one file of one transfer."""
    digits = hashlib.sha1(f"{transfer_id}/{index}".encode(), usedforsecurity=False).hexdigest()
    return "-".join(digits[at : at + 8] for at in range(0, 40, 8))
