"""What the helper and a worker process say to each other: one JSON object a line, nothing shared.

The helper writes commands to the worker's standard input and reads events from its standard output.
End of input means the helper is gone: the worker stops its session, keeps partial files and exits.
One worker runs one session at a time; after `Ended` it waits for the next `Start`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from connect_helper.transfers.plan import SessionPlan

LINE_LIMIT = 64 * 1024 * 1024  # bytes; a plan with many thousand sources is one line


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# Commands: helper to worker ------------------------------------------------------------------------


class Start(_Message):
    """Run this session."""

    type: Literal["start"] = "start"
    plan: SessionPlan


class Answer(_Message):
    """The user's answer to a `Question`."""

    type: Literal["answer"] = "answer"
    question_id: int
    accepted: bool


class SetRate(_Message):
    """Change the limit of the running session; None lifts it. Effective within a second."""

    type: Literal["set_rate"] = "set_rate"
    rate_kbps: int | None


class Stop(_Message):
    """End the session now, keep partial files; the worker answers `Ended` with outcome "stopped"."""

    type: Literal["stop"] = "stop"


Command = Annotated[Start | Answer | SetRate | Stop, Field(discriminator="type")]


# Events: worker to helper --------------------------------------------------------------------------


class Question(_Message):
    """The server's key is not known: the session waits for an `Answer` before any credential is sent."""

    type: Literal["question"] = "question"
    question_id: int
    host: str
    port: int
    key: str  # public key, "ssh-ed25519 AAAA..."
    fingerprint: str  # "SHA256:..."


class Connected(_Message):
    """Logged in; data can flow."""

    type: Literal["connected"] = "connected"
    address: str  # address in use
    transport: Literal["fasp", "http"] = "fasp"  # as page libraries name SSH and HTTP fallback
    encrypted: bool = True


class Totals(_Message):
    """What the scan has found so far; `final` when it is over."""

    type: Literal["totals"] = "totals"
    bytes_expected: int
    files_expected: int
    final: bool


class FileReport(_Message):
    """State of one file; sent when it ends, and while it is one of those under way that are shown.

    That is when it starts, and with each `Progress`.
    """

    type: Literal["file"] = "file"
    index: int  # position in the order of first activity, from 0
    path: str  # full path shown to users: local path of a download, local source of an upload
    remote_path: str
    bytes_expected: int
    bytes_written: int
    state: Literal["running", "done", "skipped", "failed"]
    code: str = ""  # slug of connect_helper.errors when failed or skipped, e.g. "source_changed"
    error_code: int = 0  # Aspera number
    message: str = ""
    proof: Literal["", "size", "digest"] = ""  # receipt: what was verified, when done
    digest: str = ""  # "sha-256:<hex>" when one was computed
    earlier: bool = False  # done by an earlier session of this transfer: the receipt of that one stands
    elapsed_usec: int = 0  # since the session began with it


class Progress(_Message):
    """Sent at least twice a second while data flows, and once at the end."""

    type: Literal["progress"] = "progress"
    bytes_written: int  # of the whole transfer, counting what a resumed file already had
    current: tuple[FileReport, ...]  # files under way, at most 64


class Ended(_Message):
    """The session is over. `failed` with `retryable` asks the manager to try again later."""

    type: Literal["ended"] = "ended"
    outcome: Literal["completed", "failed", "stopped"]
    code: str = ""
    error_code: int = 0
    message: str = (
        ""  # for the user; "3 of 120 files failed." when only files failed; of a completed one a note
    )
    internal_message: str = ""  # for the log; no secret
    retryable: bool = False
    retry_after_s: float = 0.0  # seconds that the server wants to be left alone


Event = Annotated[Question | Connected | Totals | FileReport | Progress | Ended, Field(discriminator="type")]

COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
