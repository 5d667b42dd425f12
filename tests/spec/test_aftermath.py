"""What becomes of the sources: nothing goes without a wish, and nothing that was not transferred."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.aftermath import (
    Aftermath,
    Keep,
    Move,
    Outcome,
    Remove,
    Source,
    after_file,
    folders_to_try,
    parse_aftermath,
)

ALL = Aftermath(remove_files=True, remove_empty_folders=True, remove_source_folders=True)


@pytest.mark.parametrize(
    ("fields", "wishes"),
    [
        ({}, Aftermath()),
        ({"remove_after_transfer": True}, Aftermath(remove_files=True)),
        ({"remove_after_transfer": "yes", "remove_skipped": 1}, Aftermath(True, True)),
        ({"remove_empty_directories": True}, Aftermath(remove_empty_folders=True)),
        ({"remove_empty_source_dir": True}, Aftermath(remove_empty_folders=True, remove_source_folders=True)),
        (
            {"remove_empty_source_directory": True},
            Aftermath(remove_empty_folders=True, remove_source_folders=True),
        ),
        ({"remove_empty_source_dir": False, "remove_empty_source_directory": True}, Aftermath()),
        ({"delete_source": True}, ALL),
        ({"delete_source": False, "remove_after_transfer": True, "remove_empty_directories": 1}, Aftermath()),
        ({"delete_source": False, "remove_after_transfer": True, "remove_skipped": True}, Aftermath()),
        ({"delete_source": None, "remove_after_transfer": True}, Aftermath(remove_files=True)),
        ({"move_after_transfer": "/done"}, Aftermath(move_to="/done")),
        (
            {"move_after_transfer": "done", "remove_empty_directories": True},
            Aftermath(move_to="done", remove_empty_folders=True),
        ),
        (
            {"move_after_transfer": "/done", "remove_after_transfer": 1, "delete_source": 0},
            Aftermath(move_to="/done"),
        ),
        ({"move_after_transfer": ""}, Aftermath()),
    ],
)
def test_the_fields_add_up(fields: dict[str, Any], wishes: Aftermath) -> None:
    assert parse_aftermath(fields) == wishes


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"remove_after_transfer": True, "move_after_transfer": "/done"}, "move_after_transfer"),
        ({"delete_source": "yes", "move_after_transfer": "/done"}, "move_after_transfer"),
        ({"remove_skipped": True}, "remove_skipped"),
        ({"remove_skipped": True, "move_after_transfer": "/done"}, "remove_skipped"),
        ({"delete_source": "all"}, "delete_source"),
        ({"remove_empty_source_directory": "x"}, "remove_empty_source_directory"),
        ({"move_after_transfer": ["/done"]}, "move_after_transfer"),
        ({"move_after_transfer": "/done\0"}, "move_after_transfer"),
    ],
)
def test_a_contradiction_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_aftermath(fields)
    assert caught.value.field == named


@pytest.mark.parametrize(
    ("wishes", "changes", "removes"),
    [
        (Aftermath(), False, False),
        (Aftermath(remove_files=True), True, True),
        (Aftermath(remove_empty_folders=True), True, True),
        (Aftermath(move_to="/done"), True, False),
    ],
)
def test_what_the_user_must_agree_to(wishes: Aftermath, changes: bool, removes: bool) -> None:
    assert (wishes.changes_sources, wishes.removes) == (changes, removes)


@pytest.mark.parametrize(
    ("wishes", "outcome", "fate"),
    [
        (Aftermath(), "done", Keep()),
        (Aftermath(remove_empty_folders=True), "done", Keep()),
        (Aftermath(remove_files=True), "done", Remove()),
        (Aftermath(remove_files=True), "skipped", Keep()),
        (Aftermath(True, True), "skipped", Remove()),
        (Aftermath(True, True), "failed", Keep()),
        (Aftermath(True, True), "cancelled", Keep()),
        (Aftermath(move_to="/done"), "done", Move(("proj", "a.txt"))),
        (Aftermath(move_to="/done"), "skipped", Keep()),
        (Aftermath(move_to="/done"), "failed", Keep()),
    ],
)
def test_the_fate_of_a_file(wishes: Aftermath, outcome: Outcome, fate: Keep | Remove | Move) -> None:
    assert after_file(wishes, outcome, ("proj", "a.txt")) == fate


def test_no_wish_touches_a_file_that_did_not_arrive() -> None:
    for files, skipped, move in itertools.product((False, True), (False, True), ("", "/done")):
        for outcome in get_args(Outcome):
            fate = after_file(Aftermath(files, skipped, move), outcome, ("a",))
            assert isinstance(fate, Keep) or outcome == "done" or (outcome == "skipped" and files and skipped)


FOUND = (("d", "p", "x"), ("d", "p", "x", "y"), ("d", "p", "z"))


@pytest.mark.parametrize(
    ("wishes", "sources", "found", "tried"),
    [
        # without the wish nothing is looked at
        (Aftermath(remove_files=True), [Source(("d", "p"), True)], FOUND, ()),
        # below a folder, deepest first, and with the second wish the folder itself
        (
            Aftermath(remove_empty_folders=True),
            [Source(("d", "p"), True)],
            FOUND,
            (("d", "p", "x", "y"), ("d", "p", "x"), ("d", "p", "z")),
        ),
        (
            Aftermath(remove_empty_folders=True),
            [Source(("d", "p"), True)],
            (("d", "p"), *FOUND),  # a walk may name its start
            (("d", "p", "x", "y"), ("d", "p", "x"), ("d", "p", "z")),
        ),
        (ALL, [Source(("d", "p"), True)], FOUND, (FOUND[1], FOUND[0], FOUND[2], ("d", "p"))),
        # of a file only its parent
        (Aftermath(remove_empty_folders=True), [Source(("d", "p", "f"), False)], (), (("d", "p"),)),
        (ALL, [Source(("d", "p", "f"), False)], (), (("d", "p"),)),
        (ALL, [Source(("f",), False)], (), ()),  # never the root
        (ALL, [Source((), True)], (), ()),
        # once for two files
        (ALL, [Source(("d", "f"), False), Source(("d", "g"), False)], (), (("d",),)),
        # with src_base the folders between it and the source, never src_base itself
        (
            Aftermath(remove_empty_folders=True),
            [Source(("d", "p", "x", "f"), False, ("d",))],
            (),
            (("d", "p", "x"), ("d", "p")),
        ),
        (ALL, [Source(("d", "f"), False, ("d",))], (), ()),
        (
            ALL,
            [Source(("d", "p", "x"), True, ("d",))],
            (("d", "p", "x", "y"),),
            (("d", "p", "x", "y"), ("d", "p", "x"), ("d", "p")),
        ),
        # a folder that is a source of its own stays, also as a parent of another
        (
            Aftermath(remove_empty_folders=True),
            [Source(("d", "p"), True), Source(("d", "p", "f"), False)],
            (),
            (),
        ),
    ],
)
def test_folders_that_are_tried(
    wishes: Aftermath, sources: list[Source], found: tuple[Any, ...], tried: tuple[Any, ...]
) -> None:
    assert folders_to_try(wishes, sources, found) == tried


NAMES = st.lists(st.sampled_from("abc"), max_size=4).map(tuple)


@given(st.lists(NAMES, max_size=8), st.booleans(), NAMES)
def test_no_folder_is_tried_before_what_is_in_it(found: list[Any], itself: bool, source: Any) -> None:
    wishes = Aftermath(remove_empty_folders=True, remove_source_folders=itself)
    tried = folders_to_try(wishes, [Source(source, True)], found)
    assert len(set(tried)) == len(tried)
    assert () not in tried
    assert itself or source not in tried
    for place, folder in enumerate(tried):
        assert not any(later[: len(folder)] == folder for later in tried[place + 1 :])
