"""What a path of the other side means, and which are no paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import UnsafePath
from connect_helper.storage.docpath import ROOT, DocPath, absolute, covers, display, parse


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("/", ()),
        (".", ()),
        ("a", (b"a",)),
        ("/a//b/./c/", (b"a", b"b", b"c")),
        ("a/../b", (b"b",)),
        ("/a/b/../../c", (b"c",)),
        ("...", (b"...",)),
        ("a\\b", (b"a\\b",)),
        (" a ", (b" a ",)),
        ("\u00e9", ("\u00e9".encode(),)),
        (b"\xff\xfe", (b"\xff\xfe",)),
        ("\udcff", (b"\xff",)),  # as os.fsdecode writes a byte that is no UTF-8
        ("-rf", (b"-rf",)),
        ("a\nb", (b"a\nb",)),
    ],
)
def test_a_path_becomes_its_parts(text: bytes | str, path: DocPath) -> None:
    assert parse(text) == path


def test_a_text_that_is_far_too_long_is_not_taken_apart() -> None:
    assert parse(b"a/../" * 1500) == ROOT
    with pytest.raises(UnsafePath, match="longer than 4000 bytes"):
        parse(b"a/../" * 1601)


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "/..",
        "a/../..",
        "../a",
        "/a/../../a",
        "a\0b",
        "\0",
        "\ud800",
        "x" * 256,
        "a/" * 2100,
        "d/" * 300,
    ],
)
def test_what_cannot_be_a_path_is_refused(text: str) -> None:
    with pytest.raises(UnsafePath):
        parse(text)


def test_a_relative_path_is_taken_from_its_base() -> None:
    assert parse("x", (b"a", b"b")) == (b"a", b"b", b"x")
    assert parse("../x", (b"a", b"b")) == (b"a", b"x")
    assert parse("/x", (b"a", b"b")) == (b"x",)


def test_paths_are_compared_by_whole_parts() -> None:
    assert covers((b"a", b"b"), (b"a", b"b", b"c"))
    assert covers(ROOT, (b"a",))
    assert not covers((b"a", b"b"), (b"a", b"bc"))
    assert not covers((b"a", b"b"), (b"a",))


def test_a_path_is_shown_on_one_line() -> None:
    assert "\n" not in display((b"a\nb", b"\x1b[31m"))


@given(st.binary(max_size=300))
def test_a_path_that_is_accepted_means_itself(raw: bytes) -> None:
    try:
        path = parse(raw)
    except UnsafePath:
        return
    assert parse(absolute(path)) == path
    assert not {b"", b".", b".."} & set(path)
    assert all(b"/" not in part and b"\0" not in part for part in path)
