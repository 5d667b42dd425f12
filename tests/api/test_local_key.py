"""The key of http.uri: it opens paths to local programs, where the user wants that, and never to a page."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.instance import Instance
from connect_helper.settings import Folders
from tests.api.conftest import APP, LOCAL_KEY, PAGE, Face
from tests.api.test_start import download, touches, upload


async def call(
    face: Face, path: str, body: dict[str, Any], *, origin: str = ""
) -> tuple[int, dict[str, Any]]:
    """Post as a local program does, or as the page of `origin`."""
    headers = {"Origin": origin, "Sec-Fetch-Mode": "cors"} if origin else {}
    full = {"aspera_connect_settings": {"app_id": APP, "use_absolute_destination_path": True}, **body}
    async with face.http.post(f"{face.base}{path}", data=json.dumps(full), headers=headers) as answer:
        return answer.status, await answer.json()


def start(spec: dict[str, Any], key: str) -> dict[str, Any]:
    return {"transfer_specs": [{"transfer_spec": spec, "authorization_key": key}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "folder" / "named.txt"
    made.parent.mkdir()
    made.write_text("named")
    return made


async def test_a_program_with_the_key_names_paths_where_the_user_wants_that(face: Face, file: Path) -> None:
    face.parts.preferences.change({"local_key_opens_paths": True})
    for spec in (upload(str(file)), download(destination_root=str(file.parent))):
        status, answer = await call(face, "/connect/transfers/start", start(spec, LOCAL_KEY))
        assert status == 200, answer
        assert LOCAL_KEY not in str(answer)
    assert len(face.person.questions) == 2  # the server is asked about as ever
    read = {"path": str(file), "authorization_key": LOCAL_KEY}
    _, answer = await call(face, "/connect/file/read-as-array-buffer/", read)
    assert base64.b64decode(answer["data"]) == b"named"


@pytest.mark.parametrize(
    ("wanted", "key", "origin", "noted"),
    [
        (False, LOCAL_KEY, "", ""),
        (True, "wrong", "", "wrong authorization_key"),
        (True, LOCAL_KEY, PAGE, "void"),
        (True, "", "", ""),
    ],
)
async def test_sec_09_otherwise_a_path_needs_a_dialog_and_is_not_looked_at(
    face: Face, file: Path, caplog: pytest.LogCaptureFixture, wanted: bool, key: str, origin: str, noted: str
) -> None:
    face.parts.preferences.change({"local_key_opens_paths": wanted})
    with touches() as seen:
        for path, body in (
            ("/connect/transfers/start", start(upload(str(file)), key)),
            ("/connect/transfers/start", start(download(destination_root=str(file.parent)), key)),
            ("/connect/file/checksum/", {"path": str(file), "authorization_key": key}),
        ):
            assert (await call(face, path, body, origin=origin))[0] == 403
    assert not [touch for touch in seen if str(file.parent / "named") in touch]
    assert face.person.questions == []
    assert noted in caplog.text
    assert LOCAL_KEY not in caplog.text


async def test_a_folder_that_nobody_gets_whole_is_not_given_for_a_key_either(face: Face) -> None:
    face.parts.preferences.change({"local_key_opens_paths": True})
    spec = upload(str(face.folders.state.resolve()))
    assert (await call(face, "/connect/transfers/start", start(spec, LOCAL_KEY)))[0] == 403


def test_the_key_of_the_file_is_the_one_that_counts(folders: Folders) -> None:
    with Instance(folders) as instance:
        record = instance.record("http://127.0.0.1:1", "http://127.0.0.1:2")
        written = (folders.run / "http.uri").read_text().splitlines()
        assert written == ["http://127.0.0.1:1", record.authorization_key]
        assert record.authorization_key not in repr(record)
        assert record.key != record.authorization_key
