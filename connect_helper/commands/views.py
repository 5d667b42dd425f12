"""How `send` and `receive` show themselves: bars on a terminal, plain lines, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from connect_helper.api.places import readable_size
from connect_helper.client import results
from connect_helper.client.receipts import Receipts
from connect_helper.client.results import FileProgress, Receipt, Result, as_json
from connect_helper.spec.names import display
from connect_helper.transfers.messages import Question

AskHostKey = Callable[[Question], Awaitable[bool]]
BARS: Final = 8  # files shown at a time
LINE_S: Final = 5.0  # between two plain lines
JSON_S: Final = 0.5  # between two progress objects
RECEIPTS: Final = 500  # written at a time
NAME: Final = 26  # characters; longer ones lose their middle, so that numbers and extensions show


class View(Protocol):
    """A view of a transfer (see `connect_helper.client.transfer.View`) that is opened and closed."""

    def __enter__(self) -> View: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def progress(self, progress: results.Progress) -> None: ...
    def file(self, receipt: Receipt) -> None: ...
    async def accept(self, question: Question) -> bool: ...
    def over(self, result: Result) -> None:
        """Tell how it ended; called after the view was closed."""
        ...


class _Base:
    """What all views do alike."""

    def __init__(self, ask: AskHostKey) -> None:
        self._ask = ask

    def __enter__(self) -> View:
        return self  # type: ignore[return-value] # the views complete the protocol

    def __exit__(self, *exception: object) -> None:
        return None

    async def accept(self, question: Question) -> bool:
        return await self._ask(question)


class JsonView(_Base):
    """One object a line on standard output: `type` is "progress", "file" or, the last, "result"."""

    def __init__(self, ask: AskHostKey, receipts: Receipts) -> None:
        super().__init__(ask)
        self._receipts = receipts
        self._last = ("", -JSON_S)

    def progress(self, progress: results.Progress) -> None:
        phase, at = self._last
        if progress.phase != phase or progress.elapsed_s >= at + JSON_S:
            self._last = (progress.phase, progress.elapsed_s)
            _say("progress", as_json(progress))

    def file(self, receipt: Receipt) -> None:
        _say("file", as_json(receipt))

    def over(self, result: Result) -> None:
        """Say it piece by piece: with a million receipts it is a line of some 300 MB."""
        fields = as_json(result)
        del fields["receipts"]
        typer.echo(_object("result", fields)[:-1] + ', "receipts": [', nl=False)
        texts = (json.dumps(as_json(receipt)) for receipt in self._receipts)
        separator = ""
        while some := list(islice(texts, RECEIPTS)):
            typer.echo(separator + ", ".join(some), nl=False)
            separator = ", "
        typer.echo("]}")


def _say(kind: str, fields: dict[str, Any]) -> None:
    typer.echo(_object(kind, fields))


def _object(kind: str, fields: dict[str, Any]) -> str:
    # ASCII: a name that is no UTF-8 comes as lone surrogates, which no encoding writes.
    return json.dumps({"type": kind, **fields})


class PlainView(_Base):
    """A line now and then, for logs and pipes; with `quiet` only what went wrong."""

    def __init__(self, ask: AskHostKey, *, quiet: bool) -> None:
        super().__init__(ask)
        self._quiet = quiet
        self._phase = ""
        self._said_at = 0.0

    def progress(self, progress: results.Progress) -> None:
        if self._quiet:
            return
        if progress.phase != self._phase or progress.elapsed_s >= self._said_at + LINE_S:
            self._phase, self._said_at = progress.phase, progress.elapsed_s
            typer.echo(describe(progress))

    def file(self, receipt: Receipt) -> None:
        if receipt.message:
            typer.echo(describe_mishap(receipt), err=True)

    def over(self, result: Result) -> None:
        _tell_end(result, quiet=self._quiet)


class BarsView(_Base):
    """Bars on a terminal: one for all, one for each file under way."""

    def __init__(self, ask: AskHostKey) -> None:
        super().__init__(ask)
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            _Said("what", Column(ratio=2, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=None, table_column=Column(ratio=2)),
            _Said("figures", Column(no_wrap=True, justify="right")),
            console=Console(highlight=False),
            expand=True,
            transient=True,
            refresh_per_second=8,
        )
        self._all = self._bars.add_task("", total=None, what="Connecting…", figures="")
        self._files: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> View:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    async def accept(self, question: Question) -> bool:
        self._bars.stop()
        try:
            return await self._ask(question)
        finally:
            self._bars.start()

    def progress(self, progress: results.Progress) -> None:
        known = progress.bytes_expected if progress.bytes_expected or progress.scanned else None
        self._bars.update(
            self._all,
            completed=progress.bytes_written,
            total=known,
            what=_headline(progress),
            figures=_figures(progress),
        )
        self._show_files(progress.current[:BARS])

    def _show_files(self, current: tuple[FileProgress, ...]) -> None:
        wanted = {(file.path, file.remote_path): file for file in current}
        for key in self._files.keys() - wanted.keys():
            self._bars.remove_task(self._files.pop(key))
        for key, file in wanted.items():
            if key not in self._files:
                self._files[key] = self._bars.add_task("", what=f"  {_name(file.path)}", figures="")
            self._bars.update(
                self._files[key],
                completed=file.bytes_written,
                total=file.bytes_expected,
                figures=f"{readable_size(file.bytes_written)} of {readable_size(file.bytes_expected)}",
            )

    def file(self, receipt: Receipt) -> None:
        if receipt.message:
            self._bars.console.print(Text(describe_mishap(receipt)))

    def over(self, result: Result) -> None:
        _tell_end(result, quiet=False)


class _Said(ProgressColumn):
    """A field of a task as it is: names are data, so no markup is looked for in them."""

    def __init__(self, field: str, column: Column) -> None:
        super().__init__(table_column=column)
        self._field = field

    def render(self, task: Task) -> Text:
        return Text(str(task.fields[self._field]), no_wrap=True, overflow="ellipsis")


def view_for(*, as_json_lines: bool, quiet: bool, ask: AskHostKey, receipts: Receipts) -> View:
    """The view that fits the options and where standard output goes; JSON ends with the receipts."""
    if as_json_lines:
        return JsonView(ask, receipts)
    if sys.stdout.isatty() and not quiet:
        return BarsView(ask)
    return PlainView(ask, quiet=quiet)


# Words ---------------------------------------------------------------------------------------------


def describe(progress: results.Progress) -> str:
    """One line on how far it is."""
    if progress.phase != "running":
        return _headline(progress)
    return f"{_headline(progress)}: {_figures(progress)}"


def describe_mishap(receipt: Receipt) -> str:
    """One line on a file that failed or was left out, or on a source that could not be removed or moved."""
    kept = "left out" if receipt.code else "note"
    word = "failed" if receipt.state == "failed" else kept
    return f"{word}: {display(receipt.path, 200)}: {receipt.message}"


def _headline(progress: results.Progress) -> str:
    if progress.phase == "connecting":
        return "Connecting…"
    if progress.phase == "waiting":
        return f"{progress.message} Trying again in {max(1, round(progress.retry_in_s or 0))} s."
    ended = progress.files_done + progress.files_skipped + progress.files_failed
    more = "" if progress.scanned else " or more"
    return f"{ended:,} of {_count(progress.files_expected)}{more}"


def _figures(progress: results.Progress) -> str:
    if progress.phase != "running":
        return ""
    parts = [
        f"{readable_size(progress.bytes_written)} of {readable_size(progress.bytes_expected)}",
        readable_rate(progress.rate_kbps),
    ]
    if progress.remaining_s is not None and progress.scanned:
        parts.append(f"{readable_time(progress.remaining_s)} left")
    return ", ".join(parts)


def _tell_end(result: Result, *, quiet: bool) -> None:
    if result.outcome != "completed":
        typer.echo(result.message, err=True)
        return
    if not quiet:
        already = f" ({result.files_skipped:,} left as they were)" if result.files_skipped else ""
        total = result.files_done + result.files_skipped
        size, time = readable_size(result.bytes_written), readable_time(result.elapsed_s)
        typer.echo(f"Done: {_count(total)}{already}, {size} in {time}.")
    if result.message:
        typer.echo(f"note: {result.message}", err=True)


def readable_rate(kbps: float) -> str:
    """A rate as lines are sold: "94.5 Mbit/s"."""
    for unit in ("kbit/s", "Mbit/s"):
        if kbps < 1000:
            return f"{kbps:.0f} {unit}" if kbps >= 100 else f"{kbps:.1f} {unit}"
        kbps /= 1000
    return f"{kbps:.1f} Gbit/s"


def readable_time(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 5 s", "2 h 10 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files:,} files"


def _name(path: str) -> str:
    return display(PurePath(path).name, NAME)
