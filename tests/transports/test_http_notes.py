"""Notes of unfinished uploads: nothing depends on them but what is sent again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connect_helper.transports import http_notes
from connect_helper.transports.http_notes import UploadNotes
from connect_helper.transports.http_upload import UploadPart
from tests.support.http_far_end import far_end
from tests.support.http_transport import open_http
from tests.support.sessions import noise
from tests.support.transports import sending

PARTS = [UploadPart("/one", 0, 5), UploadPart("/two", 5, 7)]


def test_what_others_finish_while_old_notes_are_swept_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = UploadNotes(tmp_path, "server")
    for name in (b"old", b"finished"):
        notes.put(name, PARTS)
    for file in (tmp_path / http_notes.FOLDER).iterdir():
        os.utime(file, (0, 0))
    notes.put(b"new", PARTS)
    listing = Path.iterdir

    def listed_before(folder: Path) -> Iterator[Path]:
        found = list(listing(folder))
        notes.drop(b"finished")
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", listed_before)
    notes.sweep()
    assert [part.address for part in notes.get(b"new")] == ["/one", "/two"]
    assert notes.get(b"old") == []


async def test_a_disk_that_takes_no_notes_fails_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(http_notes, "write_private", full)
    content = noise(100_000)
    async with far_end(tmp_path / "server") as far:
        port = urlsplit(far.url).port
        assert port is not None
        token = far.token("send", "in")
        async with open_http(port, token, tmp_path, sends=True, root=b"in") as transport:
            item, _ = sending(content, b"in/film.partial")
            await transport.send(item)
            await transport.publish(item.partial, b"in/film", "replace")
        assert (far.docroot / "in" / "film").read_bytes() == content


def test_what_another_transfer_noted_is_told_and_kept_until_it_is_taken(tmp_path: Path) -> None:
    one, other = UploadNotes(tmp_path, "server", "one"), UploadNotes(tmp_path, "server", "other")
    one.put(b"film", PARTS)
    assert other.get(b"film") == []
    other.drop(b"film")
    (noted,) = other.all(b"film")
    assert (noted.by, noted.parts) == ("other", PARTS)
    other.take(b"film", noted)
    assert (one.get(b"film"), other.get(b"film")) == ([], PARTS)
    assert [each.by for each in other.all(b"film")] == ["own"]


def test_what_an_earlier_version_noted_is_nobodys(tmp_path: Path) -> None:
    notes = UploadNotes(tmp_path, "server", "one")
    notes.put(b"film", PARTS)
    (path,) = (tmp_path / http_notes.FOLDER).iterdir()
    path.rename(path.with_name(path.name.partition("-")[0]))
    (noted,) = notes.all(b"film")
    assert (noted.by, noted.parts) == ("unknown", PARTS)
    notes.take(b"film", noted)
    assert notes.get(b"film") == PARTS
