"""The official Connect SDK 5.0.3, unmodified, in real Chromium, on a page of another origin.

Dialogs and questions are answered in the helper's own pages; test_native_dialogs.py answers real windows.
Shapes are those of the Connect reference, sections 4 to 8.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.official import OfficialPage, World, sha256_of
from tests.support.person import AtThePages
from tests.support.sshd import PasswordServer, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
ASCTIME = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}")
LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


async def together(call: Awaitable[Any], user: Awaitable[Any]) -> Any:
    """Await a call of the page while the user answers what it leads to; returns the call's answer."""
    answer, _ = await asyncio.gather(call, user)
    return answer


def assert_error(answer: dict[str, Any], code: int) -> str:
    """Check the error shape as the page's callback got it; returns the sentence for the user."""
    error = answer["error"]["error"]
    assert error["code"] == code, error
    assert isinstance(error["internal_message"], str)
    assert error["user_message"].endswith((".", "?")), error
    return str(error["user_message"])


def make_file(world: World, name: str, content: bytes) -> Path:
    path = world.helper.user_home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def grant(page: OfficialPage, person: AtThePages, path: Path) -> str:
    """Let the user give one file to the page; returns the path the page was told."""
    answer = await together(page.callbacks("showSelectFileDialog", {}, position=0), person.choose(path))
    (file,) = answer["value"]["dataTransfer"]["files"]
    return str(file["name"])


@dataclass(frozen=True, slots=True)
class Trusted:
    """A page the user lets use the server for good, and gave one whole folder."""

    page: OfficialPage
    outbox: Path

    def file(self, name: str, content: bytes) -> str:
        """A file in the folder, as the page names it."""
        path = self.outbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trusted(world: World) -> AsyncIterator[Trusted]:
    """One such page for all tests that only want to transfer."""
    person = AtThePages(world.helper, world.browser)
    outbox = world.helper.user_home / "outbox"
    outbox.mkdir()
    async with world.page() as page:
        await together(page.promise("showSelectFolderDialogPromise", {}), person.choose(outbox))
        server = {"remote_host": world.server.host, "ssh_port": world.server.port}
        answer = await together(page.promise("testSshPorts", server), person.allow(always=True))
        assert answer == {"value": {}}
        yield Trusted(page, outbox)


# Finding the helper ------------------------------------------------------------------------------


async def test_the_session_gets_running_and_knows_the_version(page: OfficialPage) -> None:
    assert await page.page.evaluate("client.connect.getStatus()") == "RUNNING"
    assert (await page.page.evaluate("client.statuses"))[-1] == "RUNNING"
    version = (await page.callbacks("version"))["value"]
    assert version == {"system_wide": False, "version": "4.2.13.820"}


async def test_a_page_that_asks_for_a_newer_version_is_told_it_is_outdated(world: World) -> None:
    async with world.page() as page:
        await page.page.evaluate("localStorage.setItem('aspera-min-version', '99.0.0')")
        await page.page.reload()
        await page.page.evaluate("client.init('')")
        await page.until("client.connect.getStatus() === 'OUTDATED'")


# Dialogs -----------------------------------------------------------------------------------------


async def test_a_chosen_file_is_told_with_path_size_type_and_time(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    path = make_file(world, "scans/scan 1.png", b"x" * 1234)
    answer = await together(
        page.callbacks("showSelectFileDialog", {"title": "Send us your scan"}, position=0),
        person.choose(path),
    )
    (file,) = answer["value"]["dataTransfer"]["files"]
    assert file["name"] == str(path)
    assert file["size"] == 1234
    assert file["type"] == "image/png"
    assert ASCTIME.fullmatch(file["lastModifiedDate"])
    assert file["lastModified"] == pytest.approx(path.stat().st_mtime * 1000, abs=1000)


async def test_a_chosen_folder_is_told_as_a_folder(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    make_file(world, "album/one.txt", b"1")
    folder = world.helper.user_home / "album"
    answer = await together(
        page.promise("showSelectFolderDialogPromise", {"allowMultipleSelection": False}),
        person.choose(folder),
    )
    (chosen,) = answer["value"]["dataTransfer"]["files"]
    assert (chosen["name"], chosen["size"], chosen["type"]) == (str(folder), 0, "inode/directory")


async def test_a_place_to_save_need_not_exist(world: World, page: OfficialPage, person: AtThePages) -> None:
    target = world.helper.user_home / "report.pdf"
    answer = await together(
        page.callbacks("showSaveFileDialog", {"suggestedName": "draft.pdf"}, position=0),
        person.choose(target, save=True),
    )
    (chosen,) = answer["value"]["dataTransfer"]["files"]
    assert (chosen["name"], chosen["size"]) == (str(target), 0)
    assert not target.exists()


@pytest.mark.parametrize("method", ["showSelectFileDialog", "showSelectFolderDialog", "showSaveFileDialog"])
async def test_a_cancelled_dialog_is_a_success_with_no_files(
    page: OfficialPage, person: AtThePages, method: str
) -> None:
    answer = await together(page.callbacks(method, {}, position=0), person.cancel())
    assert answer["value"] == {"dataTransfer": {"files": []}}


async def test_other_calls_are_answered_while_a_dialog_is_open(
    page: OfficialPage, person: AtThePages
) -> None:
    dialog = asyncio.ensure_future(page.promise("showSelectFileDialogPromise", {}))
    assert "value" in await page.promise("version")
    assert not dialog.done()
    await person.cancel()
    assert (await dialog)["value"] == {"dataTransfer": {"files": []}}


DROP = """(files) => {
  const data = new DataTransfer();
  for (const { name, content, time } of files) {
    data.items.add(new File([content], name, { lastModified: time }));
  }
  const dropped = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("#target").dispatchEvent(dropped);
}"""


async def test_dropped_files_are_found_with_the_users_help(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    path = make_file(world, "dropped.txt", b"dropped")
    await page.page.evaluate(
        """() => {
          window.drops = [];
          client.connect.setDragDropTargets("#target", { drop: true }, (event) => window.drops.push(event));
        }"""
    )
    # A browser tells a page the name, never the place.
    dropped = {"name": path.name, "content": "dropped", "time": path.stat().st_mtime * 1000}
    await asyncio.gather(page.page.evaluate(DROP, [dropped]), person.choose(path))
    await page.until("window.drops.length > 0")
    event = await page.page.evaluate("({ files: window.drops[0].files })")
    (file,) = event["files"]["dataTransfer"]["files"]
    assert (file["name"], file["size"]) == (str(path), 7)
    read = await page.callbacks("readAsArrayBuffer", {"path": file["name"]})
    assert base64.b64decode(read["value"]["data"]) == b"dropped"


async def test_a_drop_the_user_does_not_confirm_gives_no_path(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    path = make_file(world, "guessed.txt", b"guessed")
    guess = {"dataTransfer": {"files": [{"name": path.name, "size": 7, "type": "text/plain"}]}}
    answer, _ = await asyncio.gather(page.callbacks("getDroppedFiles", guess), person.cancel())
    assert answer["value"] == {"dataTransfer": {"files": []}}


async def test_a_dropped_file_that_is_found_is_shown_by_its_path_and_given_after_a_yes(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    path = make_file(world, "Documents/2026/found.txt", b"found it")
    drop = {"name": path.name, "size": 8, "type": "text/plain", "lastModified": path.stat().st_mtime * 1000}
    telling = asyncio.create_task(page.callbacks("getDroppedFiles", {"dataTransfer": {"files": [drop]}}))
    question = await person.allow()
    assert page.origin in question
    assert str(path) in question
    (file,) = (await telling)["value"]["dataTransfer"]["files"]
    assert (file["name"], file["size"]) == (str(path), 8)


async def test_a_no_to_what_was_found_lets_the_user_pick(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    wrong = make_file(world, "Documents/2027/twin.txt", b"wrong")
    meant = make_file(world, "twin.txt", b"meant")
    drop = {"name": wrong.name, "size": 5, "type": "text/plain"}
    telling = asyncio.create_task(page.callbacks("getDroppedFiles", {"dataTransfer": {"files": [drop]}}))
    await person.deny()
    await person.choose(meant)
    (file,) = (await telling)["value"]["dataTransfer"]["files"]
    assert file["name"] == str(meant)
    read = await page.callbacks("readAsArrayBuffer", {"path": str(wrong)})
    assert read["error"]["error"]["code"] == 403


# The main job ------------------------------------------------------------------------------------


async def test_a_file_goes_up_with_events_until_completed(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    content = os.urandom(3 * MIB)
    source = await grant(page, person, make_file(world, "film.bin", content))
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root))
    del spec["sshfp"]  # a site that does not tell: the user is asked about the server's key
    request_id = await page.start(spec)
    question = await person.allow(always=True)
    assert page.origin in question
    assert "127.0.0.1" in question
    key_question = await person.allow()
    assert world.server.fingerprint in key_question

    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (world.server.root / "film.bin").read_bytes() == content
    assert_transfer_info(info, page, request_id, size=len(content))
    seen = await page.seen(request_id)
    assert seen[-1] == "completed"
    assert set(seen) <= {"queued", "initiating", "running", "completed"}

    answer = (await page.start_answer(request_id))["value"]
    (entry,) = answer["transfer_specs"]
    assert entry["uuid"] == info["uuid"]
    assert entry["aspera_connect_settings"]["request_id"] == request_id
    assert_no_secret(answer, world)


def assert_transfer_info(info: dict[str, Any], page: OfficialPage, request_id: str, *, size: int) -> None:
    """Every field of section 7.1 with its type, for a finished transfer of one file."""
    assert info["aspera_connect_settings"]["app_id"] == page.app_id
    assert info["aspera_connect_settings"]["request_id"] == request_id
    assert info["aspera_connect_settings"]["back_link"].startswith(page.origin)
    for field in ("add_time", "start_time", "end_time", "modify_time"):
        assert LOCAL_TIME.fullmatch(info[field]), field
    assert info["previous_status"] in ("running", "initiating")
    assert info["transport"] == "fasp"
    assert (info["bytes_expected"], info["bytes_written"]) == (size, size)
    assert info["percentage"] == 1
    assert info["remaining_usec"] == 0
    for field in ("calculated_rate_kbps", "elapsed_usec", "transfer_iteration_token"):
        assert isinstance(info[field], int | float), field
    assert info["file_counts"] == {"attempted": 1, "completed": 1, "failed": 0, "skipped": 0}
    (file,) = info["files"]
    assert file["bytes_expected"] == file["bytes_written"] == size
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", file["fasp_file_id"])
    assert (info["error_code"], info["error_desc"]) == (0, "")
    assert info["transfer_spec"]["tags"]["aspera"]["xfer_id"]


def assert_no_secret(answer: Any, world: World) -> None:
    body = world.server.client_key.splitlines()[1]
    assert body not in repr(answer)


async def completed(page: OfficialPage, request_id: str) -> dict[str, Any]:
    """Wait for the end of a transfer that is to succeed."""
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    return info


async def test_a_folder_goes_up_whole(world: World, trusted: Trusted) -> None:
    trusted.file("tree/deep/er/two.txt", b"two")
    trusted.file("tree/one.txt", b"one")
    trusted.file("tree/empty.txt", b"")
    spec = world.spec("send", {"source": str(trusted.outbox / "tree")})
    spec |= {"destination_root": str(world.server.root / "in"), "create_dir": True}
    info = await completed(trusted.page, await trusted.page.start(spec))
    assert info["file_counts"] == {"attempted": 3, "completed": 3, "failed": 0, "skipped": 0}
    arrived = world.server.root / "in" / "tree"
    assert {path.name: path.read_bytes() for path in arrived.rglob("*.txt")} == {
        "two.txt": b"two",
        "one.txt": b"one",
        "empty.txt": b"",
    }


async def test_a_file_comes_down_into_the_download_folder(world: World, trusted: Trusted) -> None:
    content = os.urandom(2 * MIB + 1)
    (world.server.root / "from here.bin").write_bytes(content)
    spec = world.spec("receive", {"source": str(world.server.root / "from here.bin")})
    info = await completed(trusted.page, await trusted.page.start(spec))
    assert (world.helper.downloads / "from here.bin").read_bytes() == content
    assert info["explorer_path"] == str(world.helper.downloads / "from here.bin")


async def test_a_folder_comes_down_whole(world: World, trusted: Trusted) -> None:
    folder = world.server.root / "album"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner/b.txt").write_text("b")
    spec = world.spec("receive", {"source": str(folder)}, destination_root="albums")
    info = await completed(trusted.page, await trusted.page.start(spec))
    assert info["file_counts"]["completed"] == 2
    assert (world.helper.downloads / "albums/album/inner/b.txt").read_text() == "b"


async def test_a_file_comes_down_where_the_save_dialog_said(
    world: World, trusted: Trusted, person: AtThePages
) -> None:
    (world.server.root / "draft.txt").write_text("saved elsewhere")
    target = world.helper.user_home / "final.txt"
    answer = await together(
        trusted.page.callbacks("showSaveFileDialog", {}, position=0), person.choose(target, save=True)
    )
    chosen = Path(answer["value"]["dataTransfer"]["files"][0]["name"])
    paths = {"source": str(world.server.root / "draft.txt"), "destination": chosen.name}
    spec = world.spec("receive", paths, destination_root=str(chosen.parent))
    await completed(trusted.page, await trusted.page.start(spec, {"use_absolute_destination_path": True}))
    assert target.read_text() == "saved elsewhere"


async def test_a_transfer_is_stopped_and_resumed_to_the_same_end(world: World, trusted: Trusted) -> None:
    content = os.urandom(4 * MIB)
    source = trusted.file("long.bin", content)
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root))
    request_id = await trusted.page.start({**spec, "target_rate_kbps": 8000})
    await trusted.page.until("id => client.transfer(id)?.info.bytes_written > 500000", request_id)
    transfer_id = (await trusted.page.info(request_id))["uuid"]

    assert await trusted.page.callbacks("stopTransfer", transfer_id) == {"value": {}}
    stopped = await trusted.page.status(request_id, "cancelled", "completed")
    assert stopped["status"] == "cancelled"
    assert 0 < stopped["bytes_written"] < len(content)
    assert not (world.server.root / "long.bin").exists()

    resumed = await trusted.page.callbacks("resumeTransfer", transfer_id, {"cookie": "again"})
    assert resumed["value"]["transfer_spec"]["uuid"] == transfer_id
    assert_no_secret(resumed, world)
    changed = await trusted.page.callbacks("modifyTransfer", transfer_id, {"target_rate_kbps": 1_000_000})
    assert changed["value"]["target_rate_kbps"] == 1_000_000
    info = await completed(trusted.page, request_id)
    assert info["uuid"] == transfer_id
    assert (world.server.root / "long.bin").read_bytes() == content
    seen = await trusted.page.seen(request_id)
    assert "cancelled" in seen[:-1]


async def test_a_transfer_is_listed_shown_and_removed(world: World, trusted: Trusted) -> None:
    source = trusted.file("note.txt", b"note")
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root))
    request_id = await trusted.page.start(spec)
    info = await completed(trusted.page, request_id)
    transfer_id = info["uuid"]

    shown = (await trusted.page.callbacks("getTransfer", transfer_id))["value"]["transfer_info"]
    assert (shown["uuid"], shown["status"]) == (transfer_id, "completed")
    listed = (await trusted.page.callbacks("getAllTransfers", 0, position=0))["value"]
    assert listed["result_count"] == len(listed["transfers"])
    assert transfer_id in [one["uuid"] for one in listed["transfers"]]
    token = listed["iteration_token"]
    later = (await trusted.page.callbacks("getAllTransfers", token, position=0))["value"]
    assert (later["transfers"], later["result_count"]) == ([], 0)

    assert await trusted.page.callbacks("removeTransfer", transfer_id) == {"value": {}}
    await trusted.page.status(request_id, "removed")
    gone = (await trusted.page.callbacks("getAllTransfers", token, position=0))["value"]
    assert [(one["uuid"], one["status"]) for one in gone["transfers"]] == [(transfer_id, "removed")]
    assert gone["iteration_token"] > token
    assert_error(await trusted.page.callbacks("getTransfer", transfer_id), 404)


async def test_a_start_sent_twice_runs_once(world: World, trusted: Trusted) -> None:
    spec = world.spec(
        "send", {"source": trusted.file("once.txt", b"1")}, destination_root=str(world.server.root)
    )
    settings = {"app_id": trusted.page.app_id, "request_id": "0d4e2a68-5a57-4c39-9d2e-61c1b2f5a001"}
    entry = {"transfer_spec": spec, "aspera_connect_settings": settings}
    body = json.dumps({"transfer_specs": [entry], "aspera_connect_settings": {"app_id": settings["app_id"]}})
    first, second = await trusted.page.page.evaluate(
        """([url, body]) => {
          const send = async () => (await fetch(url, { method: "POST", body })).json();
          return Promise.all([send(), send()]);
        }""",
        [f"{world.helper.base_url}/v6/connect/transfers/start", body],
    )
    assert first["transfer_specs"][0]["uuid"] == second["transfer_specs"][0]["uuid"]
    listed = (await trusted.page.callbacks("getAllTransfers", 0, position=0))["value"]["transfers"]
    requests = [one["aspera_connect_settings"]["request_id"] for one in listed]
    assert requests.count(settings["request_id"]) == 1


async def test_every_way_to_start_gives_the_same_answer(world: World, trusted: Trusted) -> None:
    spec = world.spec("receive", {"source": str(world.server.root / "start.txt")})
    (world.server.root / "start.txt").write_text("start")
    entry = {"transfer_spec": spec, "aspera_connect_settings": {}}
    promised = await trusted.page.promise("startTransferPromise", spec, {})
    listed = await trusted.page.promise("startTransfers", {"transfer_specs": [entry]})
    for answer in (promised, listed):
        (started,) = answer["value"]["transfer_specs"]
        assert started["uuid"] == started["tags"]["aspera"]["xfer_id"]
        assert started["transfer_spec"]["tags"]["aspera"]["xfer_id"] == started["uuid"]
        assert_no_secret(answer, world)


async def test_several_transfers_run_through_the_queue(world: World, trusted: Trusted) -> None:
    root = str(world.server.root / "queue")
    ids = []
    for number in range(5):
        source = trusted.file(f"q{number}.bin", os.urandom(50_000))
        spec = world.spec("send", {"source": source}, destination_root=root, create_dir=True)
        ids.append(await trusted.page.start(spec))
    for request_id in ids:
        await completed(trusted.page, request_id)
    assert len(list((world.server.root / "queue").iterdir())) == 5


# Reading files the user gave ---------------------------------------------------------------------


async def test_a_granted_file_is_read_whole_in_pieces_and_digested(trusted: Trusted) -> None:
    content = bytes(range(256)) * 40
    path = trusted.file("read me.png", content)
    whole = (await trusted.page.callbacks("readAsArrayBuffer", {"path": path}))["value"]
    assert (whole["type"], base64.b64decode(whole["data"], validate=True)) == ("image/png", content)

    for offset, size in ((0, 100), (300, 7), (len(content) - 5, 100), (len(content) + 1, 10)):
        piece = {"path": path, "offset": offset, "chunkSize": size}
        read = (await trusted.page.callbacks("readChunkAsArrayBuffer", piece))["value"]
        assert base64.b64decode(read["data"], validate=True) == content[offset : offset + size]

    for method in ("md5", "sha1", "sha256", "sha512"):
        asked = {"path": path, "checksumMethod": method, "offset": 0, "chunkSize": 0}
        digest = (await trusted.page.callbacks("getChecksum", asked))["value"]
        assert digest == {"checksumMethod": method, "checksum": hashlib.new(method, content).hexdigest()}


async def test_a_file_nobody_gave_is_not_read(world: World, trusted: Trusted) -> None:
    secret = make_file(world, "secret.txt", b"not for pages")
    for path in (str(secret), str(trusted.outbox / "../secret.txt"), "/etc/passwd"):
        for method, options in (
            ("readAsArrayBuffer", {"path": path}),
            ("readChunkAsArrayBuffer", {"path": path, "offset": 0, "chunkSize": 4}),
            ("getChecksum", {"path": path}),
        ):
            sentence = assert_error(await trusted.page.callbacks(method, options), 403)
            assert path not in sentence


# Connection tests --------------------------------------------------------------------------------


async def test_a_port_is_tested_once_the_user_agrees(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    server = {"remote_host": world.server.host, "ssh_port": world.server.port}
    assert_error(await together(page.callbacks("testSshPorts", server), person.deny()), 403)
    assert await together(page.callbacks("testSshPorts", server), person.allow()) == {"value": {}}


async def test_a_closed_port_is_an_error_that_says_so(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    closed = {"remote_host": "127.0.0.1", "ssh_port": free_port()}
    answer = await together(page.callbacks("testSshPorts", closed), person.allow())
    sentence = assert_error(answer, 500)
    assert str(closed["ssh_port"]) in sentence


async def test_a_login_is_tried_for_real(page: OfficialPage, person: AtThePages) -> None:
    async with PasswordServer() as server:
        login = {
            "remote_host": server.host,
            "ssh_port": server.port,
            "remote_user": server.user,
            "remote_password": server.password,
        }
        call = asyncio.ensure_future(page.callbacks("authenticate", login))
        await person.allow(always=True)
        assert server.fingerprint in await person.allow()
        assert await call == {"value": {}}
        wrong = await page.callbacks("authenticate", {**login, "remote_password": "guess"})
        sentence = assert_error(wrong, wrong["error"]["error"]["code"])
        assert "guess" not in sentence
        assert server.passwords[-1] == "guess"


# The helper's windows ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "part"),
    [
        ("showAbout", (), "/about"),
        ("showPreferences", (), "/preferences"),
        ("showPreferencesPage", ({"page": "network"},), "/preferences"),
        ("showTransferManager", (), "/"),
    ],
)
async def test_a_window_is_opened(
    world: World, page: OfficialPage, method: str, options: tuple[dict[str, str], ...], part: str
) -> None:
    assert await page.callbacks(method, *options) == {"value": {}}
    assert part in await world.helper.opened("#code=")


async def test_the_monitor_and_the_folder_of_a_transfer_are_shown(world: World, trusted: Trusted) -> None:
    source = trusted.file("shown.txt", b"shown")
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root))
    transfer_id = (await completed(trusted.page, await trusted.page.start(spec)))["uuid"]
    assert await trusted.page.callbacks("showTransferMonitor", transfer_id) == {"value": {}}
    assert transfer_id in await world.helper.opened("/activity/")
    assert_error(await trusted.page.callbacks("showTransferMonitor", "no-such-transfer"), 404)


async def test_the_folder_of_a_download_is_shown_while_it_comes_and_the_file_when_it_is_there(
    world: World, trusted: Trusted
) -> None:
    page = trusted.page
    (world.server.root / "slow.bin").write_bytes(os.urandom(2 * MIB))
    paths = {"source": str(world.server.root / "slow.bin")}
    spec = world.spec("receive", paths, destination_root="coming", target_rate_kbps=800)
    request_id = await page.start(spec)
    await page.until(f"client.transfer({json.dumps(request_id)})?.info.status === 'running'")
    transfer_id = await page.page.evaluate(f"client.transfer({json.dumps(request_id)}).info.uuid")
    assert await shown(page, transfer_id) == {"value": {}}
    assert "slow.bin" not in world.helper.shown()[-1]
    assert str(world.helper.downloads) in world.helper.shown()[-1]
    await page.callbacks("modifyTransfer", transfer_id, {"target_rate_kbps": 0}, position=2)
    await completed(page, request_id)
    assert await shown(page, transfer_id) == {"value": {}}
    assert world.helper.shown()[-1].endswith("/coming/slow.bin']")


async def shown(page: OfficialPage, transfer_id: str) -> Any:
    """Have a transfer's file shown, as soon as a window may be opened again."""
    async with asyncio.timeout(30):
        while True:
            answer = await page.callbacks("showDirectory", transfer_id)
            if answer.get("error", {}).get("error", {}).get("code") != 429:
                return answer
            await asyncio.sleep(0.2)


# Errors ------------------------------------------------------------------------------------------


async def start_error(page: OfficialPage, spec: dict[str, Any], code: int) -> str:
    """Start what must be refused at once; returns the sentence."""
    return assert_error(await page.start_answer(await page.start(spec)), code)


@pytest.mark.parametrize("missing", ["direction", "remote_host", "paths"])
async def test_a_spec_without_a_needed_field_is_refused_by_name(
    world: World, trusted: Trusted, missing: str
) -> None:
    spec = world.spec("send", {"source": trusted.file("any.txt", b"any")})
    del spec[missing]
    assert missing in await start_error(trusted.page, spec, 400)


async def test_a_source_nobody_gave_is_refused_without_a_question(world: World, trusted: Trusted) -> None:
    windows = world.helper.addresses()
    secret = make_file(world, "other.txt", b"other")
    for source in (str(secret), f"{trusted.outbox}/../other.txt", "/etc/passwd"):
        await start_error(trusted.page, world.spec("send", {"source": source}), 403)
    assert world.helper.addresses() == windows


async def test_a_grant_of_another_app_id_is_not_shared(world: World, trusted: Trusted) -> None:
    source = trusted.file("mine.txt", b"mine")
    body = {"aspera_connect_settings": {"app_id": "another"}, "path": source}
    status = await trusted.page.page.evaluate(
        "async ([url, body]) => (await fetch(url, { method: 'POST', body })).status",
        [f"{world.helper.base_url}/v5/connect/file/read-as-array-buffer/", json.dumps(body)],
    )
    assert status == 403


async def test_a_download_cannot_climb_out(world: World, trusted: Trusted) -> None:
    (world.server.root / "climber.txt").write_text("up")
    for destination in ("../outside", "/tmp", "a/../../b"):
        spec = world.spec(
            "receive", {"source": str(world.server.root / "climber.txt")}, destination_root=destination
        )
        settings = {"use_absolute_destination_path": destination.startswith("/")}
        answer = await trusted.page.start_answer(await trusted.page.start(spec, settings))
        assert_error(answer, 403)
    assert not list(world.helper.home.rglob("climber.txt"))


async def test_a_refused_question_fails_the_start(
    world: World, page: OfficialPage, person: AtThePages
) -> None:
    spec = world.spec("receive", {"source": str(world.server.root / "x")})
    request_id = await page.start(spec)
    await person.deny()
    assert_error(await page.start_answer(request_id), 403)
    listed = (await page.callbacks("getAllTransfers", 0, position=0))["value"]
    assert listed["transfers"] == []


async def test_a_missing_password_is_asked_for(page: OfficialPage, person: AtThePages) -> None:
    async with PasswordServer() as server:
        (server.root / "gift.txt").write_text("gift")
        spec = {
            "direction": "receive",
            "remote_host": server.host,
            "ssh_port": server.port,
            "sshfp": sha256_of(server.host_key_line),
            "paths": [{"source": "gift.txt"}],
        }
        request_id = await page.start(spec)
        await person.allow()
        await person.sign_in(server.user, server.password)
        await completed(page, request_id)


async def test_a_wrong_password_fails_with_a_reason(page: OfficialPage, person: AtThePages) -> None:
    async with PasswordServer() as server:
        spec = {
            "direction": "receive",
            "remote_host": server.host,
            "ssh_port": server.port,
            "remote_user": server.user,
            "remote_password": "wrong",
            "sshfp": sha256_of(server.host_key_line),
            "paths": [{"source": "gift.txt"}],
        }
        request_id = await page.start(spec)
        await person.allow()
        info = await page.status(request_id, "failed", "completed")
        assert (info["status"], info["error_code"]) == ("failed", 19)
        assert info["error_desc"]


async def test_a_server_with_another_key_than_the_spec_says_gets_nothing(
    world: World, trusted: Trusted
) -> None:
    source = trusted.file("held back.txt", b"held back")
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root), sshfp="ab" * 32)
    info = await trusted.page.status(await trusted.page.start(spec), "failed", "completed")
    assert (info["status"], info["error_code"]) == ("failed", 51)
    assert not (world.server.root / "held back.txt").exists()


async def test_unknown_transfers_are_404_for_every_call(page: OfficialPage) -> None:
    for method, *options in (
        ("getTransfer",),
        ("stopTransfer",),
        ("removeTransfer",),
        ("resumeTransfer", {}),
        ("modifyTransfer", {"target_rate_kbps": 1000}),
        ("showDirectory",),
    ):
        assert_error(await page.callbacks(method, "no-such-transfer", *options), 404)
