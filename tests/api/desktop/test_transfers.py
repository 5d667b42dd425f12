"""Transfers over the desktop face, to a real OpenSSH server (desktop reference, sections 3, 4.2 to 4.4)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.desktop.objects import SPECS_KEPT, TransferTexts, facts, utc_time
from connect_helper.api.desktop.transfers import file_entry
from connect_helper.picking.base import Answer
from connect_helper.settings import Folders
from connect_helper.transfers.arrivals import arrived
from connect_helper.transfers.messages import FileReport
from tests.api.conftest import APP, PAGE, Face
from tests.api.desktop.conftest import RpcPage
from tests.support.managing import request
from tests.support.proxy import FaultProxy
from tests.support.sshd import SshServer

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {
    *("uuid", "status", "previous_status", "title", "transfer_spec", "add_time", "end_time"),
    *("bytes_expected", "bytes_written", "percentage", "calculated_rate_kbps", "elapsed_usec"),
    *("remaining_usec", "current_file", "file_counts", "explorer_path"),
}


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


def spec_for(sshd: SshServer, direction: str, *sources: str, **more: Any) -> dict[str, Any]:
    return {
        "direction": direction,
        "remote_host": sshd.host,
        "ssh_port": sshd.port,
        "remote_user": sshd.user,
        "ssh_private_key": sshd.client_key,
        "paths": [{"source": source} for source in sources],
        "destination_root": str(sshd.root) if direction == "send" else "",
        **more,
    }


def make(path: Path, size: int = 300_001) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_file_goes_up_and_comes_back(page: RpcPage, sshd: SshServer, folder: Path) -> None:
    film = make(folder / "film.mov")
    (source,) = await page.choose(film)
    started = await page.start(spec_for(sshd, "send", source, title="A film"), allow_dialogs=True)
    assert started["status"] in ("queued", "initiating", "running")
    assert set(started) == FIELDS
    ended = await page.until(started["uuid"])
    assert ended["status"] == "completed", ended
    assert digest(sshd.root / "film.mov") == digest(film)
    assert set(ended) == FIELDS
    assert (ended["title"], ended["previous_status"]) == ("A film", "running")
    assert ISO.fullmatch(ended["add_time"])
    assert ISO.fullmatch(ended["end_time"])
    assert ended["end_time"] >= ended["add_time"]
    assert (ended["bytes_expected"], ended["bytes_written"], ended["percentage"]) == (300_001, 300_001, 1)
    assert ended["remaining_usec"] == 0
    assert ended["file_counts"] == {"attempted": 1, "completed": 1, "failed": 0, "skipped": 0}
    assert ended["explorer_path"] == source
    assert ended["transfer_spec"]["paths"] == [{"source": source}]

    down = await page.start(spec_for(sshd, "receive", f"{sshd.root}/film.mov"))
    ended = await page.until(down["uuid"])
    assert ended["status"] == "completed", ended
    assert digest(page.face.folders.downloads / "film.mov") == digest(film)
    listed = await page.call("get_all_transfers")
    assert [one["uuid"] for one in listed] == [started["uuid"], down["uuid"]]


async def test_no_secret_comes_back(page: RpcPage, sshd: SshServer) -> None:
    secrets = {"remote_password": "canary-1", "token": "canary-2", "content_protection_password": "canary-3"}
    started = await page.start(spec_for(sshd, "receive", "x", **secrets))
    texts = [json.dumps(started), json.dumps(await page.call("get_all_transfers"))]
    texts.append(json.dumps(await page.until(started["uuid"])))
    for text in texts:
        assert "canary" not in text
        assert "PRIVATE KEY" not in text


async def test_the_spec_may_have_nulls_and_the_desktops_own_words(
    page: RpcPage, sshd: SshServer, folder: Path
) -> None:
    (source,) = await page.choose(make(folder / "a.bin"))
    spec = spec_for(sshd, "send", source, resume_policy=None, cipher="aes128", token=None)
    ended = await page.until((await page.start(spec))["uuid"])
    assert ended["status"] == "completed", ended


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"direction": "up"}, -32602),
        ({"remote_host": "a b"}, -32602),
        ({"remote_host": None}, -32602),
        ({"ssh_port": 65_536}, -32602),
        ({"paths": []}, -32602),
        ({"paths": "x"}, -32602),
        ({"paths": [{"source": "/etc/passwd"}]}, -32004),
        ({"direction": "receive", "destination_root": "../up"}, -32004),
    ],
)
async def test_a_spec_that_cannot_be_is_refused_without_a_question(
    page: RpcPage, sshd: SshServer, folder: Path, change: dict[str, Any], code: int
) -> None:
    (source,) = await page.choose(make(folder / "a.bin"))
    spec = spec_for(sshd, "send", source) | change
    assert (await page.error("start_transfer", {"transfer_spec": spec, "desktop_spec": {}}))["code"] == code
    assert page.face.person.questions == []


NO_SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"transfer_spec": None},
    {"transfer_spec": "x"},
    {"transfer_spec": []},
    {"transfer_spec": {"direction": "send"}, "desktop_spec": "x"},
    {"transfer_spec": {}, "desktop_spec": {"allow_dialogs": "perhaps"}},
)


@pytest.mark.parametrize("params", NO_SPECS)
async def test_specs_must_be_objects(page: RpcPage, params: dict[str, Any]) -> None:
    assert (await page.error("start_transfer", params))["code"] == -32602


async def test_a_refused_transfer_has_a_number_of_its_own(page: RpcPage, sshd: SshServer) -> None:
    page.face.person.answer = Answer(accepted=False)
    error = await page.error("start_transfer", {"transfer_spec": spec_for(sshd, "receive", "x")})
    assert error["code"] == -32003
    assert await page.call("get_all_transfers") == []


async def test_an_absolute_destination_needs_a_dialog_and_the_pages_word(
    page: RpcPage, sshd: SshServer, folder: Path
) -> None:
    make(sshd.root / "here.bin")
    spec = spec_for(sshd, "receive", f"{sshd.root}/here.bin", destination_root=str(folder))
    call = {"transfer_spec": spec, "desktop_spec": {"use_absolute_destination_path": True}}
    assert (await page.error("start_transfer", call))["code"] == -32004
    await page.choose(folder, dialog="show_folder_dialog")
    ended = await page.until((await page.start(spec, use_absolute_destination_path=True))["uuid"])
    assert ended["status"] == "completed", ended
    assert digest(folder / "here.bin") == digest(sshd.root / "here.bin")
    assert ended["explorer_path"] == str(folder / "here.bin")


async def test_without_dialogs_a_missing_password_is_named_and_nothing_asked(
    page: RpcPage, sshd: SshServer
) -> None:
    spec = spec_for(sshd, "receive", "x")
    del spec["ssh_private_key"]
    error = await page.error(
        "start_transfer", {"transfer_spec": spec, "desktop_spec": {"allow_dialogs": False}}
    )
    assert (error["code"], error["data"]["field"]) == (-32602, "remote_password")
    assert page.face.person.questions == []
    assert page.face.person.sign_ins == []


async def test_stop_resume_and_remove(page: RpcPage, sshd: SshServer, folder: Path) -> None:
    long = make(folder / "long.bin", 3_000_000)
    (source,) = await page.choose(long)
    named = {
        "transfer_id": (await page.start(spec_for(sshd, "send", source, target_rate_kbps=2_000)))["uuid"]
    }
    await page.until(named["transfer_id"], "running")
    assert (await page.error("resume_transfer", named))["code"] == -32005

    changed = await page.call("modify_transfer", {**named, "transfer_spec": {"target_rate_kbps": 3_000}})
    assert (changed["uuid"], changed["transfer_spec"]["target_rate_kbps"]) == (named["transfer_id"], 3_000)
    wrong = {**named, "transfer_spec": {"target_rate_kbps": "fast"}}
    assert (await page.error("modify_transfer", wrong))["code"] == -32602
    assert (await page.error("modify_transfer", named))["code"] == -32602

    assert await page.call("stop_transfer", named) is None
    assert (await page.call("get_transfer", named))["status"] == "cancelled"
    assert await page.call("stop_transfer", named) is None  # once more is no error

    await page.call("modify_transfer", {**named, "transfer_spec": {"target_rate_kbps": 0}})
    resumed = await page.call("resume_transfer", {**named, "transfer_spec": {"remote_user": sshd.user}})
    assert resumed["uuid"] == named["transfer_id"]
    assert resumed["status"] in ("queued", "initiating", "running")
    assert (await page.until(named["transfer_id"]))["status"] == "completed"
    assert digest(sshd.root / "long.bin") == digest(long)

    assert await page.call("remove_transfer", named) is None
    assert (await page.error("get_transfer", named))["code"] == -32001
    assert await page.call("remove_transfer", named) is None
    assert await page.call("get_all_transfers") == []
    assert long.exists()


async def test_a_failed_transfer_says_why(page: RpcPage, sshd: SshServer) -> None:
    started = await page.start(spec_for(sshd, "receive", f"{sshd.root}/missing.bin"))
    ended = await page.until(started["uuid"])
    assert ended["status"] == "failed"
    assert set(ended) == FIELDS | {"error_code", "error_desc"}
    assert ended["error_code"] > 0
    assert ended["error_desc"].endswith(".")


METHODS = ("get_transfer", "get_files_list", "stop_transfer", "resume_transfer", "modify_transfer",
           "remove_transfer", "show_directory", "show_transfer_monitor")  # fmt: skip


async def test_sec_08_a_transfer_of_another_origin_reads_like_one_that_never_was(
    page: RpcPage, other: RpcPage, sshd: SshServer
) -> None:
    transfer_id = (await page.start(spec_for(sshd, "receive", f"{sshd.root}/missing.bin")))["uuid"]
    await page.until(transfer_id)
    assert await other.call("get_all_transfers") == []
    for who in (other, RpcPage(page.face, app_id="another")):
        for method in METHODS:
            named = {"transfer_id": transfer_id, "transfer_spec": {"target_rate_kbps": 1_000}}
            error = await who.error(method, named)
            assert error == {
                "code": -32001,
                "message": "There is no such transfer.",
                "data": {"reason": "not_found"},
            }
    # The id alone counts for its origin, as the SDK sends it.
    nameless = await page.send(
        json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "get_transfer", "params": {"transfer_id": transfer_id}}
        )
    )
    assert nameless["result"]["uuid"] == transfer_id
    await page.call("remove_transfer", {"transfer_id": transfer_id})
    assert (await other.error("remove_transfer", {"transfer_id": transfer_id}))["code"] == -32001


async def test_the_page_of_a_transfer_is_shown(page: RpcPage, sshd: SshServer) -> None:
    transfer_id = (await page.start(spec_for(sshd, "receive", f"{sshd.root}/missing.bin")))["uuid"]
    assert await page.call("show_transfer_monitor", {"transfer_id": transfer_id}) is None
    assert f"/activity/{transfer_id}#" in page.face.opened[0]


async def test_one_program_two_faces(page: RpcPage, sshd: SshServer, folder: Path) -> None:
    """What one face was given and started, the other knows."""
    (source,) = await page.choose(make(folder / "a.bin"))
    status, answer = await page.face.start(spec_for(sshd, "send", source), origin=PAGE, app_id=APP)
    assert status == 200, answer
    transfer_id = answer["transfer_specs"][0]["uuid"]
    assert (await page.until(transfer_id))["status"] == "completed"
    started = await page.start(spec_for(sshd, "receive", f"{sshd.root}/a.bin"))
    info = await page.face.until(started["uuid"], "completed", "failed")
    assert info["status"] == "completed"
    assert info["aspera_connect_settings"]["app_id"] == APP


# Files ----------------------------------------------------------------------------------------------


async def test_files_are_listed_by_page_in_a_stable_order(
    page: RpcPage, sshd: SshServer, folder: Path
) -> None:
    for number in range(23):
        make(folder / "tree" / f"{number:02}.bin", 1_000 + number)
    (source,) = await page.choose(folder / "tree", dialog="show_folder_dialog")
    transfer_id = (await page.start(spec_for(sshd, "send", source)))["uuid"]
    await page.until(transfer_id)
    whole = await page.call("get_files_list", {"transfer_id": transfer_id})
    assert (whole["total_count"], whole["limit"], whole["offset"]) == (23, 1_000, 0)
    assert {entry["file"] for entry in whole["entries"]} == {
        str(folder / "tree" / f"{number:02}.bin") for number in range(23)
    }
    for entry in whole["entries"]:
        assert set(entry) == {"file", "bytes_written", "bytes_expected", "elapsed_usec", "status"}
        assert entry["status"] == "finished"
        assert entry["bytes_written"] == entry["bytes_expected"] == Path(entry["file"]).stat().st_size
        assert entry["elapsed_usec"] > 0
    pieces: list[dict[str, Any]] = []
    for offset in range(0, 30, 10):
        asked = {"transfer_id": transfer_id, "pagination": {"limit": 10, "offset": offset}}
        piece = await page.call("get_files_list", asked)
        assert (piece["total_count"], piece["limit"], piece["offset"]) == (23, 10, offset)
        pieces += piece["entries"]
    assert pieces == whole["entries"]
    for offset, limit in ((23, 10), (10**12, 1), (0, 0)):
        asked = {"transfer_id": transfer_id, "pagination": {"limit": limit, "offset": offset}}
        assert (await page.call("get_files_list", asked))["entries"] == []
    for wrong in ({"limit": -1}, {"offset": "x"}, [], "x"):
        asked = {"transfer_id": transfer_id, "pagination": wrong}
        assert (await page.error("get_files_list", asked))["code"] == -32602


async def test_failed_files_say_why_and_those_under_way_are_listed(
    page: RpcPage, sshd: SshServer, folder: Path
) -> None:
    make(folder / "tree" / "long.bin", 2_000_000)
    make(folder / "tree" / "short.bin", 10)
    (sshd.root / "tree" / "short.bin").mkdir(parents=True)  # a folder stands in its way
    (source,) = await page.choose(folder / "tree", dialog="show_folder_dialog")
    transfer_id = (await page.start(spec_for(sshd, "send", source, target_rate_kbps=1_000)))["uuid"]
    named = {"transfer_id": transfer_id}
    while True:  # until the long one is under way and the short one has failed
        listed = await page.call("get_files_list", named)
        words = {Path(entry["file"]).name: entry for entry in listed["entries"]}
        if len(words) == 2 and words["short.bin"]["status"] != "running":
            break
        assert (await page.call("get_transfer", named))["status"] in ("queued", "initiating", "running")
        await asyncio.sleep(0.2)  # below the rate a page may have
    assert words["long.bin"]["status"] == "running"
    assert listed["total_count"] == 2
    assert words["short.bin"]["status"] == "failed"
    assert words["short.bin"]["error"]["code"] > 0
    assert words["short.bin"]["error"]["description"].endswith(".")

    await page.call("stop_transfer", named)
    listed = await page.call("get_files_list", named)
    words = {Path(entry["file"]).name: entry for entry in listed["entries"]}
    assert words["long.bin"]["status"] == "failed"
    assert words["long.bin"]["error"] == {
        "code": 16,
        "description": "The transfer ended before this file did.",
    }


async def test_a_file_that_waits_for_the_connection_to_come_back_has_not_failed(
    page: RpcPage, sshd: SshServer, folder: Path
) -> None:
    (source,) = await page.choose(make(folder / "long.bin", 2_000_000))
    async with FaultProxy(sshd.host, sshd.port) as proxy:
        spec = spec_for(sshd, "send", source, target_rate_kbps=1_000, ssh_port=proxy.port)
        named = {"transfer_id": (await page.start(spec))["uuid"]}
        await page.until(named["transfer_id"], "running")
        while not (await page.call("get_files_list", named))["entries"]:
            assert (await page.call("get_transfer", named))["status"] == "running"
            await asyncio.sleep(0.2)  # below the rate a page may have
    await page.until(named["transfer_id"], "willretry")  # nothing answers on that port any more
    (entry,) = (await page.call("get_files_list", named))["entries"]
    assert (entry["status"], "error" in entry) == ("running", False)
    await page.call("stop_transfer", named)
    (entry,) = (await page.call("get_files_list", named))["entries"]
    assert (entry["status"], entry["error"]["code"]) == ("failed", 16)


async def test_files_are_still_listed_after_the_helper_was_restarted(
    folders: Folders,
    start_face: Callable[[Folders], AbstractAsyncContextManager[Face]],
    sshd: SshServer,
    folder: Path,
) -> None:
    async with start_face(folders) as face:
        page = RpcPage(face)
        (source,) = await page.choose(make(folder / "a.bin"))
        transfer_id = (await page.start(spec_for(sshd, "send", source)))["uuid"]
        await page.until(transfer_id)
        before = await page.call("get_files_list", {"transfer_id": transfer_id})
    async with start_face(folders) as face:
        assert await RpcPage(face).call("get_files_list", {"transfer_id": transfer_id}) == before
        (listed,) = await RpcPage(face).call("get_all_transfers")
        assert (listed["uuid"], listed["status"]) == (transfer_id, "completed")


@pytest.mark.parametrize(
    ("state", "live", "word"),
    [
        ("running", True, "running"),
        ("done", True, "finished"),
        ("done", False, "finished"),
        ("skipped", False, "skipped"),
        ("failed", True, "failed"),
        ("running", False, "failed"),
    ],
)
def test_a_file_has_one_of_four_states(state: Any, live: bool, word: str) -> None:
    report = FileReport(
        index=0, path="/a", remote_path="a", bytes_expected=2, bytes_written=1, state=state,
        error_code=5, message="Denied.", elapsed_usec=7,
    )  # fmt: skip
    entry = file_entry(report, live=live)
    assert (entry["status"], "error" in entry) == (word, word == "failed")
    assert entry["elapsed_usec"] == 7


# Objects --------------------------------------------------------------------------------------------


def test_times_are_utc_with_milliseconds_and_nothing_for_never() -> None:
    assert utc_time(0.0) == ""
    assert utc_time(1_741_075_811.0) == "2025-03-04T08:10:11.000Z"
    assert utc_time(1_741_075_811.9996) in ("2025-03-04T08:10:11.999Z", "2025-03-04T08:10:12.000Z")


def test_a_text_tells_the_spec_as_it_is_now_and_memory_is_bounded() -> None:
    texts = TransferTexts()
    transfers = [
        arrived(request(), transfer_id=f"t{number}", position=number, now=1.0).transfer
        for number in range(SPECS_KEPT + 5)
    ]
    for transfer in transfers:
        told = json.loads(texts.one(transfer))
        assert told == {"transfer_spec": transfer.spec, **facts(transfer)}
    transfers[-1].spec = {**transfers[-1].spec, "title": "new"}
    assert json.loads(texts.one(transfers[-1]))["transfer_spec"]["title"] == "new"
    assert len(texts._specs) == SPECS_KEPT
