"""A file gets its final name whole and in one step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.server.publishing import partial_path, publish
from connect_helper.storage.docroot import Docroot


@pytest.fixture
def docroot(tmp_path: Path) -> Iterator[Docroot]:
    (tmp_path / "film.partial").write_bytes(b"new")
    with Docroot.open(tmp_path) as opened:
        yield opened


FILM = (b"film",)


def test_the_unfinished_file_lies_beside_its_target() -> None:
    assert partial_path((b"a", b"film")) == (b"a", b"film.partial")
    long = partial_path((b"a", b"x" * 255))
    assert long[0] == b"a"
    assert len(long[1]) <= 255


def test_a_new_name_is_given(docroot: Docroot, tmp_path: Path) -> None:
    publish(docroot, partial_path(FILM), FILM, replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["film"]


def test_a_file_of_that_name_is_kept_or_replaced_whole(docroot: Docroot, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        publish(docroot, partial_path(FILM), FILM, replace=False)
    assert (tmp_path / "film").read_bytes() == b"old"
    publish(docroot, partial_path(FILM), FILM, replace=True)
    assert (tmp_path / "film").read_bytes() == b"new"


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_that_name_stays(docroot: Docroot, tmp_path: Path, replace: bool) -> None:
    (tmp_path / "film").mkdir()
    with pytest.raises((IsADirectoryError, FileExistsError)):
        publish(docroot, partial_path(FILM), FILM, replace=replace)
    assert (tmp_path / "film.partial").read_bytes() == b"new"


def test_a_link_of_that_name_is_replaced_and_not_followed(docroot: Docroot, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "film").symlink_to("other")
    publish(docroot, partial_path(FILM), FILM, replace=True)
    assert not (tmp_path / "film").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"other"
