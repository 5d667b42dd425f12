"""What a page wants done to sources and destinations happens only with the user's own yes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connect_helper.picking.base import Answer, Credentials
from connect_helper.transfers.plan import Afterwards
from tests.api.conftest import Face
from tests.api.test_start import download, upload

KEPT = "Source files were kept."
NOTHING = "Nothing was deleted at the destination."


@pytest.fixture
async def granted(face: Face, tmp_path: Path) -> str:
    """A folder the user picked for the page."""
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "a").write_text("a")
    return (await face.choose(folder, kind="open-folder"))[0]


async def started(face: Face, spec: dict[str, Any], **settings: Any) -> str:
    status, answer = await face.start(spec, **settings)
    assert status == 200, answer
    transfer_id: str = answer["transfer_specs"][0]["uuid"]
    return transfer_id


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"remove_after_transfer": True}, Afterwards(remove_files=True)),
        (
            {"remove_after_transfer": True, "remove_skipped": True},
            Afterwards(remove_files=True, remove_skipped=True),
        ),
        ({"remove_empty_directories": True}, Afterwards(remove_empty_folders=True)),
        (
            {"delete_source": True},
            Afterwards(remove_files=True, remove_empty_folders=True, remove_source_folders=True),
        ),
    ],
)
@pytest.mark.parametrize("yes", [True, False])
async def test_sources_go_with_a_yes_of_its_own_only(
    face: Face, granted: str, fields: dict[str, Any], wanted: Afterwards, yes: bool
) -> None:
    manager = face.parts.manager
    first = await started(face, upload(granted))  # the host is agreed to, the sources are another matter
    assert manager.get(first).note == ""
    face.person.questions.clear()
    face.person.answer = Answer(accepted=True)
    if not yes:
        await _remember_host(face)
        face.person.answer = Answer(accepted=False)
    transfer_id = await started(face, upload(granted, **fields))
    assert "delete the source files" in face.person.questions[-1].heading
    assert granted in face.person.questions[-1].details
    assert manager.plan_of(transfer_id).afterwards == (wanted if yes else Afterwards())
    assert manager.get(transfer_id).note == ("" if yes else KEPT)


async def _remember_host(face: Face) -> None:
    face.parts.sites.remember_host("https://portal.example", "127.0.0.1", 1, near=True)


async def test_where_the_page_allows_no_question_everything_is_kept(face: Face, granted: str) -> None:
    await _remember_host(face)
    spec = upload(granted, remove_after_transfer=True)
    transfer_id = await started(face, spec, allow_dialogs=False)
    assert face.person.questions == []
    assert face.parts.manager.plan_of(transfer_id).afterwards == Afterwards()
    assert face.parts.manager.get(transfer_id).note == KEPT


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("spec", [upload, download])
async def test_a_destination_is_cleared_with_a_yes_only(
    face: Face, granted: str, yes: bool, spec: Any
) -> None:
    await _remember_host(face)
    face.person.answer = Answer(accepted=yes)
    wanted = upload(granted) if spec is upload else download()
    transfer_id = await started(face, {**wanted, "delete_before_transfer": True})
    assert "delete what is at the destination" in face.person.questions[-1].heading
    assert face.parts.manager.plan_of(transfer_id).policies.delete_first is yes
    assert face.parts.manager.get(transfer_id).note == ("" if yes else NOTHING)


async def test_a_folder_to_move_to_must_have_been_picked(face: Face, granted: str, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    spec = upload(granted, move_after_transfer=str(tmp_path / "sent"))
    status, answer = await face.start(spec)
    assert (status, face.person.questions) == (403, [])
    await face.choose(tmp_path / "sent", kind="open-folder")
    transfer_id = await started(face, spec)
    assert "move the source files" in face.person.questions[-1].heading
    root = face.parts.manager.plan_of(transfer_id).afterwards.move_root
    assert root is not None
    assert root.path == str(tmp_path / "sent")
    status, answer = await face.start(upload(granted, move_after_transfer=granted))
    assert (status, "move_after_transfer" in answer["error"]["user_message"]) == (400, True)


async def test_a_missing_passphrase_is_asked_for_and_never_kept_on_disk(face: Face, granted: str) -> None:
    face.person.credentials = Credentials("ann", "canary-passphrase")
    transfer_id = await started(face, upload(granted, content_protection="encrypt"))
    assert face.person.sign_ins[-1].secret_label == "Passphrase"
    login = face.parts.manager.login_of(transfer_id)
    assert login is not None
    assert login.file_passphrase is not None
    assert login.file_passphrase.get_secret_value() == "canary-passphrase"
    assert face.parts.manager.plan_of(transfer_id).login.file_passphrase is None
    files = [path for path in face.folders.state.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"canary-passphrase" in path.read_bytes()]


async def test_a_passphrase_that_may_not_be_asked_for_names_its_field(face: Face, granted: str) -> None:
    await _remember_host(face)
    spec = upload(granted, content_protection="encrypt")
    status, answer = await face.start(spec, allow_dialogs=False)
    assert status == 400
    assert "content_protection_password" in answer["error"]["user_message"]
