"""What is deleted at the destination before a transfer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.spec.mirror import FolderVerdict, Listed, compares, surplus
from connect_helper.spec.names import partial_name
from connect_helper.spec.protection import Action


def files(*names: str) -> list[Listed]:
    """Make a listing; a name that ends in "/" is a folder."""
    return [Listed(name.rstrip("/").encode(), name.endswith("/")) for name in names]


def shown(verdict: FolderVerdict) -> tuple[list[str], list[str]]:
    return [entry.name.decode() for entry in verdict.delete], [name.decode() for name in verdict.descend]


@pytest.mark.parametrize(
    ("source", "target", "deleted", "descended"),
    [
        ([], [], [], []),
        (["a"], ["a"], [], []),
        (["a"], ["a", "b"], ["b"], []),
        ([], ["a", "d/"], ["a", "d"], []),
        (["d/"], ["d/", "e/"], ["e"], ["d"]),
        (["x"], ["x/"], [], []),  # another thing of the same name stays
        (["x/"], ["x"], [], []),
        (["a"], ["A"], ["A"], []),
        (["a"], ["a.partial"], [], []),  # ours, to be continued
        (["a/"], ["a.partial"], ["a.partial"], []),
        ([], ["a.partial"], ["a.partial"], []),
        (["a"], ["a.age"], ["a.age"], []),
        (["a", "a.partial/"], ["a.partial/"], [], ["a.partial"]),
        (["d/", "d/", "e/"], ["d/", "e/", "f"], ["f"], ["d", "e"]),  # two sources
        (["d/", "d"], ["d/"], [], []),  # of one of them it may be a link to a folder
    ],
)
def test_what_the_source_has_no_name_for_goes(
    source: list[str], target: list[str], deleted: list[str], descended: list[str]
) -> None:
    assert shown(surplus(files(*source), files(*target))) == (deleted, descended)


@pytest.mark.parametrize(
    ("action", "source", "target", "deleted"),
    [
        ("encrypt", ["a", "d/"], ["a.age", "a", "d/", "d.age/"], ["a", "d.age"]),
        ("encrypt", ["x" * 254], ["x" * 254], []),  # cannot be sent, is not deleted
        ("encrypt", ["link"], ["link/", "link"], ["link"]),  # it may lead to a folder
        ("decrypt", ["a.age", "b"], ["a", "b", "a.age"], ["a.age"]),
    ],
)
def test_protected_files_are_known_by_their_stored_names(
    action: Action, source: list[str], target: list[str], deleted: list[str]
) -> None:
    assert shown(surplus(files(*source), files(*target), action=action))[0] == deleted


def test_on_a_case_blind_disk_one_name_in_two_forms_stays() -> None:
    verdict = surplus(files("a", "é", "D/"), files("A", "e\u0301", "d/", "b"), case_blind=True)
    assert shown(verdict) == (["b"], ["d"])


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [("p/", "p/", True), ("p/", "q/", False), ("p", "p", False), ("p/", "p", False), ("p", "p/", False)],
)
def test_only_folders_of_the_same_name_are_compared(source: str, target: str, same: bool) -> None:
    assert compares(files(source)[0], files(target)[0]) is same


LISTING = st.lists(
    st.builds(Listed, st.sampled_from([b"a", b"b", b"A", b"c.partial", b"c"]), st.booleans()),
    unique_by=lambda entry: entry.name,
)


@given(LISTING, LISTING, st.booleans())
def test_nothing_the_source_has_is_deleted(source: list[Listed], target: list[Listed], blind: bool) -> None:
    verdict = surplus(source, target, case_blind=blind)
    names = {entry.name for entry in source} | {partial_name(e.name) for e in source if not e.folder}
    assert not {entry.name for entry in verdict.delete} & names
    assert set(verdict.descend) <= {entry.name for entry in target if entry.folder}
    assert blind or {entry.name for entry in target} - names == {entry.name for entry in verdict.delete}
