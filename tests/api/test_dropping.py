"""What pages get for what they tell of drops: proved by a drag, found and confirmed, or nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.drop_search import SHOWN_AFTER_S
from connect_helper.api.dropping import read_dropped
from connect_helper.consent.drops import FRESH_S, Dropped
from connect_helper.errors import InvalidRequest
from connect_helper.picking.base import Answer
from connect_helper.picking.drags import Drag
from tests.api.conftest import PAGE, Face
from tests.api.desktop.conftest import RpcPage

NOTHING: dict[str, Any] = {"dataTransfer": {"files": []}}
OTHER = "https://other.example"
THIS_PROGRAM = os.path.realpath(sys.executable)


def facts(path: Path, **more: Any) -> dict[str, Any]:
    """What a browser tells of a file."""
    return {"name": path.name, "size": path.stat().st_size, "type": "", **more}


async def tell(face: Face, *entries: dict[str, Any], **call: Any) -> list[str]:
    status, answer = await face.post(
        "/connect/file/dropped-files", {"dataTransfer": {"files": list(entries)}}, **call
    )
    assert status == 200, answer
    return [entry["name"] for entry in answer["dataTransfer"]["files"]]


async def dragging(face: Face, *paths: Path, ago_s: float = 0.0, **more: Any) -> None:
    """Let the system show that `paths` were dropped just now."""
    if not face.drags.started:
        face.drags.shows = True
        assert await face.get("/connect/file/initialize-drag-drop") == (200, {})
    dropped_at = time.monotonic() - ago_s
    face.drags.drops.append(Drag(len(face.drags.drops) + 1, tuple(map(str, paths)), dropped_at, **more))


def keep_fresh(face: Face) -> None:
    """However long it took until here, the last drop was just now."""
    face.drags.drops[-1] = replace(face.drags.drops[-1], dropped_at=time.monotonic())


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan 1.tif"
    path.write_bytes(b"x" * 1234)
    return path


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose size, as a browser tells it, is no number of blocks: on tmpfs, btrfs, xfs and APFS.

    It is in a home folder that is there, without which no page gets anything from such a place; to be named
    before the face, which looks for its home when it starts.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as home:
        monkeypatch.setenv("HOME", home)
        path = Path(home) / "disk" / "photos"
        path.mkdir(parents=True)
        (path / "beach.jpg").write_bytes(b"sand")
        assert path.stat().st_size % 4_096
        yield path


# Proved by a drag -----------------------------------------------------------------------------------


async def test_what_was_dragged_is_given_without_a_question(face: Face, scan: Path) -> None:
    await dragging(face, scan)
    assert await tell(face, facts(scan)) == [str(scan)]
    assert not face.person.dialogs
    assert not face.person.questions
    status, _ = await face.post("/connect/file/checksum/", {"path": str(scan)})
    assert status == 200


async def test_many_things_come_in_the_order_told(face: Face, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(500)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * number)
    (tmp_path / "folder").mkdir()
    paths.append(tmp_path / "folder")
    await dragging(face, *paths)
    told = [facts(path) for path in reversed(paths)]
    assert await tell(face, *told) == [str(path) for path in reversed(paths)]


async def test_a_folder_is_given_whatever_its_size(photos: Path, face: Face) -> None:
    await dragging(face, photos)
    assert await tell(face, facts(photos)) == [str(photos)]
    assert not face.person.dialogs
    assert not face.person.questions


async def test_a_drop_begins_the_watch_where_no_page_did_since_the_helper_started(
    face: Face, scan: Path
) -> None:
    face.drags.shows = True
    assert await tell(face, facts(scan)) == []
    assert face.drags.started
    await dragging(face, scan)
    assert await tell(face, facts(scan), origin=OTHER) == [str(scan)]


async def test_a_link_is_given_as_what_it_leads_to_under_the_name_that_was_dragged(
    face: Face, scan: Path
) -> None:
    link = scan.with_name("latest.tif")
    link.symlink_to(scan)
    await dragging(face, link)
    assert await tell(face, facts(link)) == [str(scan)]


async def test_the_program_that_asks_is_the_one_that_got_the_drop(face: Face, scan: Path) -> None:
    await dragging(face, scan, source="/usr/bin/files", target=THIS_PROGRAM)
    assert await tell(face, facts(scan)) == [str(scan)]


async def test_drops_right_after_each_other_are_given_when_both_are_proved(
    face: Face, scan: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.touch()
    await dragging(face, scan)
    assert await tell(face, facts(scan)) == [str(scan)]
    await dragging(face, second)
    assert await tell(face, facts(second)) == [str(second)]


async def test_a_page_that_is_quicker_than_the_watch_is_waited_for(face: Face, scan: Path) -> None:
    await dragging(face)
    face.drags.drops.clear()
    telling = asyncio.create_task(tell(face, facts(scan)))
    await asyncio.sleep(0.05)
    await dragging(face, scan)
    assert await telling == [str(scan)]


async def test_a_drag_of_a_moment_ago_does_not_stand_in_for_the_one_that_is_told(
    face: Face, scan: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.touch()
    await dragging(face, scan, ago_s=1.0)
    telling = asyncio.create_task(tell(face, facts(second)))
    await asyncio.sleep(0.05)
    await dragging(face, second)
    assert await telling == [str(second)]


@pytest.mark.parametrize("path", ["/", "/etc"])
async def test_sec_15_whole_worlds_are_not_given_even_when_dragged(face: Face, path: str) -> None:
    await dragging(face, Path(path))
    assert await tell(face, {"name": Path(path).name, "size": 4096, "type": ""}) == []


async def test_the_watch_ends_with_the_face(start_face: Any, folders: Any) -> None:
    async with start_face(folders) as face:
        await dragging(face)
    assert face.drags.closed


# Made up --------------------------------------------------------------------------------------------


async def nothing_without_a_click(face: Face, *entries: dict[str, Any], **call: Any) -> None:
    assert await tell(face, *entries, **call) == []
    assert len(face.person.dialogs) + len(face.person.questions) > 0


async def test_sec_12_without_a_drag_nothing_is_given(face: Face, scan: Path) -> None:
    await nothing_without_a_click(face, facts(scan))


async def test_sec_12_an_old_drag_proves_nothing(face: Face, scan: Path) -> None:
    await dragging(face, scan, ago_s=FRESH_S + 0.5)
    await nothing_without_a_click(face, facts(scan))


@pytest.mark.parametrize(
    "lie", [{"name": "secret.txt"}, {"size": 1233}, {"lastModified": 1}, {"lastModifiedDate": "2001-01-01"}]
)
async def test_sec_12_wrong_words_prove_nothing(face: Face, scan: Path, lie: dict[str, Any]) -> None:
    scan.with_name("secret.txt").write_bytes(b"x" * 1234)
    await dragging(face, scan)
    await nothing_without_a_click(face, {**facts(scan), **lie})


async def test_sec_12_a_part_of_a_drop_proves_nothing(face: Face, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    await dragging(face, scan, tmp_path / "other")
    await nothing_without_a_click(face, facts(scan))


async def test_sec_12_a_repeated_message_gives_nothing_more(face: Face, scan: Path) -> None:
    await dragging(face, scan)
    assert await tell(face, facts(scan)) == [str(scan)]
    for origin in (PAGE, OTHER):
        face.person.answer = Answer(accepted=False)
        await nothing_without_a_click(face, facts(scan), origin=origin)


async def test_sec_12_of_two_at_once_one_gets_it(face: Face, scan: Path) -> None:
    await dragging(face, scan)
    face.person.answer = Answer(accepted=False)
    answers = await asyncio.gather(
        tell(face, facts(scan), origin=PAGE),
        tell(face, facts(scan), origin=OTHER),
    )
    assert sorted(answers) == [[], [str(scan)]]


async def test_sec_12_a_wrong_guess_is_the_only_one(face: Face, scan: Path) -> None:
    await dragging(face, scan)
    await nothing_without_a_click(face, {**facts(scan), "size": 1})
    keep_fresh(face)
    assert await tell(face, facts(scan)) == []  # and not asked about within five seconds
    assert await tell(face, facts(scan), origin=OTHER) == [str(scan)]


async def test_sec_12_after_three_origins_that_guessed_wrong_a_drag_proves_nothing(
    face: Face, scan: Path
) -> None:
    await dragging(face, scan)
    guesses = [
        tell(face, {**facts(scan), "size": number}, origin=f"https://{number}.example") for number in range(3)
    ]
    assert await asyncio.gather(*guesses) == [[], [], []]
    keep_fresh(face)
    assert await tell(face, facts(scan)) == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("/usr/bin/files", "/usr/bin/files"),  # from one folder to another
        ("/usr/bin/files", "/usr/bin/other-browser"),
        ("/usr/bin/files", ""),
        ("", ""),
        (THIS_PROGRAM, THIS_PROGRAM),  # out of the page itself, which fills it as it likes
    ],
)
async def test_sec_12_a_drag_from_or_to_the_wrong_program_proves_nothing(
    face: Face, scan: Path, source: str, target: str
) -> None:
    await dragging(face, scan, source=source, target=target)
    await nothing_without_a_click(face, facts(scan))


async def test_a_muted_origin_gets_no_drop(face: Face, scan: Path) -> None:
    for _ in range(3):
        face.parts.sites.note_refusal(PAGE)
    await dragging(face, scan)
    assert await tell(face, facts(scan)) == []
    assert not face.person.dialogs


# Found and confirmed --------------------------------------------------------------------------------


@pytest.fixture
def downloads(face: Face) -> Path:
    folder = face.parts.preferences.download_folder
    (folder / "2026" / "scans").mkdir(parents=True)
    return folder


async def test_the_one_match_is_shown_and_given_after_a_yes(face: Face, downloads: Path) -> None:
    path = downloads / "2026" / "scans" / "scan 1.tif"
    path.write_bytes(b"12345")
    changed = int(path.stat().st_mtime * 1000)
    assert await tell(face, facts(path, lastModified=changed)) == [str(path)]
    (question,) = face.person.questions
    assert PAGE in question.heading
    assert any(str(path) in line and "5 bytes" in line for line in question.details)
    assert not face.person.dialogs


async def test_several_things_are_shown_together_in_the_order_told(face: Face, downloads: Path) -> None:
    paths = [downloads / "b.txt", downloads / "2026" / "a.txt", downloads / "2026" / "scans"]
    for path in paths[:2]:
        path.write_text(path.name)
    assert await tell(face, *map(facts, paths)) == list(map(str, paths))
    (question,) = face.person.questions
    assert [line.split(" (")[0] for line in question.details[:3]] == list(map(str, paths))


async def test_a_folder_is_found_and_given_whatever_its_size(photos: Path, face: Face) -> None:
    await face.choose(photos.parent, kind="open-folder")
    assert await tell(face, facts(photos)) == [str(photos)]
    (question,) = face.person.questions
    assert any(f"{photos} (folder)" in line for line in question.details)


async def test_a_folder_that_grew_while_the_user_read_is_given(photos: Path, face: Face) -> None:
    await face.choose(photos.parent, kind="open-folder")
    face.person.shown.clear()
    face.person.free.clear()
    telling = asyncio.create_task(tell(face, facts(photos)))
    await face.person.shown.wait()
    (photos / "more").mkdir()
    face.person.free.set()
    assert await telling == [str(photos)]


@pytest.mark.parametrize(("is_folder", "kind"), [(True, "open-folder"), (False, "open-file")])
@pytest.mark.parametrize("size", [60, 4_096])
async def test_what_may_be_a_file_or_a_folder_is_asked_before_the_dialog(
    face: Face, downloads: Path, tmp_path: Path, size: int, is_folder: bool, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere" / "holiday.2026"
    elsewhere.mkdir(parents=True)
    face.person.answer = Answer(accepted=is_folder)
    face.person.picks = [elsewhere]
    told = {"name": elsewhere.name, "size": size, "type": ""}
    assert await tell(face, told) == [str(elsewhere)]
    (question,) = face.person.questions
    assert elsewhere.name in question.heading
    assert PAGE in question.details[0]
    assert [dialog.kind for dialog in face.person.dialogs] == [kind]


async def test_a_file_found_twice_is_no_folder(face: Face, downloads: Path) -> None:
    for folder in (downloads, downloads / "2026"):
        (folder / "README").write_text("a")
    assert await tell(face, facts(downloads / "README")) == []
    assert not face.person.questions
    assert face.person.dialogs[0].kind == "open-file"


async def test_a_no_and_a_cancelled_dialog_are_one_refusal(
    start_face: Any, folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.api.ladder.DROP_SPACING_S", 0.0)
    monkeypatch.setattr("connect_helper.api.drop_search.SHOWN_AFTER_S", 0.0)
    async with start_face(folders) as face:
        path = face.parts.preferences.download_folder / "a.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a")
        face.person.answer = Answer(accepted=False)
        for refusals in range(3):
            assert not face.parts.sites.is_muted(PAGE), refusals
            assert await tell(face, facts(path)) == []
        assert face.parts.sites.is_muted(PAGE)
        assert await tell(face, facts(path)) == []
        assert (len(face.person.questions), len(face.person.dialogs)) == (3, 3)


async def test_a_no_after_which_a_file_is_chosen_is_no_refusal(
    start_face: Any, folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.api.ladder.DROP_SPACING_S", 0.0)
    monkeypatch.setattr("connect_helper.api.drop_search.SHOWN_AFTER_S", 0.0)
    async with start_face(folders) as face:
        path = face.parts.preferences.download_folder / "a.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a")
        face.person.answer = Answer(accepted=False)
        face.person.picks = [path]
        for _ in range(4):
            assert await tell(face, facts(path)) == [str(path)]


async def test_a_no_to_what_was_found_leads_to_a_dialog_beside_it(face: Face, downloads: Path) -> None:
    path = downloads / "2026" / "a.txt"
    path.write_text("a")
    face.person.answer = Answer(accepted=False)
    assert await tell(face, facts(path)) == []
    (dialog,) = face.person.dialogs
    assert dialog.start_folder == path.parent
    assert (await face.post("/connect/file/checksum/", {"path": str(path)}))[0] == 403


async def test_two_matches_are_for_the_user_to_tell_apart(face: Face, downloads: Path) -> None:
    for folder in (downloads, downloads / "2026"):
        (folder / "a.txt").write_text("a")
    assert await tell(face, facts(downloads / "a.txt")) == []
    assert not face.person.questions
    assert face.person.dialogs[0].start_folder == downloads


async def test_no_match_opens_a_dialog_at_the_first_likely_place(face: Face, downloads: Path) -> None:
    assert await tell(face, {"name": "a.txt", "size": 1, "type": ""}) == []
    assert not face.person.questions
    assert face.person.dialogs[0].start_folder == downloads


async def test_where_the_origin_was_given_a_file_another_is_looked_for(
    face: Face, tmp_path: Path, downloads: Path
) -> None:
    first, second = tmp_path / "work" / "first.bin", tmp_path / "work" / "second.bin"
    first.parent.mkdir()
    for path in (first, second):
        path.write_text(path.name)
    await face.choose(first)
    assert await tell(face, facts(second)) == [str(second)]
    face.person.picks = []
    assert await tell(face, facts(second), origin=OTHER) == []  # it was given nothing
    assert len(face.person.questions) == 1


async def test_what_changed_while_the_user_read_is_not_given(face: Face, downloads: Path) -> None:
    path = downloads / "a.txt"
    path.write_text("a")
    face.person.free.clear()
    telling = asyncio.create_task(tell(face, facts(path)))
    await face.person.shown.wait()
    path.unlink()
    path.symlink_to("/etc/hostname")
    face.person.free.set()
    assert await telling == []


async def test_a_folder_that_took_the_place_of_the_file_that_was_shown_is_not_given(
    face: Face, downloads: Path
) -> None:
    path = downloads / "a.txt"
    path.write_text("a")
    face.person.free.clear()
    telling = asyncio.create_task(tell(face, facts(path)))
    await face.person.shown.wait()
    path.unlink()
    path.mkdir()
    face.person.free.set()
    assert await telling == []


@pytest.mark.parametrize("name", ["../a.txt", "2026/a.txt", "/etc/passwd", "a.txt\0", "", ".", ".."])
async def test_names_never_become_paths(face: Face, downloads: Path, name: str) -> None:
    (downloads / "a.txt").write_text("a")
    (downloads / "2026" / "a.txt").write_text("a")
    assert await tell(face, {"name": name, "size": 1, "type": ""}) == []
    assert {question.accept for question in face.person.questions} <= {"A folder"}  # nothing was found


async def test_sec_12_a_hit_and_a_miss_show_something_after_the_same_time(
    face: Face, downloads: Path
) -> None:
    (downloads / "a.txt").write_text("a")
    face.person.answer = Answer(accepted=False)
    times = []
    for name, origin in (("a.txt", PAGE), ("b.txt", OTHER)):
        face.person.shown.clear()
        began = time.monotonic()
        telling = asyncio.create_task(tell(face, {"name": name, "size": 1, "type": ""}, origin=origin))
        await face.person.shown.wait()
        times.append(time.monotonic() - began)
        assert await telling == []
    assert len(face.person.questions) == 1
    assert min(times) >= SHOWN_AFTER_S


# Reading what pages tell ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        (
            {"name": "a", "size": 5, "type": "text/plain", "lastModifiedDate": "2025-03-04T08:10:11.500Z"},
            Dropped("a", 5, "text/plain", 1_741_075_811_500),
        ),
        (
            {"name": "a", "size": 5.0, "lastModified": 1_741_075_811_500},
            Dropped("a", 5, "", 1_741_075_811_500),
        ),
        ({"name": 7, "size": None, "type": None}, Dropped("", None, "", None)),
        ({"name": "a", "size": "5"}, Dropped("a", -1, "", None)),
        ({"name": "a", "size": 5.5}, Dropped("a", -1, "", None)),
        ({"name": "a", "size": True}, Dropped("a", -1, "", None)),
    ],
)
def test_both_faces_words_are_read(entry: dict[str, Any], read: Dropped) -> None:
    assert read_dropped([entry], "files") == [read]


@pytest.mark.parametrize("text", ["yesterday", "", 5.5j, [], "9999-99-99"])
def test_an_odd_time_is_no_time(text: Any) -> None:
    (read,) = read_dropped([{"name": "a", "size": 5, "lastModifiedDate": text}], "files")
    assert read.modified_ms is not None
    assert read.modified_ms != read.modified_ms


ODD = [
    {"lastModified": 10**400},
    {"lastModified": -(10**400)},
    {"lastModified": 10**4_000},
    {"lastModified": 1e308},
    {"lastModifiedDate": 10**400},
    {"lastModifiedDate": "\ud800"},
    {"lastModifiedDate": "0001-01-01T00:00:00+23:59"},
    {"lastModifiedDate": "9999-12-31T23:59:59-23:59"},
    {"lastModifiedDate": {"a": []}},
    {"size": 10**400},
    {"size": -(10**400)},
    {"size": 1e308},
    {"size": -0.0},
    {"type": "\ud800"},
    {"type": 10**400},
    {"name": "a\ud800b"},
    {"name": "\udfff"},
    {"name": "\udc80\udc7f"},
    {"name": "a\0\ud800"},
    {"name": "\ude00\ud83d"},
    {"name": "x" * 30_000},
    {"name": "\u0301" * 1_000},
    {"name": "//[.txt"},
    {"name": ["a"]},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:40])
@pytest.mark.parametrize("dragged", [True, False])
async def test_odd_words_are_answered_on_both_faces(
    face: Face,
    downloads: Path,
    scan: Path,
    odd: dict[str, Any],
    dragged: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connect_helper.api.drop_search.SHOWN_AFTER_S", 0.0)
    face.person.answer = Answer(accepted=False)
    entry = {**facts(scan), **odd}
    if dragged:
        await dragging(face, scan)
    else:
        (downloads / "\udcff").touch()
        (downloads / scan.name).write_bytes(scan.read_bytes())
    given = await tell(face, entry)
    assert given in ([], [str(scan)])
    result = await RpcPage(face, OTHER).call("dropped_files", {"files": [entry]})
    assert [file["name"] for file in result["dataTransfer"]["files"]] in ([], [str(scan)])


@pytest.mark.parametrize("value", [None, {}, "a", [1], [[]]])
def test_no_list_of_objects_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="files must be a list"):
        read_dropped(value, "files")
