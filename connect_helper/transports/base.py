"""The port of this room: what a session needs from a way to reach a server.

A transport moves bytes and answers questions about the far side; it decides nothing. What to send,
skip, resume or replace, and whether what arrived is right, is the session's business, so that another
transport inherits all of it. Paths of the far side are bytes; local files are open descriptors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Protocol

from connect_helper.errors import TransferError
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.spec.words import Links

RECORD_BLOCK = 8 * 1024 * 1024  # bytes hashed together for resume records (REL-5)

Kind = Literal["file", "folder", "link", "special"]
Publish = Literal["replace", "fresh", "new"]
"""fresh: raises AlreadyExists when the name is taken; new: that too, and it need not be looked at first."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the far side says about one of its names; links are told apart, not followed."""

    kind: Kind
    size: int  # bytes
    mtime_ns: int  # SFTP knows whole seconds only
    atime_ns: int = 0
    etag: str = ""  # strong, of exactly this content; "" where the far side tells none


NOT_SEEN: Final = Facts("special", 0, 0)  # of what could not be looked at: it may be a file, of any time


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing found by a scan of the far side.

    `below` are the names below the scanned source, each one safe component; () is the source itself.
    `path` is the full remote path. An entry with `error` cannot be transferred and says why. `content` is
    what a link says that is to be copied. `real` is the path with links below the source resolved, where the
    scan knows it.
    """

    path: bytes
    below: tuple[bytes, ...]
    facts: Facts
    error: TransferError | None = None
    content: bytes = b""
    real: bytes = b""


Enters = Callable[[tuple[bytes, ...]], bool]
"""Tells whether a scan goes into the folder with these names below its source."""


def everywhere(_: tuple[bytes, ...]) -> bool:
    """Go into every folder."""
    return True


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a stream of bytes: how many whole blocks lie before it, and the hash of the rest."""

    offset: int = 0
    blocks: int = 0
    tail: str = ""  # hex digest of the bytes after the last whole block; "" when there are none


@dataclass(frozen=True, slots=True)
class Proof:
    """What the first `offset` bytes are: hex digest of each whole block, and of the rest (`tail`).

    `algorithm` is a name of `spec.block_hash`. `chained`: each is that of everything up to there.
    """

    offset: int = 0
    blocks: tuple[str, ...] = ()
    tail: str = ""
    chained: bool = False
    algorithm: str = BLOCK_HASH


class BlockHashes:
    """The hash of each whole `RECORD_BLOCK` of a byte stream, and a digest of all of it when asked for.

    Fed strictly in order, by one thread at a time. With `chained`, an algorithm, the hash at the end of a
    block is that of all before it: who needs a digest of the whole file too has both for one hashing.
    """

    __slots__ = ("_block", "_filled", "_offset", "_whole", "algorithm", "blocks", "chained")

    def __init__(self, algorithm: str = "", *, chained: str = "") -> None:
        self.blocks: list[str] = []
        self.chained = bool(chained)
        self.algorithm = chained or BLOCK_HASH
        self._offset = 0
        self._block = new_hash(self.algorithm)
        self._filled = 0
        self._whole = new_hash(algorithm) if algorithm else None
        if chained and algorithm == chained:
            self._whole = self._block

    def feed(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if self._whole is not None and self._whole is not self._block:
            self._whole.update(view)
        while view:
            part = view[: RECORD_BLOCK - self._filled]
            self._block.update(part)
            self._filled += len(part)
            self._offset += len(part)
            view = view[len(part) :]
            if self._filled == RECORD_BLOCK:
                self.blocks.append(self._block.hexdigest())
                self._filled = 0
                if not self.chained:
                    self._block = new_hash(self.algorithm)

    def mark(self) -> Mark:
        """Where feeding has got to; cheap, so that one can be kept for every block on its way."""
        return Mark(self._offset, len(self.blocks), self._block.hexdigest() if self._filled else "")

    def proof(self, mark: Mark) -> Proof:
        """What was fed before `mark`, which must be one of this object's own."""
        return Proof(mark.offset, tuple(self.blocks[: mark.blocks]), mark.tail, self.chained, self.algorithm)

    @property
    def whole(self) -> str:
        """Hex digest of everything fed, by `algorithm`; only where hashes are chained."""
        return self._block.hexdigest() if self.chained else ""

    @property
    def asked_for(self) -> bool:
        """Tell whether anybody wants the digest of everything."""
        return self._whole is not None or self.chained

    def digest(self) -> str:
        """Hex digest of everything fed, by the algorithm asked for; "" when none was."""
        return self._whole.hexdigest() if self._whole is not None else ""


class LocalSource(Protocol):
    """An open local file that is being sent. Calls block: run them in a thread."""

    @property
    def size(self) -> int: ...

    @property
    def held(self) -> bytes | None:
        """All of it, read and checked already; None: `read` it."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes. Raises SourceChanged when the file is shorter by now.

        That it changed otherwise is noticed now and then; at the end `check` is to be asked.
        """
        ...

    def check(self) -> None:
        """Raise SourceChanged when the file is no longer what it was when it was opened."""
        ...


class LocalTarget(Protocol):
    """An open local partial file that is being received. Calls block: run them in a thread."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        """Write the blocks one after the other. Raises DiskFull, TargetError."""
        ...


Sink = Callable[[int], None]
"""Gets the number of bytes that just became certain: acknowledged by the far side, or written here."""


@dataclass(slots=True)
class SendItem:
    """One file to send: bytes `offset` to the end of `source`, into the remote file `partial`.

    `hashes` was fed the bytes before `offset` and is fed the rest. `done` is kept at the last place up
    to which the far side has confirmed everything, also when sending breaks off. `times`, of access and
    modification in ns, may be set together with the last byte, and then become None. `arrived` is what the
    far side said about the partial file after that, where it came along; None: ask. `proved` tells that the
    far side has computed the same digests of all there is, in one piece or several. `target` is the final
    name, for far sides that want to hear it first.
    """

    source: LocalSource
    partial: bytes
    offset: int
    hashes: BlockHashes
    sink: Sink
    exclusive: bool  # the partial file must not exist yet; raises AlreadyExists
    times: tuple[int, int] | None = None
    done: Mark = field(default_factory=Mark)
    arrived: Facts | None = None
    proved: bool = False
    target: bytes = b""


@dataclass(slots=True)
class ReceiveItem:
    """One file to fetch: bytes `offset` to `size` of `path`, into the open `target`.

    `hashes` and `done` as in SendItem; `done` is the last place up to which everything was written.
    Raises SourceChanged when the far side has another size, time or strong tag (`etag`) than given here, and
    ChecksumMismatch when it computes other digests; `proved` tells that it has computed the same. With
    `writes_itself` a small file may be left in `content`, for the caller to write together with what else it
    does then.
    """

    path: bytes
    size: int
    mtime_ns: int
    target: LocalTarget
    offset: int
    hashes: BlockHashes
    sink: Sink
    done: Mark = field(default_factory=Mark)
    writes_itself: bool = False
    content: bytes | memoryview | None = None
    proved: bool = False
    etag: str = ""


class RateLimiter(Protocol):
    """Shared by everything a session sends or fetches."""

    async def take(self, amount: int) -> None:
        """Wait until `amount` bytes may be moved."""
        ...

    def block_limit(self) -> int:
        """Bytes to move at once at most, so that a low rate still flows evenly."""
        ...


class Transport(Protocol):
    """One way to reach a server, open for one session and closed by leaving the context.

    Raises TransferError, never a library's own error; ConnectError once the connection is gone. Calls
    may run side by side. Cancelled, a call is off the wire within a second; a partial file stays.
    """

    @property
    def address(self) -> str:
        """The numeric address in use."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the far side last answered anything; 0 when it owes no answer."""
        ...

    @property
    def whole_hash(self) -> str:
        """By which algorithm sending takes the digest of a whole file in any case; "": it takes none.

        The hashes of what is sent should be chained by it.
        """
        ...

    @property
    def names_unfinished(self) -> bool:
        """Whether an unfinished file stands under its name on the far side, where others may put theirs."""
        ...

    def expect(self, size: int, files: int = 1) -> None:
        """Hear of so many bytes more in so many files that will be moved.

        Before it is open, of what will be moved all told, as a guess.
        """
        ...

    async def __aenter__(self) -> Transport: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def scan(
        self, source: bytes, *, links: Links = "follow", enters: Enters = everywhere
    ) -> AsyncGenerator[Entry, None]:
        """Everything at and below `source`, folders before what is in them, streamed.

        A name that is no safe component, a link that is neither followed nor copied, a device or an
        unreadable folder is an entry with `error`. Folders that `enters` refuses are left out with all
        they hold. Raises SourceMissing when there is nothing at `source`.
        """
        ...

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        """What is at `path`; None when there is nothing."""
        ...

    async def real_path(self, path: bytes) -> bytes:
        """The path with every link resolved; as it is where the far side tells none."""
        ...

    async def unfinished(self, partial: bytes) -> Facts | None:
        """What is under a name for an unfinished file; None when that is free.

        A far side that keeps those elsewhere tells only of what this program began.
        """
        ...

    async def make_folder(self, path: bytes) -> None:
        """Make a folder and what is missing above it; fine when it exists. Safe to call in parallel."""
        ...

    async def read_ranges(self, path: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (offset, length); fewer only where the file ends."""
        ...

    async def block_digest(self, path: bytes, start: int, length: int) -> str:
        """Hex `BLOCK_HASH` of a part of a remote file that is no longer than a block; "": none is told.

        A server may tell it of a file that it lets nobody read.
        """
        ...

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        """Hex digest of the first `length` bytes of a remote file, which has to have them; "": none is told.

        `algorithm` is a name of hashlib. A program on the server is believed when it says `expected`
        (it may see other paths than SFTP does); in any other case the file is read back.
        """
        ...

    async def send(self, item: SendItem) -> None:
        """Write the partial file to its end and make it durable where the server can.

        Raises ChecksumMismatch where the server says that it has something else.
        """
        ...

    async def receive(self, item: ReceiveItem) -> None:
        """Fetch the rest of the file, counted exactly."""
        ...

    async def truncate(self, path: bytes, length: int) -> None:
        """Cut a partial file to `length` bytes."""
        ...

    def is_new(self, folder: bytes) -> bool:
        """Tell whether this session made the folder, so that only what it put there can be in it."""
        ...

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        """Bring a whole partial file under its final name, in one step where the server can.

        A link at `target` is replaced, never written through. Raises TargetIsFolder, AlreadyExists.
        """
        ...

    async def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> bool:
        """Set the times of access and modification; False where the server cannot, which is no error."""
        ...

    async def remove(self, path: bytes) -> None:
        """Remove a file or link; fine when there is none."""
        ...

    async def remove_folder(self, path: bytes) -> None:
        """Remove an empty folder; fine when there is none. Raises TargetError when it holds something."""
        ...

    async def list_names(self, path: bytes) -> list[tuple[bytes, Facts]]:
        """All entries of one folder, links told apart; names as the server gives them.

        Raises TargetError when there are more than can be compared.
        """
        ...

    async def make_link(self, path: bytes, content: bytes) -> None:
        """Make a symbolic link; nothing may be there yet."""
        ...
