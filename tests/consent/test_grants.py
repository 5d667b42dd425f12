"""Grants: what was given is found, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.consent.grants import Found, Grant, GrantKind, GrantTable
from connect_helper.consent.origins import Scope

SCOPE = Scope("https://a.example", "app")
OTHERS = [
    Scope("https://b.example", "app"),
    Scope("https://a.example", "other"),
    Scope("http://a.example", "app"),
]
_ids = itertools.count()


def grant(kind: GrantKind, path: str, scope: Scope = SCOPE) -> Grant:
    name = path.replace("\\", "/").rpartition("/")[2] if kind == "save" else ""
    return Grant(f"g{next(_ids)}", scope, kind, path, device=1, inode=2, pin=3, given_at=0.0, name=name)


@pytest.fixture
def table() -> GrantTable:
    table = GrantTable()
    table.add(grant("file", "/data/a.txt"))
    table.add(grant("folder", "/data/in"))
    table.add(grant("save", "/out/new.zip"))
    return table


def found(table: GrantTable, path: str, scope: Scope = SCOPE) -> tuple[str, tuple[str, ...]] | None:
    hit = table.find(scope, path)
    return (hit.grant.path, hit.below) if hit else None


@pytest.mark.parametrize(
    ("path", "hit"),
    [
        ("/data/a.txt", ("/data/a.txt", ())),
        ("/data/in", ("/data/in", ())),
        ("/data/in/x", ("/data/in", ("x",))),
        ("/data/in/x/y z", ("/data/in", ("x", "y z"))),
        ("/data/in/..x", ("/data/in", ("..x",))),
        ("/data/in/a\\b", ("/data/in", ("a\\b",))),
    ],
)
def test_a_granted_path_and_what_lies_below_a_folder(
    table: GrantTable, path: str, hit: tuple[str, tuple[str, ...]]
) -> None:
    assert found(table, path) == hit


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/data",
        "/data/b.txt",
        "/data/a.txt/x",
        "/data/a.txt/",
        "/data/in//",
        "/data/in-evil/x",
        "/data/inx",
        "/data/in/../a2",
        "/data/in/x/..",
        "/data/in/.",
        "/data/in/./x",
        "/data/in//x",
        "//data/in/x",
        "/data//in/x",
        "/data/./in/x",
        "/data/x/../in/x",
        "/DATA/in/x",
        "/data/IN/x",
        "/data/in/x\0",
        "data/in/x",
        "\\data\\in\\x",
        "file:///data/in/x",
        "~/x",
        "/out/new.zip",
        "/out",
    ],
)
def test_everything_else_was_not_granted(table: GrantTable, path: str) -> None:
    assert found(table, path) is None


def test_one_separator_at_the_end_of_a_folder_is_the_same_folder(table: GrantTable) -> None:
    assert found(table, "/data/in/") == found(table, "/data/in") == ("/data/in", ())
    assert found(table, "/data/in/x/") == ("/data/in", ("x",))


@pytest.mark.parametrize("scope", OTHERS)
def test_a_grant_serves_its_own_scope_only(table: GrantTable, scope: Scope) -> None:
    assert found(table, "/data/a.txt", scope) is None
    assert found(table, "/data/in/x", scope) is None
    assert table.covers_destination(scope, "/data/in", ("x",)) is None


def test_composed_and_decomposed_names_are_two_paths(table: GrantTable) -> None:
    table.add(grant("file", "/data/é"))
    assert found(table, "/data/é") is not None
    assert found(table, "/data/e\u0301") is None


PARTS = st.lists(
    st.sampled_from(["data", "in", "in2", "..", ".", "", "x", "IN", "a\\b", "é", "\udc80", "C:"]), max_size=7
)


@given(PARTS, st.lists(PARTS, min_size=1, max_size=4))
def test_no_path_outside_a_granted_folder_is_ever_found(
    asked: list[str], given_parts: list[list[str]]
) -> None:
    plain = [[part for part in parts if part not in ("", ".", "..")] for parts in given_parts]
    folders = {"/" + "/".join(parts) for parts in plain if parts}
    table = GrantTable()
    for folder in folders:
        table.add(grant("folder", folder))
    path = "/" + "/".join(asked)
    hit = table.find(SCOPE, path)
    if hit is None:
        clean = path == "/" or not {"", ".", ".."} & set(asked)
        assert not clean or not any(path == folder or path.startswith(folder + "/") for folder in folders)
    else:
        assert "/".join([hit.grant.path, *hit.below]) in (path, path.removesuffix("/"))
        assert hit.grant.path in folders
        assert not {"", ".", ".."} & set(hit.below)


WINDOWS = [
    ("C:\\Users\\a", "C:\\Users\\a\\b", ("b",)),
    ("C:\\Users\\a", "C:\\Users\\a\\b\\c", ("b", "c")),
    ("\\\\host\\share\\", "\\\\host\\share\\b", ("b",)),
    ("C:\\Users\\a", "C:\\Users\\a\\..\\b", None),
    ("C:\\Users\\a", "C:\\Users\\a\\b/c", None),
    ("C:\\Users\\a", "C:\\Users\\a\\b:stream", None),
    ("C:\\Users\\a", "C:\\Users\\A\\b", None),
    ("C:\\Users\\a", "C:/Users/a/b", None),
    ("C:\\Users\\a", "\\\\?\\C:\\Users\\a\\b", None),
]


@pytest.mark.parametrize(("folder", "path", "below"), WINDOWS)
def test_paths_of_windows(folder: str, path: str, below: tuple[str, ...] | None) -> None:
    table = GrantTable()
    table.add(grant("folder", folder))
    assert found(table, path) == (None if below is None else (folder, below))


@pytest.mark.parametrize(
    ("folder", "target", "below"),
    [
        ("/data/in", ("x",), ("x",)),
        ("/data/in", ("d", "x"), ("d", "x")),
        ("/data/in/deep", ("x",), ("deep", "x")),
        ("/data", ("in", "x"), None),
        ("/data", ("x",), None),
        ("/data/in", ("..", "x"), None),
        ("/data/in", ("a/b",), None),
        ("/data/in", (), None),
        ("/data/in/..", ("x",), None),
        ("/data/a.txt", ("x",), None),
    ],
)
def test_a_destination_lies_in_a_granted_folder(
    table: GrantTable, folder: str, target: tuple[str, ...], below: tuple[str, ...] | None
) -> None:
    hit = table.covers_destination(SCOPE, folder, target)
    assert (hit and hit.below) == below


@pytest.mark.parametrize(
    ("folder", "target", "granted"),
    [
        ("/out", ("new.zip",), True),
        ("/out/new.zip", ("anything.zip",), True),
        ("/out", ("other.zip",), False),
        ("/out/new.zip", ("d", "x"), False),
        ("/", ("out", "new.zip"), True),
        ("/out/", ("new.zip",), True),
        ("/out/new.zip/", ("x",), False),
    ],
)
def test_a_save_dialog_gives_one_file(
    table: GrantTable, folder: str, target: tuple[str, ...], granted: bool
) -> None:
    hit = table.covers_destination(SCOPE, folder, target)
    assert (hit is not None) is granted
    if hit is not None:
        assert (hit.grant.path, hit.grant.name, hit.below) == ("/out/new.zip", "new.zip", ())


def test_picking_the_same_again_replaces_the_grant(table: GrantTable) -> None:
    again = grant("file", "/data/a.txt")
    old = table.add(again)
    assert old is not None
    assert old.path == again.path
    assert table.get(old.id) is None
    assert table.find(SCOPE, "/data/a.txt") == Found(again)
    assert table.add(grant("save", "/data/a.txt")) is None


def test_grants_can_be_taken_back(table: GrantTable) -> None:
    first = table.all()[0]
    assert table.forget(first.id) == first
    assert table.forget(first.id) is None
    assert found(table, first.path) is None
    table.add(grant("folder", "/data/in", OTHERS[0]))
    table.add(grant("folder", "/data/in", OTHERS[1]))
    assert len(table.of_origin(SCOPE.origin)) == 3
    assert {gone.scope.app_id for gone in table.forget_origin(SCOPE.origin)} == {"app", "other"}
    assert [left.scope for left in table.all()] == [OTHERS[0]]
    assert found(table, "/data/in/x") is None
