"""What a transfer of this computer's own user tells: while it runs, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from connect_helper.errors import ConnectError, ConnectHelperError, LoginError, TransferError

Outcome = Literal["completed", "failed", "stopped"]
FileState = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One file that ended, and what was proved about it.

    `proof` of a file that is "done": "digest" when both sides' digests were compared, "size" when length
    and times had to do. A file that was there already and needed nothing is "skipped", with no code. A
    message without a code says why a source stays that was to be removed or moved.
    """

    path: str  # local; lone surrogates stand for bytes that are no UTF-8
    remote_path: str
    size: int  # bytes
    state: FileState
    proof: Literal["", "size", "digest"] = ""
    digest: str = ""  # "sha-256:<hex>", where one of the whole file was asked for
    code: str = ""  # why it failed or was left out, for programs: "source_changed"
    message: str = ""  # the same for people


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file under way."""

    path: str
    remote_path: str
    bytes_written: int
    bytes_expected: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is. Bytes count what was there already of files that are gone on with.

    `scanned` tells whether `files_expected` and `bytes_expected` are final. While `phase` is "waiting" the
    connection is lost, `message` says how, and another try follows in `retry_in_s` seconds.
    """

    phase: Literal["connecting", "running", "waiting"]
    bytes_written: int
    bytes_expected: int
    files_done: int
    files_skipped: int
    files_failed: int
    files_expected: int
    scanned: bool
    rate_kbps: float  # kbit/s of 1000 bit, over the last seconds
    remaining_s: float | None  # None: not known
    elapsed_s: float
    current: tuple[FileProgress, ...] = ()  # at most 64
    message: str = ""
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a transfer ended. Counts and bytes are those of its last session, where one was lost on the way;
    a receipt tells the best that was reached for its file.

    `outcome`: "completed" when every file is at its place; "failed" when some are not or the server was
    lost; "stopped" when it was told to. `code` and `message` say why, for programs and for people.
    """

    outcome: Outcome
    direction: Literal["send", "receive"]
    host: str
    port: int
    bytes_written: int
    files_done: int
    files_skipped: int
    files_failed: int
    elapsed_s: float
    sessions: int  # 1, and 1 more for each lost connection
    code: str = ""
    message: str = ""
    receipts: tuple[Receipt, ...] = ()  # in the order the files ended

    @property
    def ok(self) -> bool:
        return self.outcome == "completed"

    @property
    def refused(self) -> bool:
        """The server was not reached, was not the right one, refused the login, or was lost for good."""
        return self.outcome == "failed" and self.code in _REFUSALS


class TransferFailed(ConnectHelperError):
    """Not every file is at its place; `result` tells all, `reason` is the error's code ("auth_failed")."""

    code = "transfer_failed"

    def __init__(self, result: Result) -> None:
        super().__init__(result.message or "The transfer failed.")
        self.result = result
        self.reason = result.code


def _codes_below(kind: type[TransferError]) -> frozenset[str]:
    found: set[str] = {kind.code} if kind is not LoginError else set()
    for deeper in kind.__subclasses__():
        found |= _codes_below(deeper)
    return frozenset(found)


_REFUSALS: Final = _codes_below(ConnectError) | _codes_below(LoginError)


def as_json(value: Receipt | Progress | Result | FileProgress) -> dict[str, Any]:
    """The fields of `value` as JSON knows them."""
    fields: dict[str, Any] = {}
    for name in value.__dataclass_fields__:
        field = getattr(value, name)
        fields[name] = [as_json(one) for one in field] if isinstance(field, tuple) else field
    return fields
