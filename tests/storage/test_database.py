"""The server's SQLite files: made private, brought up to date, refused where they do not fit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connect_helper.errors import Unavailable
from connect_helper.storage.database import Schema, open_database

ONE = Schema(1, "CREATE TABLE things (name TEXT) STRICT;")
THREE = Schema(
    3,
    "CREATE TABLE things (name TEXT, size INTEGER, owner TEXT) STRICT;",
    {1: "ALTER TABLE things ADD COLUMN size INTEGER;", 2: "ALTER TABLE things ADD COLUMN owner TEXT;"},
)
BROKEN = Schema(3, "", {1: THREE.steps[1], 2: "ALTER TABLE nothing RENAME TO x;"})


def columns(file: Path | None, schema: Schema) -> list[str]:
    with closing(open_database(file, schema, what="The list")) as database:
        return [row[1] for row in database.execute("PRAGMA table_info(things)")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of version 1 with a row."""
    file = tmp_path / "things.sqlite"
    with closing(open_database(file, ONE, what="The list")) as database:
        database.execute("INSERT INTO things VALUES ('a')")
    return file


def test_a_new_file_is_the_owners_only(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert columns(file, ONE) == ["name"]
    assert columns(None, THREE) == ["name", "size", "owner"]


def test_an_older_file_is_brought_up_to_date_step_by_step(file: Path) -> None:
    assert columns(file, THREE) == ["name", "size", "owner"]
    with closing(open_database(file, THREE, what="The list")) as database:
        assert database.execute("SELECT * FROM things").fetchall() == [("a", None, None)]


def test_a_step_that_fails_changes_nothing(file: Path) -> None:
    with pytest.raises(Unavailable):
        columns(file, BROKEN)
    assert columns(file, ONE) == ["name"]


def test_what_does_not_fit_is_refused_with_its_name(file: Path, tmp_path: Path) -> None:
    columns(file, THREE)
    with pytest.raises(Unavailable, match=r"The list .*things\.sqlite cannot be used .*another version"):
        columns(file, ONE)
    for content in (b"no database" * 1000, None):
        other = tmp_path / "other"
        if content is None:
            other.unlink()
            other.mkdir()
        else:
            other.write_bytes(content)
        with pytest.raises(Unavailable, match="The list"):
            columns(other, ONE)
        assert content is None or other.read_bytes() == content


def test_another_program_sees_the_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
