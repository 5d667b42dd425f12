"""The Connect face, route by route (Connect reference, section 5): answers and error shapes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.connect.info import is_enough
from connect_helper.api.connect.routes import PREFIXES, ROUTES
from tests.api.conftest import APP, PAGE, Face


def is_error(answer: dict[str, Any], status: int) -> bool:
    """Whether the answer has the error shape of section 4, and a sentence."""
    error = answer["error"]
    return set(error) == {"code", "internal_message", "user_message"} and error["code"] == status


async def test_there_are_26_routes_each_under_both_prefixes_with_and_without_slash(face: Face) -> None:
    assert len(ROUTES) == 26
    served = {
        (route.method, route.resource.canonical)
        for route in face.parts and _face_routes(face)
        if route.resource is not None
    }
    wanted = {
        (method, f"{prefix}{path}{slash}")
        for prefix in PREFIXES
        for method, path, _ in ROUTES
        for slash in ("", "/")
    }
    assert wanted <= served


def _face_routes(face: Face) -> Any:
    from connect_helper.api.app import build_pages_face

    return build_pages_face(face.parts, 1).router.routes()


async def test_ping_and_version(face: Face) -> None:
    assert await face.get("/connect/info/ping") == (200, {})
    assert await face.get("/connect/info/version/") == (200, {"system_wide": False, "version": "4.2.13.820"})


async def test_unknown_routes_and_wrong_methods_have_the_error_shape(face: Face) -> None:
    status, answer = await face.get("/connect/nowhere")
    assert status == 404
    assert is_error(answer, 404)
    status, answer = await face.get("/connect/transfers/start")
    assert status == 405
    assert is_error(answer, 405)


@pytest.mark.parametrize(
    ("wanted", "status"), [("3.9.0", 200), ("4", 200), ("4.2.13.820", 200), ("4.3", 400), ("99", 400)]
)
async def test_update_require_says_whether_we_are_new_enough(face: Face, wanted: str, status: int) -> None:
    body = {"min_version": wanted, "sdk_location": "https://evil.example/installer"}
    got, answer = await face.post("/connect/update/require", body)
    assert got == status
    assert answer == {"version": "4.2.13.820"} if status == 200 else is_error(answer, 400)


@pytest.mark.parametrize(
    ("have", "want", "enough"),
    [
        ("4.2", "4.2.9", True),
        ("4.2.1", "4", True),
        ("4.1", "4.2", False),
        ("4.2", "x.2", True),
        ("4", "", True),
    ],
)
def test_versions_are_compared_over_what_both_have(have: str, want: str, enough: bool) -> None:
    assert is_enough(have, want) is enough


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', '{"a":1,"a":1}', '{"a": NaN}'])
@pytest.mark.parametrize("path", [path for method, path, _ in ROUTES if method == "POST"])
async def test_bodies_that_are_no_object_are_refused_everywhere(face: Face, path: str, body: str) -> None:
    status, answer = await face.send("POST", path.replace("{id}", "x"), body)
    assert status == 400
    assert is_error(answer, 400)


async def test_a_body_above_the_limit_is_413(face: Face) -> None:
    status, answer = await face.send("POST", "/connect/transfers/start", '{"a": "' + "x" * 1_100_000 + '"}')
    assert status == 413
    assert is_error(answer, 413)


# Windows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("about", "/about"),
        ("preferences", "/preferences"),
        ("preferences/bandwidth", "/preferences/bandwidth"),
        ("transfer-manager", "/"),
    ],
)
async def test_windows_are_opened_and_answered_at_once(face: Face, path: str, page: str) -> None:
    assert await face.get(f"/connect/windows/{path}") == (200, {})
    assert face.opened[0].split("#")[0] == f"http://127.0.0.1:1{page}"


async def test_sec_04_windows_need_an_origin_and_come_once_in_two_seconds(face: Face) -> None:
    async with face.http.get(f"{face.base}/connect/windows/about") as response:
        assert response.status == 403
    assert face.opened == []
    assert (await face.get("/connect/windows/about"))[0] == 200
    assert (await face.get("/connect/windows/about"))[0] == 429
    assert (await face.get("/connect/windows/about", origin="https://b.example"))[0] == 200
    assert len(face.opened) == 2


@pytest.mark.parametrize("path", ["preferences/passwords", "transfer-monitor/none", "finder/none"])
async def test_windows_of_nothing_are_404(face: Face, path: str) -> None:
    status, answer = await face.get(f"/connect/windows/{path}")
    assert status == 404
    assert is_error(answer, 404)


# Dialogs and files ----------------------------------------------------------------------------------


async def test_a_picked_file_is_answered_as_pages_know_it(face: Face, tmp_path: Path) -> None:
    file = tmp_path / "scan 1.tif"
    file.write_bytes(b"x" * 1234)
    os.utime(file, (1741079411, 1741079411))
    face.person.picks = [file]
    status, answer = await face.post("/connect/windows/select-open-file-dialog/", {"title": "Scans"})
    assert status == 200
    assert answer["dataTransfer"]["files"] == [
        {
            "name": str(file.resolve()),
            "size": 1234,
            "type": "image/tiff",
            "lastModifiedDate": time.asctime(time.localtime(1741079411)),
            "lastModified": 1741079411000,
        }
    ]
    assert face.person.dialogs[0].caller == PAGE
    assert face.person.dialogs[0].multiple is True


async def test_a_page_that_wants_one_file_gets_a_dialog_for_one(face: Face) -> None:
    await face.post("/connect/windows/select-open-file-dialog/", {"allowMultipleSelection": False})
    assert face.person.dialogs[0].multiple is False


async def test_filters_reach_the_dialog(face: Face) -> None:
    filters = [{"filter_name": "Images", "extensions": ["png", "jpg"]}]
    await face.post("/connect/windows/select-open-file-dialog/", {"allowedFileTypes": filters})
    assert face.person.dialogs[0].filters[0].extensions == ("png", "jpg")


@pytest.mark.parametrize(
    "filters", ["", None, {}, 7, [], [7], [{"extensions": "png"}], [{"filter_name": "x"}]]
)
async def test_a_filter_that_cannot_be_read_still_shows_a_dialog(face: Face, filters: Any) -> None:
    status, _ = await face.post("/connect/windows/select-open-file-dialog/", {"allowedFileTypes": filters})
    assert status == 200
    assert face.person.dialogs[0].filters == ()


@pytest.mark.parametrize("kind", ["open-file", "open-folder", "save-file"])
async def test_a_cancelled_dialog_is_an_empty_list(face: Face, kind: str) -> None:
    status, answer = await face.post(f"/connect/windows/select-{kind}-dialog/")
    assert (status, answer) == (200, {"dataTransfer": {"files": []}})


async def test_a_save_dialog_may_name_a_file_that_is_not_there(face: Face, tmp_path: Path) -> None:
    face.person.picks = [tmp_path / "new.bin"]
    _, answer = await face.post("/connect/windows/select-save-file-dialog/", {"suggestedName": "new.bin"})
    (entry,) = answer["dataTransfer"]["files"]
    assert entry["name"] == str(tmp_path.resolve() / "new.bin")
    assert (entry["size"], entry["lastModifiedDate"]) == (0, "")
    assert face.person.dialogs[0].suggested_name == "new.bin"


async def test_a_folder_is_answered_with_size_0_and_its_type(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    face.person.picks = [folder]
    _, answer = await face.post("/connect/windows/select-open-folder-dialog/")
    (entry,) = answer["dataTransfer"]["files"]
    assert (entry["size"], entry["type"]) == (0, "inode/directory")


async def test_sec_15_whole_disks_are_given_to_nobody(face: Face) -> None:
    face.person.picks = [Path("/")]
    status, answer = await face.post("/connect/windows/select-open-folder-dialog/")
    assert status == 403
    assert is_error(answer, 403)
    status, _ = await face.post("/connect/file/read-as-array-buffer/", {"path": "/etc/hostname"})
    assert status == 403


async def test_an_open_dialog_blocks_nobody_and_an_aborted_request_grants_nothing(
    face: Face, tmp_path: Path
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a")
    face.person.free.clear()
    face.person.picks = [file]
    asking = asyncio.create_task(face.post("/connect/windows/select-open-file-dialog/"))
    await face.person.shown.wait()
    assert (await face.post("/connect/transfers/activity"))[0] == 200
    asking.cancel()
    async with asyncio.timeout(5):
        await face.person.taken_away.wait()
    face.person.free.set()
    status, _ = await face.post("/connect/file/read-as-array-buffer/", {"path": str(file)})
    assert status == 403


async def test_only_so_many_dialogs_at_once(face: Face) -> None:
    face.person.free.clear()
    calls = [asyncio.create_task(face.post("/connect/windows/select-open-file-dialog/")) for _ in range(12)]
    refused = [await call for call in islice(asyncio.as_completed(calls), 8)]
    assert {status for status, _ in refused} == {429}
    waiting = [call for call in calls if not call.done()]
    assert len(waiting) == 4
    face.person.free.set()
    assert {(await call)[0] for call in waiting} == {200}


async def test_reading_a_granted_file(face: Face, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(bytes(range(256)))
    (name,) = await face.choose(file)
    whole = await face.post("/connect/file/read-as-array-buffer/", {"path": name})
    assert whole == (200, {"type": "image/png", "data": base64.b64encode(bytes(range(256))).decode()})
    chunk = {"path": name, "offset": 250, "chunkSize": 100}
    assert (await face.post("/connect/file/read-chunk-as-array-buffer/", chunk))[1]["data"] == (
        base64.b64encode(bytes(range(250, 256))).decode()
    )
    past = {"path": name, "offset": 999, "chunkSize": 1}
    assert (await face.post("/connect/file/read-chunk-as-array-buffer/", past))[1]["data"] == ""


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
async def test_checksums(face: Face, tmp_path: Path, method: str) -> None:
    file = tmp_path / "data.bin"
    content = os.urandom(3_000_000)
    file.write_bytes(content)
    (name,) = await face.choose(file)
    status, answer = await face.post("/connect/file/checksum/", {"path": name, "checksumMethod": method})
    assert status == 200
    assert answer == {"checksumMethod": method, "checksum": hashlib.new(method, content).hexdigest()}
    part = {"path": name, "offset": "1000000", "chunkSize": 5, "checksumMethod": method}
    _, answer = await face.post("/connect/file/checksum/", part)
    assert answer["checksum"] == hashlib.new(method, content[1_000_000:1_000_005]).hexdigest()


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("read-as-array-buffer", {}),
        ("read-chunk-as-array-buffer", {"path": "/x"}),
        ("read-chunk-as-array-buffer", {"path": "/x", "offset": -1, "chunkSize": 1}),
        ("read-chunk-as-array-buffer", {"path": "/x", "offset": 0, "chunkSize": "many"}),
        ("checksum", {"path": "/x", "checksumMethod": "crc32"}),
        ("checksum", {"path": ["/x"]}),
    ],
)
async def test_reading_with_a_wrong_field_names_it(face: Face, route: str, body: dict[str, Any]) -> None:
    status, answer = await face.post(f"/connect/file/{route}/", body)
    assert status == 400
    assert is_error(answer, 400)


async def test_the_read_limit_is_50_mib(face: Face, tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    with file.open("wb") as sparse:
        sparse.truncate(50 * 1024 * 1024 + 1)
    (name,) = await face.choose(file)
    status, answer = await face.post("/connect/file/read-as-array-buffer/", {"path": name})
    assert status == 413
    assert is_error(answer, 413)
    chunk = {"path": name, "offset": 0, "chunkSize": 50 * 1024 * 1024 + 1}
    assert (await face.post("/connect/file/read-chunk-as-array-buffer/", chunk))[0] == 413


async def test_a_drop_is_found_by_the_user_in_a_dialog_and_answered_in_order(
    face: Face, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    face.person.picks = [tmp_path / "b.txt", tmp_path / "a.txt"]
    assert await face.get("/connect/file/initialize-drag-drop") == (200, {})
    dropped = [{"name": name, "size": 5, "type": "text/plain"} for name in ("a.txt", "b.txt")]
    status, answer = await face.post("/connect/file/dropped-files", {"dataTransfer": {"files": dropped}})
    assert status == 200
    names = [entry["name"] for entry in answer["dataTransfer"]["files"]]
    assert names == [str(tmp_path.resolve() / name) for name in ("a.txt", "b.txt")]
    assert "a.txt" in face.person.dialogs[0].title
    assert face.person.dialogs[0].kind == "open-file"


async def test_a_dropped_folder_is_looked_for_in_a_folder_dialog(face: Face) -> None:
    dropped = [{"name": "photos", "size": 4096, "type": ""}]
    status, answer = await face.post("/connect/file/dropped-files", {"dataTransfer": {"files": dropped}})
    assert (status, answer) == (200, {"dataTransfer": {"files": []}})
    assert face.person.dialogs[0].kind == "open-folder"


@pytest.mark.parametrize("size", [-1, 1.5, "many", None])
async def test_a_drop_with_an_odd_size_is_still_asked_about(face: Face, size: Any) -> None:
    dropped = [{"name": "a.txt", "size": size}, *({"name": f"{n}", "size": n} for n in range(1500))]
    status, _ = await face.post("/connect/file/dropped-files", {"dataTransfer": {"files": dropped}})
    assert status == 200
    assert "1498 more" in face.person.dialogs[0].title


async def test_sec_12_drops_come_once_in_five_seconds_and_are_always_answered(face: Face) -> None:
    body = {"dataTransfer": {"files": [{"name": "a", "size": 1}]}}
    for _ in range(3):
        assert await face.post("/connect/file/dropped-files", body) == (200, {"dataTransfer": {"files": []}})
    assert len(face.person.dialogs) == 1


# Tests of a server ----------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_an_open_port_is_reachable_after_the_users_yes(face: Face, listening: int) -> None:
    body = {"remote_host": "127.0.0.1", "ssh_port": listening}
    assert await face.post("/connect/info/ports", body) == (200, {})
    (question,) = face.person.questions
    assert PAGE in question.heading
    assert any("this computer itself" in line for line in question.details)


async def test_a_closed_port_is_an_error(face: Face) -> None:
    status, answer = await face.post("/connect/info/ports", {"remote_host": "127.0.0.1", "ssh_port": 1})
    assert status == 500
    assert is_error(answer, 500)


@pytest.mark.parametrize("port", [0, "0", -1, 65_536])
async def test_ports_that_are_none_are_refused_before_any_question(face: Face, port: int | str) -> None:
    status, answer = await face.post("/connect/info/ports", {"remote_host": "127.0.0.1", "ssh_port": port})
    assert status == 400
    assert is_error(answer, 400)
    assert face.person.questions == []


@pytest.mark.parametrize("host", ["", "a b", "-oProxyCommand=x", "a;b", "x" * 254, "$(id)"])
async def test_hosts_that_are_none_are_refused_before_any_question(face: Face, host: str) -> None:
    status, answer = await face.post("/connect/info/ports", {"remote_host": host, "ssh_port": 22})
    assert status == 400
    assert is_error(answer, 400)
    assert face.person.questions == []


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("activity", {"iteration_token": 0}),
        ("info/5f0c", {}),
        ("modify/5f0c", {"target_rate_kbps": 1000}),
        ("stop/5f0c", {}),
        ("resume/5f0c", {}),
        ("remove/5f0c", {}),
    ],
)
async def test_transfers_that_are_not_there(face: Face, route: str, body: dict[str, Any]) -> None:
    status, answer = await face.post(f"/connect/transfers/{route}", body)
    if route == "activity":
        assert (status, answer["transfers"], answer["result_count"]) == (200, [], 0)
    else:
        assert status == 404
        assert is_error(answer, 404)


async def test_activity_without_app_id_is_404(face: Face) -> None:
    status, answer = await face.post("/connect/transfers/activity", app_id="")
    assert status == 404
    assert is_error(answer, 404)


@pytest.mark.parametrize("token", ["17", 17, -1, 2**60, "none", None, 1.5])
async def test_activity_takes_any_token(face: Face, token: Any) -> None:
    status, _ = await face.post("/connect/transfers/activity", {"iteration_token": token}, app_id=APP)
    assert status == 200


@pytest.mark.parametrize("wait", [1.5, "2.5", 3600, 0, "soon", None])
async def test_any_time_limit_of_a_port_test_is_taken(face: Face, listening: int, wait: Any) -> None:
    body = {"remote_host": "127.0.0.1", "ssh_port": listening, "timeout_sec": wait}
    assert await face.post("/connect/info/ports", body) == (200, {})
