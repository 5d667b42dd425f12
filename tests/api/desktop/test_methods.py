"""The desktop face, method by method, but for transfers (desktop reference, section 4)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.desktop.table import METHODS
from connect_helper.picking.base import Answer
from tests.api.conftest import APP
from tests.api.desktop.conftest import RpcPage

REFERENCE = {
    *("get_info", "rpc.discover", "verify_session", "init_drag_drop", "subscribe_transfer_activity"),
    *("test_ssh_ports", "authenticate", "start_transfer", "get_all_transfers", "get_transfer"),
    *("get_files_list", "stop_transfer", "resume_transfer", "modify_transfer", "remove_transfer"),
    *("show_directory", "show_file_dialog", "show_folder_dialog", "show_save_file_dialog", "dropped_files"),
    *("read_as_array_buffer", "read_chunk_as_array_buffer", "get_checksum", "read_directory"),
    *("open_preferences", "show_about", "show_transfer_manager", "show_transfer_monitor", "update_branding"),
}
FREE = ("get_info", "rpc.discover")  # for anybody
WITH_APP_ID = [name for name, method in METHODS.items() if "app_id!" in method.params]
WITH_TRANSFER = [name for name, method in METHODS.items() if "transfer_id!" in method.params]
WITH_PATH = ("read_as_array_buffer", "read_chunk_as_array_buffer", "get_checksum", "read_directory")


def test_every_method_of_the_reference_is_there() -> None:
    assert set(METHODS) == REFERENCE


async def test_discover_names_every_method_with_its_params(page: RpcPage) -> None:
    document = await page.call("rpc.discover")
    assert document["openrpc"]
    assert document["info"]["title"] == "connect-helper"
    assert {method["name"] for method in document["methods"]} == REFERENCE
    described = {method["name"]: method for method in document["methods"]}
    assert [one["name"] for one in described["start_transfer"]["params"]] == [
        "transfer_spec",
        "desktop_spec",
        "app_id",
    ]
    assert all(method["result"]["schema"]["type"] for method in document["methods"])


async def test_info_is_a_version_and_nothing_that_tells_users_apart(page: RpcPage) -> None:
    assert await page.call("get_info") == {"version": "1.0.20"}
    page.face.parts.preferences.change({"reported_desktop_version": "2.0.1"})
    assert await page.call("get_info", []) == {"version": "2.0.1"}


async def test_a_session_is_known_only_when_this_user_launched_it(page: RpcPage) -> None:
    asked = {"session_id": "7b0c1f3e"}
    assert await page.call("verify_session", asked) == {"result": False}
    page.face.desktop_parts.sessions.add(APP, "7b0c1f3e")
    assert await page.call("verify_session", asked) == {"result": True}
    assert await page.call("verify_session", {**asked, "app_id": "another"}) == {"result": False}
    assert (await page.error("verify_session"))["code"] == -32602


@pytest.mark.parametrize("method", sorted(REFERENCE - {*FREE}))
async def test_sec_03_a_page_without_an_origin_gets_no_further(page: RpcPage, method: str) -> None:
    nobody = RpcPage(page.face, origin="null")
    params = {"transfer_id": "x", "session_id": "x", "request": {"path": "/x", "offset": 0, "chunkSize": 1}}
    params |= {"transfer_spec": {}, "files": [], "branding": {"id": "a", "name": "b"}}
    if method == "verify_session":  # tells nothing but what the caller said itself
        assert await nobody.call(method, params) == {"result": False}
        return
    assert (await nobody.error(method, params))["code"] == -32600
    assert page.face.opened == []
    assert page.face.person.dialogs == page.face.person.questions == []


@pytest.mark.parametrize("method", FREE)
async def test_what_is_the_same_for_everybody_is_told_to_everybody(page: RpcPage, method: str) -> None:
    assert await RpcPage(page.face, origin="null").call(method)


@pytest.mark.parametrize("method", WITH_APP_ID)
@pytest.mark.parametrize("app_id", [None, "", [], {}, "a\0b"])
async def test_the_app_id_must_be_there_where_the_reference_has_it(
    page: RpcPage, method: str, app_id: Any
) -> None:
    params = {"app_id": app_id, "session_id": "x", "request": {"path": "/x", "offset": 0, "chunkSize": 1}}
    params |= {"transfer_spec": {"direction": "send"}, "files": []}
    expected = -32600 if method == "subscribe_transfer_activity" else -32602
    assert (await page.error(method, params))["code"] == expected
    assert page.face.person.dialogs == []


@pytest.mark.parametrize("method", WITH_TRANSFER)
async def test_an_unknown_transfer_is_an_error_of_its_own(page: RpcPage, method: str) -> None:
    params = {"transfer_id": "no-such-transfer", "transfer_spec": {"target_rate_kbps": 100}}
    error = await page.error(method, params)
    assert (error["code"], error["message"]) == (-32001, "There is no such transfer.")
    assert (await page.error(method, {"transfer_spec": {}}))["code"] == -32602
    assert (await page.error(method, {"transfer_id": {}, "transfer_spec": {}}))["code"] == -32602


async def test_a_subscription_needs_a_socket(page: RpcPage) -> None:
    error = await page.error("subscribe_transfer_activity", [APP])
    assert (error["code"], error["message"]) == (-32600, "Subscribe over a WebSocket.")


# Dialogs --------------------------------------------------------------------------------------------


async def test_chosen_files_are_told_with_path_size_type_and_time(page: RpcPage, folder: Path) -> None:
    scan, plain = folder / "scan 1.tiff", folder / "plain"
    scan.write_bytes(b"x" * 321)
    plain.write_bytes(b"")
    page.face.person.picks = [scan, plain]
    filters = [{"name": "Images", "extensions": ["tif", "png"]}, {"name": "All", "extensions": ["*"]}]
    result = await page.call(
        "show_file_dialog", {"options": {"title": "Pick scans", "multiple": True, "filters": filters}}
    )
    assert result == {
        "dataTransfer": {
            "files": [
                {
                    "lastModified": scan.stat().st_mtime_ns // 1_000_000,
                    "name": str(scan),
                    "size": 321,
                    "type": "image/tiff",
                },
                {
                    "lastModified": plain.stat().st_mtime_ns // 1_000_000,
                    "name": str(plain),
                    "size": 0,
                    "type": "",
                },
            ]
        }
    }
    (dialog,) = page.face.person.dialogs
    assert (dialog.kind, dialog.title, dialog.multiple) == ("open-file", "Pick scans", True)
    assert dialog.caller == page.origin
    assert [(one.name, one.extensions) for one in dialog.filters] == [
        ("Images", ("tif", "png")),
        ("All", ("*",)),
    ]


@pytest.mark.parametrize("options", [{}, {"options": {}}, {"options": None}])
async def test_one_file_is_chosen_unless_the_page_wants_more(
    page: RpcPage, folder: Path, options: dict[str, Any]
) -> None:
    page.face.person.picks = [folder]
    await page.call("show_file_dialog", options)
    assert page.face.person.dialogs[0].multiple is False


async def test_a_folder_has_no_size_and_the_type_of_folders(page: RpcPage, folder: Path) -> None:
    page.face.person.picks = [folder]
    result = await page.call("show_folder_dialog", {"options": {"multiple": True}})
    (entry,) = result["dataTransfer"]["files"]
    assert (entry["name"], entry["size"], entry["type"]) == (str(folder), 0, "inode/directory")
    assert page.face.person.dialogs[0].kind == "open-folder"
    assert page.face.person.dialogs[0].multiple is True


@pytest.mark.parametrize(
    ("types", "read"),
    [
        ([{"filter_name": "Text", "extensions": ["txt"]}], [("Text", ("txt",))]),
        ([{"name": "Text", "extensions": ["txt"]}], [("Text", ("txt",))]),
        (["txt", "md"], [("", ("txt", "md"))]),
        ("", []),
        (None, []),
        (7, []),
        ([7, {"name": 1, "extensions": "txt"}], []),
    ],
)
async def test_a_save_dialog_takes_the_types_in_every_form(
    page: RpcPage, folder: Path, types: Any, read: list[Any]
) -> None:
    page.face.person.picks = [folder / "new.txt"]
    options = {"suggestedName": "draft.txt", "allowedFileTypes": types, "multiple": True}
    result = await page.call("show_save_file_dialog", {"options": options})
    assert [entry["name"] for entry in result["dataTransfer"]["files"]] == [str(folder / "new.txt")]
    (dialog,) = page.face.person.dialogs
    assert (dialog.kind, dialog.suggested_name, dialog.multiple) == ("save-file", "draft.txt", False)
    assert [(one.name, one.extensions) for one in dialog.filters] == read


@pytest.mark.parametrize("method", ["show_file_dialog", "show_folder_dialog", "show_save_file_dialog"])
async def test_a_closed_dialog_has_the_number_pages_know(page: RpcPage, method: str) -> None:
    error = await page.error(method, {"options": {}})
    assert (error["code"], error["message"]) == (-32002, "The dialog was closed.")


@pytest.mark.parametrize("options", ["x", 7, []])
async def test_options_that_are_no_object_are_refused(page: RpcPage, options: Any) -> None:
    assert (await page.error("show_file_dialog", {"options": options}))["code"] == -32602


async def test_other_calls_are_answered_while_a_dialog_is_open(page: RpcPage, folder: Path) -> None:
    page.face.person.free.clear()
    page.face.person.picks = [folder]
    dialog = asyncio.ensure_future(page.call("show_folder_dialog"))
    await page.face.person.shown.wait()
    assert await page.call("get_all_transfers") == []
    assert not dialog.done()
    page.face.person.free.set()
    assert await dialog


async def test_a_page_that_goes_away_takes_its_dialog_with_it(page: RpcPage) -> None:
    page.face.person.free.clear()
    dialog = asyncio.ensure_future(page.call("show_file_dialog"))
    await page.face.person.shown.wait()
    dialog.cancel()
    async with asyncio.timeout(30):
        await page.face.person.taken_away.wait()


# Drops ----------------------------------------------------------------------------------------------


async def test_a_page_may_say_several_times_at_once_that_it_takes_drops(page: RpcPage) -> None:
    assert await asyncio.gather(*(page.call("init_drag_drop") for _ in range(4))) == [True] * 4


async def test_what_was_dropped_is_found_by_the_user(page: RpcPage, folder: Path) -> None:
    one, two = folder / "one.txt", folder / "two.txt"
    one.write_bytes(b"1")
    two.write_bytes(b"22")
    page.face.person.picks = [two, one]
    dropped = [
        {"lastModified": 1, "name": name, "size": 1, "type": "text/plain"} for name in ("one.txt", "two.txt")
    ]
    result = await page.call("dropped_files", {"files": dropped})
    files = result["dataTransfer"]["files"]
    assert [(entry["name"], entry["size"]) for entry in files] == [(str(one), 1), (str(two), 2)]
    assert "one.txt, two.txt" in page.face.person.dialogs[0].title
    read = await page.call("read_as_array_buffer", {"request": {"path": str(one)}})
    assert base64.b64decode(read["data"]) == b"1"


async def test_a_drop_that_is_not_confirmed_or_comes_too_soon_is_an_empty_list(page: RpcPage) -> None:
    dropped = [{"lastModified": 1, "name": "one.txt", "size": 1, "type": "text/plain"}]
    for _ in range(2):  # the second one comes too soon
        assert await page.call("dropped_files", {"files": dropped}) == {"dataTransfer": {"files": []}}
    assert len(page.face.person.dialogs) == 1


@pytest.mark.parametrize("files", [None, "x", 7, {}, ["one.txt"]])
async def test_a_drop_must_be_a_list_of_objects(page: RpcPage, files: Any) -> None:
    assert (await page.error("dropped_files", {"files": files}))["code"] == -32602


# Reading --------------------------------------------------------------------------------------------


async def test_a_granted_file_is_read_whole_in_pieces_and_by_its_checksum(
    page: RpcPage, folder: Path
) -> None:
    content = os.urandom(500_001)
    picture = folder / "picture.png"
    picture.write_bytes(content)
    (path,) = await page.choose(picture)
    whole = await page.call("read_as_array_buffer", {"request": {"path": path}})
    assert (base64.b64decode(whole["data"]), whole["type"]) == (content, "image/png")
    asked = {"path": path, "offset": 400_000, "chunkSize": 300_000}
    part = await page.call("read_chunk_as_array_buffer", {"request": asked})
    assert base64.b64decode(part["data"]) == content[400_000:]
    past = await page.call("read_chunk_as_array_buffer", {"request": {**asked, "offset": 999_999}})
    assert past == {"data": "", "type": "image/png"}
    for method in ("md5", "sha1", "sha256", "sha512"):
        asked = {"path": path, "offset": 0, "chunkSize": 0, "checksumMethod": method}
        assert await page.call("get_checksum", {"request": asked}) == {
            "checksum": hashlib.new(method, content).hexdigest(),
            "checksumMethod": method,
        }
    asked = {"path": path, "offset": 10, "chunkSize": 20}
    found = await page.call("get_checksum", {"request": asked})
    assert found == {"checksum": hashlib.md5(content[10:30]).hexdigest(), "checksumMethod": "md5"}


@pytest.mark.parametrize("call_id", ["7", '"seven"', "null"])
async def test_a_files_content_comes_under_the_id_of_the_call(
    page: RpcPage, folder: Path, call_id: str
) -> None:
    file = folder / "a.bin"
    file.write_bytes(b"abc")
    (path,) = await page.choose(file)
    params = f'{{"app_id":"{APP}","request":{{"path":"{path}"}}}}'
    answer = await page.send(
        f'{{"jsonrpc":"2.0","id":{call_id},"method":"read_as_array_buffer","params":{params}}}'
    )
    assert str(answer["id"]) == call_id.strip('"').replace("null", "None")
    assert answer["result"] == {"type": "application/octet-stream", "data": "YWJj"}


@pytest.mark.parametrize("method", WITH_PATH)
async def test_sec_11_a_path_nobody_gave_is_refused_with_one_text(
    page: RpcPage, other: RpcPage, folder: Path, method: str
) -> None:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "a.txt").write_text("a")
    await page.choose(mine, dialog="show_folder_dialog")
    texts = set()
    for who, path in [
        (page, "/etc/passwd"),
        (page, str(folder)),
        (page, f"{mine}/../mine/a.txt"),
        (page, f"{mine}-other/a.txt"),
        (page, "/no/such/file"),
        (page, "a.txt"),
        (page, "\\\\host\\share"),
        (page, "file:///etc/passwd"),
        (page, "~/x"),
        (other, str(mine)),
        (RpcPage(page.face, app_id="another"), str(mine)),
    ]:
        error = await who.error(method, {"request": {"path": path, "offset": 0, "chunkSize": 10}})
        assert error["code"] == -32004, path
        texts.add(error["message"])
    assert len(texts) == 1


@pytest.mark.parametrize("method", WITH_PATH)
@pytest.mark.parametrize(
    "request_", [None, "x", [], {}, {"path": ""}, {"path": 1.5}, {"path": "/a\0b"}, {"path": ["/a"]}]
)
async def test_a_request_without_a_path_is_refused(page: RpcPage, method: str, request_: Any) -> None:
    assert (await page.error(method, {"request": request_}))["code"] == -32602


@pytest.mark.parametrize(
    ("method", "more", "code"),
    [
        ("read_chunk_as_array_buffer", {"offset": 0}, -32602),
        ("read_chunk_as_array_buffer", {"chunkSize": 1}, -32602),
        ("read_chunk_as_array_buffer", {"offset": -1, "chunkSize": 1}, -32602),
        ("read_chunk_as_array_buffer", {"offset": 0, "chunkSize": 50 * 1024 * 1024 + 1}, -32006),
        ("get_checksum", {"checksumMethod": "crc32"}, -32602),
        ("get_checksum", {"offset": "x"}, -32602),
        ("read_directory", {"depth": -1}, -32602),
        ("read_directory", {"depth": "deep"}, -32602),
        ("read_directory", {"filters": {"type": "link"}}, -32602),
        ("read_directory", {"filters": []}, -32602),
        ("read_directory", {"filters": {"namePattern": 1.5}}, -32602),
    ],
)
async def test_numbers_and_words_out_of_range_are_refused(
    page: RpcPage, folder: Path, method: str, more: dict[str, Any], code: int
) -> None:
    await page.choose(folder, dialog="show_folder_dialog")
    (folder / "a").write_text("a")
    path = folder if method == "read_directory" else folder / "a"
    assert (await page.error(method, {"request": {"path": str(path), **more}}))["code"] == code


async def test_a_file_above_50_mib_is_too_large_to_be_read_whole(page: RpcPage, folder: Path) -> None:
    large = folder / "large.bin"
    with large.open("wb") as file:
        file.truncate(50 * 1024 * 1024 + 1)
    (path,) = await page.choose(large)
    assert (await page.error("read_as_array_buffer", {"request": {"path": path}}))["code"] == -32006
    large.unlink()
    assert (await page.error("read_as_array_buffer", {"request": {"path": path}}))["code"] == -32000


# Servers --------------------------------------------------------------------------------------------


async def test_a_port_is_tried_once_the_user_agrees(page: RpcPage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        request = {"remote_host": "127.0.0.1", "ssh_port": port, "timeout_sec": 3}
        assert await page.call("test_ssh_ports", {"request": request}) is None
        (question,) = page.face.person.questions
        assert page.origin in question.heading
        assert "127.0.0.1" in question.heading
    assert (await page.error("test_ssh_ports", {"request": request}))["code"] == -32000
    page.face.person.answer = Answer(accepted=False)
    assert (await page.error("test_ssh_ports", {"request": request}))["code"] == -32003
    asked = len(page.face.person.questions)
    no_ports = ({"remote_host": "127.0.0.1", "ssh_port": port} for port in (0, "0", 65_536))
    for wrong in (None, {}, {"remote_host": "a b"}, *no_ports):
        assert (await page.error("test_ssh_ports", {"request": wrong}))["code"] == -32602
    assert len(page.face.person.questions) == asked


# Windows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("show_about", {}, "/about"),
        ("show_transfer_manager", {}, "/"),
        ("open_preferences", {}, "/preferences"),
        ("open_preferences", {"tab": "general"}, "/preferences/general"),
        ("open_preferences", {"tab": "transfers"}, "/preferences/transfers"),
        ("open_preferences", {"tab": "security"}, "/preferences/security"),
        ("open_preferences", {"tab": "proxies"}, "/preferences/network"),
        ("open_preferences", {"tab": "network"}, "/preferences/network"),
        ("open_preferences", {"tab": "bandwidth"}, "/preferences/bandwidth"),
    ],
)
async def test_windows_are_opened_and_answered_with_null(
    page: RpcPage, method: str, params: dict[str, Any], path: str
) -> None:
    assert await page.call(method, params) is None
    assert page.face.opened[0].split("#")[0] == f"http://127.0.0.1:1{path}"
    again = await page.error(method, params)
    assert (again["code"], again["data"]["reason"]) == (-32000, "too_many_requests")


async def test_there_is_no_other_tab(page: RpcPage) -> None:
    for tab in ("colours", "../activity", 1.5):
        assert (await page.error("open_preferences", {"tab": tab}))["code"] == -32602
    assert page.face.opened == []


# Branding -------------------------------------------------------------------------------------------


async def test_what_a_page_calls_its_application_is_kept_for_its_origin(
    page: RpcPage, other: RpcPage
) -> None:
    branding = {"id": "acme", "name": "Acme", "theme": {"g10": {"headerBackground": "#102030"}, "g100": {}}}
    assert await page.call("update_branding", {"branding": branding}) is None
    kept = page.face.desktop_parts.brandings.newest(page.origin)
    assert kept is not None
    assert kept.name == "Acme"
    assert page.face.desktop_parts.brandings.newest(other.origin) is None
    for wrong in (None, "x", {}, {"id": "a"}, {"id": "a", "name": "b", "theme": {"g10": []}}):
        error = await page.error("update_branding", {"branding": wrong})
        assert error["code"] == -32602


async def test_a_file_that_gets_shorter_while_it_is_read_ends_the_answer_with_an_error(
    page: RpcPage, tmp_path: Path
) -> None:
    file = tmp_path / "endless"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 30)
    (path,) = await page.choose(file)
    params = {"app_id": page.app_id, "request": {"path": path, "offset": 0, "chunkSize": 50 * 1024 * 1024}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "read_chunk_as_array_buffer", "params": params}
    async with page.face.http.post(page.face.desktop, json=call, headers=page.headers) as answer:
        os.truncate(file, 1024 * 1024)
        told = await answer.json()
    assert (told["id"], told["error"]["data"]["reason"]) == (7, "source_changed")
