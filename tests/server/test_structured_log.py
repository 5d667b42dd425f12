"""The log: lines that no name can forge, as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.server.configuration import LogSection
from connect_helper.server.structured_log import JsonFormatter, TextFormatter, set_up

HOSTILE = "name\n2026-01-01 ERROR root: forged\x1b[31m\r\x00"


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("a.b", logging.WARNING, "file.py", 1, message, arguments, None)


def test_a_text_line_stays_one_line() -> None:
    line = TextFormatter().format(record("stored %s", HOSTILE))
    assert line.endswith(r"WARNING a.b: stored name\n2026-01-01 ERROR root: forged\x1b[31m\x0d\x00")
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_json_line_is_one_object() -> None:
    line = JsonFormatter().format(record("stored %s", HOSTILE))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("warning", "a.b", f"stored {HOSTILE}")
    assert told["time"].endswith("Z")


def test_a_traceback_stays_inside_the_object() -> None:
    try:
        raise ValueError("inside")
    except ValueError as error:
        broken = record("failed")
        broken.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: inside" in json.loads(JsonFormatter().format(broken))["error"]


@pytest.fixture
def kept_loggers() -> Iterator[None]:
    """Put the loggers of this process back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("asyncssh", "asyncio", "aiohttp.access", "aiohttp.server", "aiohttp.web")
    levels = {name: logging.getLogger(name).level for name in names}
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("kept_loggers")
def test_a_log_file_is_private_and_rotates(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    set_up(LogSection(file=path, max_megabytes=1, keep_files=2, format="json"))
    for _ in range(30):
        logging.getLogger("x").info("%s", "y" * 100_000)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"server.log", "server.log.1", "server.log.2"}
    logging.getLogger("x").debug("not at this level")
    assert "not at this level" not in path.read_text()


@pytest.mark.usefixtures("kept_loggers")
def test_where_none_are_kept_a_large_log_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    set_up(LogSection(file=path, max_megabytes=1, keep_files=0))
    for number in range(35):
        logging.getLogger("x").info("%d %s", number, "y" * 100_000)
    assert [one.name for one in tmp_path.iterdir()] == ["server.log"]
    assert path.stat().st_size <= 1_000_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert " 34 " in path.read_text()


@pytest.mark.usefixtures("kept_loggers")
def test_a_log_file_that_others_set_aside_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does, which thinks that it alone looks after logs."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "server.log"
    set_up(LogSection(file=path))
    logging.getLogger("x").info("one")
    path.rename(folder / "old")
    logging.getLogger("x").info("two")
    assert path.stat().st_mode & 0o777 == 0o600
    assert " two" in path.read_text()
    assert "two" not in (folder / "old").read_text()
    path.unlink()
    logging.getLogger("x").info("three")
    assert " three" in path.read_text()
    moved = folder.rename(tmp_path / "elsewhere")
    logging.getLogger("x").info("four")
    assert " four" in (moved / "server.log").read_text()
