"""Include and exclude patterns: each rule on its own, then against a slow and plain matcher."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.patterns import EXCLUDE, INCLUDE, compile_rules, read_patterns


def matches(pattern: str, path: str) -> bool:
    """Whether an exclude of `pattern` takes out `path` itself; a path that ends in "/" is a folder."""
    parts = tuple(path.strip("/").split("/"))
    rules = compile_rules(["/**/"], [pattern]) if not path.endswith("/") else compile_rules([], [pattern])
    return not rules.keeps(parts, path.endswith("/"))


@pytest.mark.parametrize(
    ("pattern", "path", "hit"),
    [
        # a star, and the dot a name begins with
        ("abc*f", "abcdef", True),
        ("abc*f", "abc.f", True),
        ("abc*f", "abcf", True),
        ("abc*f", "abcefg", False),
        ("/abc*f", "abc/f", False),
        ("*.txt", "a.txt", True),
        ("*.txt", "d/a.txt", True),
        ("*.txt", ".a.txt", False),
        ("*.txt", "d/.a.txt", False),
        ("*.txt", ".txt", True),
        ("a*", "a.b", True),
        (".*", ".bashrc", True),
        ("*", ".bashrc", False),
        ("*/x", "a/x", True),
        ("*/x", "x", False),
        # two stars
        ("a**f", "a/b/.c/f", True),
        ("**", ".bashrc", True),
        ("/a/**/f", "a/f", True),
        ("/a/**/f", "a/.z/f", True),
        ("/a/**/f", "a/d/e/f", True),
        ("/a/**/f", "za/d/f", False),
        ("/a/**/f", "a/df", False),
        ("a/**/f", "z/a/d/f", True),
        ("**/f", "f", True),
        ("**/f", "d/.e/f", True),
        ("/a/**", "a/.b/c", True),
        ("/a/**", "ab", False),
        ("***", ".a", True),
        ("/a/**/**/f", "a/f", True),
        # one character
        ("abc??", "abcde", True),
        ("abc??", "abc.z", True),
        ("abc??", "abcd", False),
        ("/abc?d", "abc/d", False),
        ("?x", "\U0001f600x", True),
        # sets
        ("[abc]def", "adef", True),
        ("[abc]def", "ade", False),
        ("[a-cx]1", "b1", True),
        ("[a-cx]1", "x1", True),
        ("[a-cx]1", "d1", False),
        ("[!abc]def", "zdef", True),
        ("[^abc]def", "cdef", False),
        ("[^abc]def", "2def", True),
        ("/a[!b]c", "a/c", False),
        ("/a[/]c", "a/c", False),
        ("[[:digit:]]x", "7x", True),
        ("[[:digit:]]x", "ax", False),
        ("[![:digit:][:blank:]]x", "ax", True),
        ("[![:digit:][:blank:]]x", " x", False),
        ("[[:upper:]_-]", "-", True),
        ("[[:punct:]]", "[", True),
        ("[[:punct:]]", "a", False),
        ("[[:space:]]", "\v", True),
        ("[[:cntrl:]]", "\x7f", True),
        ("[[:xdigit:]]", "g", False),
        ("[[:graph:]]", " ", False),
        ("[[:print:]]", " ", True),
        ("[[:alnum:]]", "é", False),
        ("[[:alpha:]]", "Z", True),
        ("[[:lower:]]", "Z", False),
        ("[]x]", "]", True),
        ("[!]x]", "]", False),
        ("[a-]", "-", True),
        ("[a^]", "^", True),
        ("[\\]]", "]", True),
        ("[&&~~||-]", "&", True),
        ("[[a]", "[", True),
        # the next character literally
        ("abc\\?", "abc?", True),
        ("abc\\?", "abcd", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("a\\\\", "a\\", True),
        ("a{b,c}", "a{b,c}", True),
        # case counts, and line breaks are characters
        ("A", "a", False),
        ("a*b", "a\nb", True),
        # anchors
        ("/a", "a", True),
        ("/a", "d/a", False),
        ("a", "d/e/a", True),
        ("a/b", "d/a/b", True),
        ("/a/b", "a/b", True),
        ("b", "ab", False),
        ("a", "ab", False),
    ],
)
def test_a_pattern_matches_files(pattern: str, path: str, hit: bool) -> None:
    assert matches(pattern, path) is hit


@pytest.mark.parametrize(
    ("pattern", "file", "folder"),
    [
        ("a", True, False),
        ("a/", False, True),
        ("/a/", False, True),
        ("a*", True, True),
        ("*", True, True),
        ("**", True, True),
        ("/**", True, True),
        ("/**/", False, True),
        ("*/", False, True),
        ("?", True, False),
        ("[a]", True, False),
        ("a\\/", False, True),
    ],
)
def test_the_end_of_a_pattern_says_files_folders_or_both(pattern: str, file: bool, folder: bool) -> None:
    assert (matches(pattern, "a"), matches(pattern, "a/")) == (file, folder)


def test_an_escaped_star_at_the_end_is_a_name_of_a_file() -> None:
    assert matches("a\\*", "a*")
    assert not matches("a\\*", "a*/")


@pytest.mark.parametrize(
    ("include", "exclude", "path", "kept"),
    [
        ([], [], "a", True),
        ([], ["*.tmp"], "a.txt", True),
        ([], ["*.tmp"], "a.tmp", False),
        (["b.tmp"], ["*.tmp"], "b.tmp", True),
        (["*.tmp"], ["b.tmp"], "b.tmp", True),  # all includes come first
        (["*.txt"], [], "a.tmp", True),  # an include alone takes nothing out
        # a folder left out takes everything along, whatever an include says of what is below
        ([], ["build/"], "p/build/x/a.o", False),
        (["*.o"], ["build/"], "p/build/a.o", False),
        ([], ["build/"], "p/build", True),  # a file of that name
        ([], ["a*"], "ab/c", False),
        ([], ["/p/**"], "p/", True),
        ([], ["/p/**"], "p/x/", False),
        # only these
        (["*.txt", "/**/"], ["/**"], "p/q/a.txt", True),
        (["*.txt", "/**/"], ["/**"], "p/q/a.bin", False),
        (["*.txt", "/**/"], ["/**"], "p/q/", True),
        (["*.txt"], ["/**"], "p/a.txt", False),  # without the folders nothing below is reached
        # an anchored include keeps the folders that lead to it, as far as its first **
        (["/p/q/a"], ["/**"], "p/q/a", True),
        (["/p/q/a"], ["/**"], "p/q/", True),
        (["/p/q/a"], ["/**"], "p/r/", False),
        (["/p/q/a"], ["/**"], "p/q/b", False),
        (["/p/**/z/a"], ["/**"], "p/", True),
        (["/p/**/z/a"], ["/**"], "p/z/", False),
        (["p/q/a"], ["/**"], "p/", False),
    ],
)
def test_the_first_that_matches_decides(
    include: list[str], exclude: list[str], path: str, kept: bool
) -> None:
    rules = compile_rules(include, exclude)
    assert rules.keeps(tuple(path.strip("/").split("/")), path.endswith("/")) is kept


def test_the_root_of_the_set_is_always_kept() -> None:
    assert compile_rules([], ["/**"]).keeps((), True)


def test_names_may_be_bytes_of_no_encoding() -> None:
    rules = compile_rules([], ["caf\udce9*", "é.txt"])
    assert not rules.keeps((b"caf\xe9.txt",), False)
    assert not rules.keeps(("é.txt".encode(),), False)
    assert rules.keeps((b"\xe9.txt",), False)


def test_a_walk_in_any_order_gets_the_same_answers() -> None:
    paths = [
        ((a, b, c), folder) for a in "pq" for b in ("x", ".y") for c in ("a.o", "b") for folder in (0, 1)
    ]
    rules = compile_rules(["/p/*/b"], ["*.o", ".y/", "q/x/**"])
    answers = [rules.keeps(parts, bool(folder)) for parts, folder in paths]
    again = [
        compile_rules(["/p/*/b"], ["*.o", ".y/", "q/x/**"]).keeps(p, bool(f)) for p, f in reversed(paths)
    ]
    assert answers == again[::-1]
    assert True in answers
    assert False in answers


def test_more_folders_than_are_remembered_change_no_answer() -> None:
    rules = compile_rules([], ["/p/7*/", "x"])
    kept = [number for number in range(6_000) if rules.keeps(("p", str(number), "y"), False)]
    assert kept == [number for number in range(6_000) if not str(number).startswith("7")]
    assert len(rules._states) < 6_000


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "//",
        "a//b",
        "a\\",
        "[a",
        "[",
        "[]",
        "[!]",
        "[[:digit:]",
        "[[:foo:]]",
        "[[:digit",
        "[z-a]",
        "[a\\",
    ],
)
@pytest.mark.parametrize("names", [INCLUDE, EXCLUDE])
def test_a_pattern_that_does_not_compile_is_shown(pattern: str, names: tuple[str, str]) -> None:
    for field in names:
        with pytest.raises(InvalidRequest) as caught:
            read_patterns({field: ["*.ok", {"pattern": pattern}]}, names)
        assert caught.value.field == field
        assert field in caught.value.user_message
        if pattern:
            assert f'"{pattern}"' in caught.value.user_message


@pytest.mark.parametrize("pattern", ["[[:\x1b[31m:]]", "[z-\udc80\x1b[31m", "[\u202e-a]"])
def test_the_refusal_shows_a_pattern_without_its_controls(pattern: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_rules([pattern], [])
    assert caught.value.user_message.isprintable()


def test_rules_of_a_plan_are_checked_as_well() -> None:
    with pytest.raises(InvalidRequest, match="empty") as caught:
        compile_rules([""], [])
    assert caught.value.field == "include_patterns"
    with pytest.raises(InvalidRequest) as caught:
        compile_rules([], ["[a"], exclude_field="exclusion_patterns")
    assert caught.value.field == "exclusion_patterns"


@pytest.mark.parametrize(
    "value", ["*.txt", {"pattern": "*"}, [1], [None], [["*"]], [{}], ["a\0"], ["x"] * 257, ["x" * 1_025]]
)
def test_what_is_no_list_of_patterns_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_patterns({"exclusion_patterns": value}, EXCLUDE)
    assert caught.value.field == "exclusion_patterns"


def test_a_page_cannot_make_its_start_slow() -> None:
    started = time.process_time()
    for text in ("[a-z]" * 200, "*/" * 500 + "a", "[" + "a" * 1_000 + "]"):
        read_patterns({"exclude_patterns": [text] * 16}, EXCLUDE)
        with pytest.raises(InvalidRequest, match="together"):
            read_patterns({"exclude_patterns": [text] * 256}, EXCLUDE)
    assert time.process_time() - started < 1.0


def test_both_spellings_and_forms_are_read() -> None:
    assert read_patterns({"inclusion_patterns": ["a", {"pattern": "b/"}]}, INCLUDE) == ("a", "b/")
    assert read_patterns({"include_patterns": ["x"], "inclusion_patterns": ["y"]}, INCLUDE) == ("x",)
    assert read_patterns({"include_patterns": []}, INCLUDE) == ()
    assert read_patterns({"include_patterns": None}, INCLUDE) == ()


@pytest.mark.parametrize(
    "pattern", ["a*" * 400 + "b", "**a" * 300 + "b", "*?" * 400 + "b", "/**/a" * 200 + "b"]
)
def test_no_pattern_makes_matching_slow(pattern: str) -> None:
    rules = compile_rules([], [pattern])
    started = time.process_time()
    assert rules.keeps(("a" * 255,) * 16, False)
    assert time.process_time() - started < 1.0


PATTERNS = st.text(st.sampled_from("ab.*?/"), min_size=1, max_size=8)
PATHS = st.lists(st.text(st.sampled_from("ab."), min_size=1, max_size=4), min_size=1, max_size=4)


@given(PATTERNS, PATHS, st.booleans())
@example("a/**/b", ["a", "b"], False)
@example("**/a", ["a"], False)
@example("*/**/*", ["a", ".b"], True)
def test_the_bits_agree_with_a_plain_matcher(pattern: str, names: list[str], folder: bool) -> None:
    try:
        rules = compile_rules([], [pattern])
    except InvalidRequest:
        assert "//" in pattern or not pattern.strip("/")
        return
    lost = any(_plain(pattern, names[:depth], folder=True) for depth in range(1, len(names)))
    assert rules.keeps(tuple(names), folder) is not (lost or _plain(pattern, names, folder=folder))


def _plain(pattern: str, names: list[str], *, folder: bool) -> bool:
    """Match by trying everything."""
    if pattern.endswith("/"):
        fits, bare = folder, pattern[:-1]
    else:
        fits, bare = (not folder or pattern.endswith("*")), pattern
    path = "/" + "/".join(names)
    if bare.startswith("/"):
        return fits and _tries(bare, path)
    starts = [place for place, sign in enumerate(path) if sign == "/"]
    return fits and any(_tries("/" + bare, path[place:]) for place in starts)


@cache
def _tries(pattern: str, path: str, before: str = "") -> bool:
    if not pattern:
        return not path
    if pattern.startswith("/**/") and _tries(pattern[3:], path, before):
        return True
    if pattern.startswith("**"):
        rest = pattern.lstrip("*")
        return _tries(rest, path, before) or (path != "" and _tries("**" + rest, path[1:], path[0]))
    if pattern[0] == "*":
        takes = path != "" and path[0] != "/" and not (path[0] == "." and before == "/")
        return _tries(pattern[1:], path, before) or (takes and _tries(pattern, path[1:], path[0]))
    if not path or (path[0] == "/" if pattern[0] == "?" else path[0] != pattern[0]):
        return False
    return _tries(pattern[1:], path[1:], path[0])
