"""Starting transfers: what is refused before anything is touched, what is asked, and what is remembered."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api import ladder, starting
from connect_helper.picking.base import Answer, Credentials
from connect_helper.settings import Folders
from connect_helper.transfers.plan import Upload
from tests.api.conftest import APP, Face

StartFace = Callable[[Folders], AbstractAsyncContextManager[Face]]
HOST = "127.0.0.1"
CLOSED_PORT = 1


def upload(*sources: str, **more: Any) -> dict[str, Any]:
    paths = [{"source": source} for source in sources]
    login = {"remote_user": "ann", "remote_password": "canary-password"}
    return {
        "direction": "send",
        "remote_host": HOST,
        "ssh_port": CLOSED_PORT,
        "paths": paths,
        "destination_root": "inbox",
        **login,
        **more,
    }


def download(**more: Any) -> dict[str, Any]:
    return {**upload("/outbox/report.pdf"), "direction": "receive", "destination_root": "", **more}


_watched: list[str] | None = None


def _note_touch(event: str, args: tuple[Any, ...]) -> None:
    if _watched is not None and event in {"open", "os.listdir", "os.scandir", "os.open"}:
        _watched.append(f"{event} {args[0]}")


sys.addaudithook(_note_touch)


@contextmanager
def touches() -> Iterator[list[str]]:
    """What this process opens and lists meanwhile."""
    global _watched
    seen: list[str] = []
    _watched = seen
    try:
        yield seen
    finally:
        _watched = None


@pytest.fixture
async def granted(face: Face, tmp_path: Path) -> str:
    """A file the user picked for the page."""
    file = tmp_path / "film.mov"
    file.write_bytes(b"film" * 1000)
    return (await face.choose(file))[0]


async def test_the_number_of_sessions_and_their_threshold_reach_the_session(face: Face, granted: str) -> None:
    status, answer = await face.start(upload(granted, multi_session="4", multi_session_threshold=5_000_000))
    assert status == 200, answer
    plan = face.parts.manager.plan_of(answer["transfer_specs"][0]["uuid"])
    assert (plan.connections, plan.divide_from) == (4, 5_000_000)
    status, answer = await face.start(upload(granted, multi_session=10_000))
    assert (status, answer["error"]["code"]) == (400, 400)
    assert "multi_session" in str(answer)


@pytest.mark.parametrize("field", ["direction", "remote_host", "paths"])
async def test_a_spec_without_a_needed_field_names_it(face: Face, granted: str, field: str) -> None:
    spec = upload(granted)
    del spec[field]
    status, answer = await face.start(spec)
    assert status == 400
    assert field in answer["error"]["internal_message"] + answer["error"]["user_message"]
    assert face.person.questions == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"transfer_specs": []},
        {"transfer_specs": [7]},
        {"transfer_specs": [{"transfer_spec": []}]},
        {"transfer_specs": {}},
    ],
)
async def test_a_start_without_a_spec_is_refused(face: Face, body: dict[str, Any]) -> None:
    status, answer = await face.post("/connect/transfers/start", body)
    assert status == 400
    assert answer["error"]["user_message"]


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "~/x",
        "file:///etc/passwd",
        "/proc/self/mem",
        "\\\\host\\share\\x",
        "film.mov",
        "",
        "/",
    ],
)
async def test_sec_11_a_source_never_granted_is_403_and_nothing_is_touched(face: Face, source: str) -> None:
    with touches() as seen:
        status, answer = await face.start(upload(source))
    assert status in (400, 403)
    if source not in ("", "/"):
        assert (status, answer["error"]["user_message"]) == (403, "Choose the file again.")
    assert not [touch for touch in seen if "passwd" in touch or "share" in touch or "film" in touch]
    assert face.person.questions == []


@pytest.mark.parametrize("scope", [{"origin": "https://b.example"}, {"app_id": "other-app"}])
async def test_sec_08_a_grant_of_another_scope_is_403(
    face: Face, granted: str, scope: dict[str, str]
) -> None:
    status, answer = await face.start(upload(granted), **scope)
    assert (status, answer["error"]["user_message"]) == (403, "Choose the file again.")
    assert face.person.questions == []


async def test_sec_11_paths_around_a_granted_folder_are_403(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "data-evil").mkdir()
    (tmp_path / "secret").write_text("secret")
    (name,) = await face.choose(folder, kind="open-folder")
    for source in (
        f"{name}/../secret",
        f"{name}-evil",
        f"{name}/./x/../../secret",
        f"{name}//x",
        f"{name}//",
        name.upper(),
        str(tmp_path.resolve()),
    ):
        status, answer = await face.start(upload(source))
        assert (status, source) == (403, source)
        assert answer["error"]["user_message"] == "Choose the file again."
    status, _ = await face.start({**upload("secret"), "source_root": f"{name}/.."})
    assert status == 403
    assert face.person.questions == []


@pytest.mark.parametrize("root", ["..", "a/../../b", "/..", "C:\\x", "a\\..\\b"])
async def test_a_destination_that_climbs_out_is_403(face: Face, root: str) -> None:
    status, answer = await face.start(download(destination_root=root))
    assert (status, answer["error"]["user_message"]) == (403, "Choose a folder.")
    assert face.person.questions == []


async def test_an_absolute_destination_needs_a_folder_the_user_chose(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    spec = download(destination_root=str(folder.resolve()))
    status, answer = await face.start(spec, use_absolute_destination_path=True)
    assert (status, answer["error"]["user_message"]) == (403, "Choose a folder.")
    await face.choose(folder, kind="open-folder")
    status, answer = await face.start(spec, use_absolute_destination_path="yes")
    assert status == 200


async def test_the_question_says_who_what_and_where(face: Face, granted: str) -> None:
    await face.start(upload(granted))
    (question,) = face.person.questions
    assert question.heading == "Allow https://portal.example to upload 1 file (4.0 kB) to 127.0.0.1?"
    assert question.details[0] == "film.mov"
    assert any("port 1" in line for line in question.details)
    assert any("this computer itself" in line for line in question.details)
    assert question.remember


async def test_no_means_nothing_was_started_and_three_of_them_end_the_questions(
    face: Face, granted: str
) -> None:
    face.person.answer = Answer(accepted=False)
    for number in range(5):
        status, answer = await face.start(upload(granted))
        assert status == 403
        told = answer["error"]["user_message"]
        assert told == "The request was refused." if number < 3 else "muted" in told and "Sites" in told
    assert len(face.person.questions) == 3
    assert face.parts.manager.all() == []
    assert (await face.post("/connect/windows/select-open-file-dialog/"))[0] == 403


async def test_sec_08_a_remembered_yes_holds_for_that_page_and_host_only(face: Face, granted: str) -> None:
    face.person.answer = Answer(accepted=True, remember=True)
    for _ in range(3):
        assert (await face.start(upload(granted)))[0] == 200
    assert len(face.person.questions) == 1
    await face.start(upload(granted, ssh_port=2))
    assert len(face.person.questions) == 2
    await face.start(download(), origin="https://b.example")
    assert len(face.person.questions) == 3
    face.parts.sites.revoke_host("https://portal.example", HOST, CLOSED_PORT)
    await face.start(upload(granted))
    assert len(face.person.questions) == 4


async def test_sec_03_an_insecure_site_is_named_so_and_not_remembered(face: Face) -> None:
    face.person.answer = Answer(accepted=True, remember=True)
    for _ in range(2):
        assert (await face.start(download(), origin="http://portal.example"))[0] == 200
    assert len(face.person.questions) == 2
    assert "not secure" in face.person.questions[0].heading
    assert face.person.questions[0].remember == ""


async def test_a_host_that_does_not_resolve_is_said_only_after_the_yes(face: Face, granted: str) -> None:
    face.person.answer = Answer(accepted=False)
    spec = upload(granted, remote_host="no-such-host.invalid")
    status, answer = await face.start(spec)
    assert (status, answer["error"]["user_message"]) == (403, "The request was refused.")
    face.person.answer = Answer(accepted=True)
    status, answer = await face.start(spec)
    assert status == 200
    info = await face.until(answer["transfer_specs"][0]["uuid"], "failed")
    assert "no-such-host.invalid" in info["error_desc"]
    assert info["error_code"]


async def test_a_host_that_is_found_again_is_used_and_asked_about_when_it_turns_out_to_be_near(
    face: Face, granted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, answer = await face.start(upload(granted, remote_host="some-host.invalid"))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    where = "198.51.100.7"

    async def found(_host: str, _port: int) -> tuple[str, ...]:
        return (where,)

    monkeypatch.setattr(starting, "resolve", found)
    monkeypatch.setattr(ladder, "resolve", found)
    monkeypatch.setattr(starting, "describe_nearness", lambda some: "near" if "127.0.0.1" in some else "")
    where = "127.0.0.1"
    face.person.answer = Answer(accepted=False)
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 403
    assert len(face.person.questions) == 2
    where = "198.51.100.7"
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 200
    assert face.parts.manager.plan_of(uuid).server.addresses == ("198.51.100.7",)
    assert len(face.person.questions) == 2


async def test_replays_that_wait_share_a_no_and_ask_once(face: Face, granted: str) -> None:
    face.person.answer = Answer(accepted=False)
    face.person.free.clear()
    calls = [asyncio.create_task(face.start(upload(granted), request_id="same")) for _ in range(3)]
    async with asyncio.timeout(30):
        await face.person.shown.wait()
    await face.get("/connect/info/ping")  # what was sent before it has arrived
    face.person.free.set()
    answers = await asyncio.gather(*calls)
    assert [status for status, _ in answers] == [403, 403, 403]
    assert len(face.person.questions) == 1


async def test_a_missing_password_is_asked_for(face: Face, granted: str) -> None:
    spec = upload(granted)
    del spec["remote_password"]
    face.person.credentials = Credentials("ann", "typed")
    assert (await face.start(spec))[0] == 200
    (sign_in,) = face.person.sign_ins
    assert (sign_in.user, sign_in.heading) == ("ann", "Sign in to 127.0.0.1")
    face.person.credentials = None
    assert (await face.start(spec))[0] == 403


async def test_without_dialogs_a_missing_password_is_named(face: Face, granted: str) -> None:
    spec = upload(granted)
    del spec["remote_password"]
    status, answer = await face.start(spec, allow_dialogs=False)
    assert status == 400
    assert "remote_password" in answer["error"]["internal_message"]
    assert face.person.sign_ins == []
    assert face.person.questions == []  # nobody is asked about what is refused in any case


async def test_without_dialogs_a_missing_passphrase_is_named(face: Face, granted: str) -> None:
    status, answer = await face.start(upload(granted, content_protection="encrypt"), allow_dialogs=False)
    assert status == 400
    assert "content_protection_password" in answer["error"]["internal_message"]
    assert face.person.questions == []


def asks_about(face: Face, there: str) -> None:
    """The user has a file of that name and wants to be asked before one is replaced."""
    face.parts.preferences.change({"existing_files": "ask"})
    folder = face.parts.preferences.download_folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / there).write_text("mine")


@pytest.mark.parametrize(("overwrite", "asks"), [("none", False), ("diff", True)])
async def test_nobody_is_asked_to_replace_what_the_page_leaves_alone(
    face: Face, overwrite: str, asks: bool
) -> None:
    asks_about(face, "report.pdf")
    assert (await face.start(download(overwrite=overwrite)))[0] == 200
    headings = [question.heading for question in face.person.questions]
    assert any("exists already" in one or "exist already" in one for one in headings) is asks


@pytest.mark.parametrize(("there", "asks"), [("report.pdf", True), ("report.pdf.age", False)])
async def test_the_user_is_asked_about_what_a_decrypted_file_would_replace(
    face: Face, there: str, asks: bool
) -> None:
    asks_about(face, there)
    spec = download(content_protection="decrypt", content_protection_password="open")
    spec["paths"] = [{"source": "out/report.pdf.age"}]
    assert (await face.start(spec))[0] == 200
    assert any("exist already" in question.heading for question in face.person.questions) is asks


async def test_rel_13_a_replayed_request_gets_the_same_transfer(face: Face, granted: str) -> None:
    first = await face.start(upload(granted), request_id="r-1")
    again = await face.start(upload(granted), request_id="r-1")
    assert first[0] == again[0] == 200
    assert first[1]["transfer_specs"][0]["uuid"] == again[1]["transfer_specs"][0]["uuid"]
    assert len(face.person.questions) == 1
    other = await face.start(download(), request_id="r-1", app_id="other-app")
    assert other[1]["transfer_specs"][0]["uuid"] != first[1]["transfer_specs"][0]["uuid"]


async def test_rel_13_a_replay_during_the_question_waits_for_it(face: Face, granted: str) -> None:
    face.person.free.clear()
    face.person.shown.clear()
    calls = [asyncio.create_task(face.start(upload(granted), request_id="r-2")) for _ in range(3)]
    await face.person.shown.wait()
    await asyncio.sleep(0.1)
    face.person.free.set()
    uuids = {answer["transfer_specs"][0]["uuid"] for _, answer in await asyncio.gather(*calls)}
    assert len(uuids) == 1
    assert len(face.person.questions) == 1


async def test_rel_13_a_page_that_goes_away_takes_its_question_with_it(face: Face, granted: str) -> None:
    face.person.free.clear()
    face.person.shown.clear()
    call = asyncio.create_task(face.start(upload(granted), request_id="r-3"))
    await face.person.shown.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await face.person.taken_away.wait()
    face.person.free.set()
    assert face.parts.manager.all() == []
    assert (await face.start(upload(granted), request_id="r-3"))[0] == 200


async def test_a_hundred_requests_are_one_question(face: Face) -> None:
    face.person.free.clear()
    body = {"remote_host": HOST, "ssh_port": CLOSED_PORT}
    calls = [asyncio.create_task(face.post("/connect/info/ports", body)) for _ in range(50)]
    refused = [await call for call in islice(asyncio.as_completed(calls), 50 - ladder.OPEN_QUESTIONS)]
    assert {status for status, _ in refused} == {429}
    face.person.free.set()
    statuses = [status for status, _ in await asyncio.gather(*calls)]
    assert statuses.count(500) == ladder.OPEN_QUESTIONS
    assert len(face.person.questions) == 1


async def test_the_answer_has_the_shape_pages_read_and_no_secret(face: Face, granted: str) -> None:
    spec = upload(granted, tags={"aspera": {"xfer_id": "7b0c1f3e-0001", "xfer_retry": 3600}}, x_own="kept")
    status, answer = await face.start(spec, request_id="r-4", back_link="https://portal.example/inbox")
    assert status == 200
    (entry,) = answer["transfer_specs"]
    assert entry["uuid"] == "7b0c1f3e-0001"
    assert entry["aspera_connect_settings"]["request_id"] == "r-4"
    assert entry["aspera_connect_settings"]["back_link"] == "https://portal.example/inbox"
    assert entry["tags"]["aspera"] == {"index": 0, "xfer_id": "7b0c1f3e-0001", "xfer_retry": 3600}
    assert entry["transfer_spec"]["tags"]["aspera"]["xfer_id"] == "7b0c1f3e-0001"
    assert entry["transfer_spec"]["x_own"] == "kept"
    assert "canary-password" not in str(answer)
    _, told = await face.post("/connect/transfers/activity", {"iteration_token": 0})
    assert "canary-password" not in str(told)


async def test_settings_shape_what_is_told(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted), return_files=False, return_paths="false")
    uuid = answer["transfer_specs"][0]["uuid"]
    _, told = await face.post(f"/connect/transfers/info/{uuid}")
    assert "files" not in told["transfer_info"]
    assert "paths" not in told["transfer_info"]["transfer_spec"]


async def test_sec_08_another_page_sees_and_changes_nothing(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    _, told = await face.post("/connect/transfers/activity", origin="https://b.example")
    assert told["transfers"] == []
    for route in ("info", "stop", "resume", "remove", "modify"):
        status, refused = await face.post(f"/connect/transfers/{route}/{uuid}", origin="https://b.example")
        unknown = await face.post(f"/connect/transfers/{route}/never-was", origin="https://b.example")
        assert status == 404
        assert (status, refused) == unknown
    for route in ("finder", "transfer-monitor"):
        assert (await face.get(f"/connect/windows/{route}/{uuid}", origin="https://b.example"))[0] == 404


async def test_a_refused_port_ends_as_failed_with_a_sentence(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted))
    info = await face.until(answer["transfer_specs"][0]["uuid"], "failed")
    assert info["error_code"] != 0
    assert "refused" in info["error_desc"]
    assert info["end_time"]
    assert info["files"] == []


async def test_unset_settings_of_a_spec_fall_back_to_those_of_the_call(face: Face, granted: str) -> None:
    status, answer = await face.start(upload(granted), app_id=APP, back_link="")
    assert status == 200
    entry = {"transfer_spec": upload(granted), "aspera_connect_settings": {"app_id": None}}
    status, answer = await face.post("/connect/transfers/start", {"transfer_specs": [entry]})
    assert status == 200
    assert answer["transfer_specs"][0]["aspera_connect_settings"]["app_id"] == APP


async def test_what_clients_take_for_a_failure_is_not_echoed(face: Face, granted: str) -> None:
    spec = upload(granted, error={"user_message": "boo"}, failure="boo", tags={"aspera": {"error": "boo"}})
    status, answer = await face.start(spec)
    assert status == 200
    assert "boo" not in str(answer["transfer_specs"][0]["tags"])
    assert not {"error", "failure"} & set(answer["transfer_specs"][0]["transfer_spec"])


async def test_a_key_without_a_user_asks_for_the_user_and_keeps_the_key(face: Face, granted: str) -> None:
    spec = upload(granted, ssh_private_key="-----BEGIN OPENSSH PRIVATE KEY-----")
    del spec["remote_user"], spec["remote_password"]
    face.person.credentials = Credentials("ann", "")
    _, answer = await face.start(spec)
    uuid = answer["transfer_specs"][0]["uuid"]
    login = face.parts.manager.login_of(uuid)
    assert login is not None
    assert login.user == "ann"
    assert login.private_key is not None


async def test_an_xfer_id_used_again_means_the_newest_transfer(face: Face, granted: str) -> None:
    spec = upload(granted, tags={"aspera": {"xfer_id": "XID-1"}})
    _, first = await face.start(spec)
    await face.until(first["transfer_specs"][0]["uuid"], "failed")
    _, second = await face.start(spec)
    new = second["transfer_specs"][0]["uuid"]
    assert new != first["transfer_specs"][0]["uuid"] == "XID-1"
    _, told = await face.post("/connect/transfers/info/XID-1")
    assert told["transfer_info"]["uuid"] == new
    await face.post("/connect/transfers/remove/XID-1")
    assert [one.id for one in face.parts.manager.all()] == [new]


async def test_sec_08_consent_that_was_taken_back_is_asked_for_again(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 200
    await face.until(uuid, "failed")
    assert len(face.person.questions) == 1  # the yes of the start still holds
    face.parts.sites.revoke_origin("https://portal.example")
    face.person.answer = Answer(accepted=False)
    status, _ = await face.post(f"/connect/transfers/resume/{uuid}")
    assert status == 403
    assert len(face.person.questions) == 2


async def test_a_source_taken_back_is_not_sent_again(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    (site,) = face.parts.sites.overview()
    face.parts.sites.revoke_grant(site.grants[0].id)
    status, answer = await face.post(f"/connect/transfers/resume/{uuid}")
    assert (status, answer["error"]["user_message"]) == (403, "Choose the file again.")


@pytest.mark.parametrize("encoded", [False, True])
async def test_ids_and_times_for_tries_are_read_as_pages_send_them(
    face: Face, granted: str, *, encoded: bool
) -> None:
    tags = {"aspera": {"xfer_id": 12345, "xfer_retry": "7200"}}
    sent = {"tags64": base64.b64encode(json.dumps(tags).encode()).decode()} if encoded else {"tags": tags}
    status, answer = await face.start(upload(granted, target_rate_kbps=300.00000000000006, **sent))
    assert status == 200, answer
    (entry,) = answer["transfer_specs"]
    assert entry["uuid"] == "12345"
    assert entry["tags"]["aspera"] == {"index": 0, "xfer_id": "12345", "xfer_retry": 7200}
    assert face.parts.manager.plan_of("12345").rate_kbps == 300


@pytest.mark.parametrize("action", ["stop", "remove", "info"])
async def test_an_empty_body_is_called_one(face: Face, action: str) -> None:
    status, answer = await face.send("POST", f"/connect/transfers/{action}/x", b"")
    assert status == 400
    assert answer["error"]["user_message"] == "The body is empty; send a JSON object."


async def test_a_port_is_tried_whatever_the_page_says_of_the_time(face: Face) -> None:
    body = {"remote_host": HOST, "ssh_port": CLOSED_PORT, "timeout_sec": "nan"}
    status, answer = await face.post("/connect/info/ports", body)
    assert status == 500
    assert "refused" in answer["error"]["user_message"] or "connect" in answer["error"]["user_message"]


async def test_a_picked_folder_may_be_named_with_a_separator_at_its_end(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "chosen"
    (folder / "below").mkdir(parents=True)
    (name,) = await face.choose(folder, kind="open-folder")
    spec = download(destination_root=name + "/")
    status, answer = await face.start(spec, use_absolute_destination_path=True)
    assert status == 200, answer
    for source, target in ((f"{name}/", "chosen"), (f"{name}/below/", "below")):
        status, answer = await face.start(upload(source))
        assert status == 200, answer
        (item,) = face.parts.manager.plan_of(answer["transfer_specs"][0]["uuid"]).items
        assert isinstance(item, Upload)
        assert item.target == f"inbox/{target}"
    for wrong in (f"{name}//", f"{name}/./", f"{name}/../chosen/"):
        assert (await face.start(upload(wrong)))[0] in (400, 403)


async def test_a_folder_taken_back_is_not_downloaded_into_again(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "chosen"
    folder.mkdir()
    (name,) = await face.choose(folder, kind="open-folder")
    spec = download(destination_root=name)
    _, answer = await face.start(spec, use_absolute_destination_path=True)
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    assert (await face.post(f"/connect/transfers/resume/{uuid}"))[0] == 200
    await face.until(uuid, "failed")
    (site,) = face.parts.sites.overview()
    face.parts.sites.revoke_grant(site.grants[0].id)
    status, answer = await face.post(f"/connect/transfers/resume/{uuid}")
    assert (status, answer["error"]["user_message"]) == (403, "Choose a folder.")


@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_a_path_of_an_earlier_run_is_asked_about_though_the_host_is_remembered(
    folders: Folders, tmp_path: Path, start_face: StartFace, direction: str
) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    async with start_face(folders) as face:
        face.person.answer = Answer(accepted=True, remember=True)
        (name,) = await face.choose(chosen, kind="open-folder")
        spec = upload(name) if direction == "send" else download(destination_root=name)
        _, answer = await face.start(spec, use_absolute_destination_path=True)
        uuid = answer["transfer_specs"][0]["uuid"]
        await face.until(uuid, "failed")
    async with start_face(folders) as face:
        fresh = {"remote_password": "other"}
        face.person.answer = Answer(accepted=False)
        assert (await face.post(f"/connect/transfers/resume/{uuid}", fresh))[0] == 403
        assert len(face.person.questions) == 1
        assert any("no permission" in detail for detail in face.person.questions[0].details)
        face.person.answer = Answer(accepted=True)
        for _ in range(2):  # the yes to these very paths holds
            assert (await face.post(f"/connect/transfers/resume/{uuid}", fresh))[0] == 200
            await face.until(uuid, "failed")
        assert len(face.person.questions) == 2
        (again,) = await face.choose(chosen, kind="open-folder")
        assert again == name
        (site,) = face.parts.sites.overview()
        face.parts.sites.revoke_grant(site.grants[0].id)
        assert (await face.post(f"/connect/transfers/resume/{uuid}", fresh))[0] == 200
        assert len(face.person.questions) == 3  # what the user took back is asked about once more


async def test_a_download_into_the_download_folder_needs_no_grant_to_go_on(
    folders: Folders, start_face: StartFace
) -> None:
    async with start_face(folders) as face:
        face.person.answer = Answer(accepted=True, remember=True)
        _, answer = await face.start(download())
        uuid = answer["transfer_specs"][0]["uuid"]
        await face.until(uuid, "failed")
    async with start_face(folders) as face:
        assert (await face.post(f"/connect/transfers/resume/{uuid}", {"remote_password": "x"}))[0] == 200
        assert face.person.questions == []


@pytest.mark.parametrize(
    "changes",
    [{"authentication": {"error": "x"}}, {"cookie": ["c"]}, {"remote_user": "a\nb"}, {"token": 1.5}],
)
async def test_a_resume_with_a_wrong_field_is_refused(
    face: Face, granted: str, changes: dict[str, Any]
) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    assert (await face.post(f"/connect/transfers/resume/{uuid}", changes))[0] == 400


@pytest.mark.parametrize(
    ("cookie", "echoed"),
    [
        ({"job": 7, "password": "geheim-geheim"}, {"job": 7}),
        ("c" * 60_000, "c" * 60_000),
        ("with geheim-geheim", None),
    ],
)
async def test_a_resume_takes_every_cookie_that_a_start_takes(
    face: Face, granted: str, cookie: Any, echoed: Any
) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    changes = {"cookie": cookie, "remote_password": "geheim-geheim"}
    status, told = await face.post(f"/connect/transfers/resume/{uuid}", changes)
    assert status == 200, told
    assert told["transfer_spec"]["transfer_spec"].get("cookie") == echoed


async def test_a_resume_with_another_user_keeps_the_secret(face: Face, granted: str) -> None:
    _, answer = await face.start(upload(granted))
    uuid = answer["transfer_specs"][0]["uuid"]
    await face.until(uuid, "failed")
    _, told = await face.post(f"/connect/transfers/resume/{uuid}", {"remote_user": "bob"})
    assert told["transfer_spec"]["transfer_spec"]["remote_user"] == "bob"
    login = face.parts.manager.login_of(uuid)
    assert login is not None
    assert login.user == "bob"
    assert login.password is not None


async def test_sec_22_a_remembered_public_server_that_turns_private_is_asked_about(
    face: Face, granted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "8.8.8.8"

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return (where,)

    monkeypatch.setattr("connect_helper.api.ladder.resolve", resolve)
    face.person.answer = Answer(accepted=True, remember=True)
    spec = upload(granted, remote_host="files.example")
    for _ in range(2):
        await face.start(spec)
    assert len(face.person.questions) == 1
    where = "192.168.1.1"
    for _ in range(2):
        await face.start(spec)
    assert len(face.person.questions) == 2
    assert any("private address" in line for line in face.person.questions[1].details)


async def test_sec_08_one_yes_starts_one_transfer(face: Face) -> None:
    face.person.free.clear()
    specs = [{**download(), "paths": [{"source": f"/d{n}/report.pdf"}]} for n in range(3)]
    calls = [asyncio.create_task(face.start(spec)) for spec in specs]
    async with asyncio.timeout(20):
        while len(face.person.questions) < 3:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    face.person.free.set()
    await asyncio.gather(*calls)


async def test_dialogs_that_are_cancelled_again_and_again_end_the_dialogs(face: Face) -> None:
    statuses = [(await face.post("/connect/windows/select-open-file-dialog/"))[0] for _ in range(11)]
    assert statuses == [200] * 9 + [403] * 2


async def test_invented_origins_do_not_crowd_out_a_site_the_user_knows(face: Face, granted: str) -> None:
    face.person.free.clear()
    calls = [
        asyncio.create_task(
            face.post("/connect/windows/select-open-file-dialog/", origin=f"https://{n}.evil.example")
        )
        for n in range(20)
    ]
    refused = [await call for call in islice(asyncio.as_completed(calls), 12)]
    assert {status for status, _ in refused} == {429}
    assert sum(not call.done() for call in calls) == 8
    known = asyncio.create_task(face.post("/connect/windows/select-open-file-dialog/"))
    assert not (await asyncio.wait([known], timeout=1))[0]
    face.person.free.set()
    assert (await known)[0] == 200
    await asyncio.gather(*calls)


@pytest.mark.usefixtures("calls_at_one_moment")
async def test_invented_origins_do_not_open_window_after_window(face: Face) -> None:
    answers = [
        await face.get("/connect/windows/about", origin=f"https://{n}.evil.example") for n in range(30)
    ]
    assert sum(status == 200 for status, _ in answers) == 4
    assert len(face.opened) == 4
