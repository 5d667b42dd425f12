"""Names: safe, stored, made and shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connect_helper.errors import UnsafeName
from connect_helper.spec.names import (
    collision_key,
    differ_in_cases,
    differ_in_forms,
    display,
    first_letters,
    has_cases,
    has_forms,
    numbered_name,
    other_cases,
    other_forms,
    page_text,
    partial_depth,
    partial_name,
    safe_component,
    windows_original,
    windows_safe,
)

NAMES = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=40)
TROUBLE = st.text(st.sampled_from("aA.%:3 \\/<>|?*2F\x01NULCO1¹"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"a/b", b"/", b"a\\b", b"..\\x", b"a\0", b"x" * 256, b"/etc/passwd"]
)
def test_names_that_could_lead_elsewhere_are_refused(name: bytes) -> None:
    with pytest.raises(UnsafeName):
        safe_component(name)


@pytest.mark.parametrize(
    "name", [b"...", b".bashrc", b"a b", b"-rf", b"\xff\xfe", "ü".encode(), b"x" * 255, b"a:b"]
)
def test_odd_but_harmless_names_pass_unchanged(name: bytes) -> None:
    assert safe_component(name) == name


def test_the_refusal_shows_the_name_without_its_controls() -> None:
    with pytest.raises(UnsafeName) as caught:
        safe_component(b"a/\x1b[31m\nb")
    assert "\\x1b[31m\\x0ab" in caught.value.user_message


@given(st.binary(max_size=300))
def test_a_safe_name_is_one_component(name: bytes) -> None:
    try:
        safe_component(name)
    except UnsafeName:
        return
    assert name.split(b"/") == [name]
    assert name not in (b"", b".", b"..")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("report.pdf", "report.pdf"),
        ("100% sure.txt", "100% sure.txt"),
        ("CON", "%43ON"),
        ("con.txt", "%63on.txt"),
        ("NUL.tar.gz", "%4EUL.tar.gz"),
        ("nul .txt", "%6Eul .txt"),
        ("COM¹", "%43OM¹"),
        ("LPT0", "%4CPT0"),
        ("CONIN$", "%43ONIN$"),
        ("CONSOLE", "CONSOLE"),
        ("COM", "COM"),
        ("a:b", "a%3Ab"),
        ("C:x", "C%3Ax"),
        ("x.", "x%2E"),
        ("x ", "x%20"),
        ("x. .", "x. %2E"),
        ("\\\\?\\C", "%5C%5C%3F%5CC"),
        ('<>"|*', "%3C%3E%22%7C%2A"),
        ("tab\there", "tab%09here"),
        ("%3A", "%253A"),
        ("%:", "%%3A"),
    ],
)
def test_windows_gets_names_it_can_store(name: str, stored: str) -> None:
    assert windows_safe(name) == stored


@given(st.one_of(NAMES, TROUBLE))
@example("%%3A")
@example("%3%A")
@example("CON%41")
def test_a_stored_name_gives_the_original_back(name: str) -> None:
    assert windows_original(windows_safe(name)) == name


@given(st.one_of(NAMES, TROUBLE))
def test_a_stored_name_has_no_trouble_left(name: str) -> None:
    stored = windows_safe(name)
    assert not set(stored) & set('<>:"|?*/\\')
    assert not any(ord(sign) < 0x20 for sign in stored)
    assert not stored.endswith((".", " "))
    assert windows_safe(stored.replace("%", "_")) == stored.replace("%", "_")


def test_case_and_composition_collide() -> None:
    assert collision_key("Straße") == collision_key("STRASSE")
    assert collision_key("é") == collision_key("e\u0301") == collision_key("É")
    assert collision_key("a") != collision_key("b")


@given(NAMES)
def test_the_collision_key_does_not_depend_on_the_form(name: str) -> None:
    for form in ("NFC", "NFD"):
        assert collision_key(unicodedata.normalize(form, name)) == collision_key(name)
    assert collision_key(collision_key(name)) == collision_key(name)


@given(st.binary(min_size=1, max_size=255))
def test_a_partial_name_is_short_and_steady(name: bytes) -> None:
    partial = partial_name(name)
    assert len(partial) <= 255
    assert partial.endswith(b".partial")
    assert partial == partial_name(name)
    assert partial != name


def test_how_far_a_name_is_in_the_way_of_unfinished_files() -> None:
    names = (b"film", b"partial", b".partial", b"film.PARTIAL", b"film.partial.Partial", b"film.partial.mp4")
    assert [partial_depth(name) for name in names] == [0, 0, 1, 1, 2, 0]
    assert all(partial_depth(partial_name(name)) == partial_depth(name) + 1 for name in names)


def test_long_names_get_partial_names_of_their_own() -> None:
    one, two = (b"x" * 250 + tail for tail in (b"aaaaa", b"bbbbb"))
    assert partial_name(one) != partial_name(two)
    assert partial_name(b"a.txt") == b"a.txt.partial"


def test_cutting_keeps_characters_whole() -> None:
    partial_name("é".encode() * 127).decode()
    numbered_name("é".encode() * 127, 7).decode()


@pytest.mark.parametrize(
    ("name", "numbered"),
    [
        (b"a.txt", b"a (1).txt"),
        (b"a.tar.gz", b"a.tar (1).gz"),
        (b"README", b"README (1)"),
        (b".bashrc", b".bashrc (1)"),
        (b"..x", b"..x (1)"),
        (b"a.", b"a (1)."),
    ],
)
def test_the_number_goes_before_the_extension(name: bytes, numbered: bytes) -> None:
    assert numbered_name(name, 1) == numbered


@given(st.binary(min_size=1, max_size=255), st.integers(1, 10_000))
def test_numbered_names_fit(name: bytes, number: int) -> None:
    assert len(numbered_name(name, number)) <= 255
    assert b"(%d)" % number in numbered_name(name, number)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.txt", "plain name.txt"),
        ("Grüße 日本", "Grüße 日本"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"),
        ("exe.\u202egpj", "exe.\\u202egpj"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("no\u00a0break", "no\\xa0break"),
        ("line\u2028sep", "line\\u2028sep"),
        ("filler\u3164", "filler\\u3164"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone\ud800", "lone\\ud800"),
        (b"bad\xff\x9b", "bad\\xff\\x9b"),
        (b"nul\x00", "nul\\x00"),
    ],
)
def test_hidden_characters_are_shown(text: str | bytes, shown: str) -> None:
    assert display(text) == shown


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)), st.integers(20, 150))
def test_what_is_shown_is_one_short_printable_line(text: str | bytes, limit: int) -> None:
    shown = display(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()


def test_too_long_a_name_keeps_its_extension() -> None:
    shown = display("a" * 500 + ".exe")
    assert len(shown) == 120
    assert shown.endswith(".exe")
    assert "…" in shown


def test_a_huge_name_is_shown_at_once() -> None:
    assert display("\x1b" * 5_000_000 + ".exe").endswith(".exe")
    assert page_text("\u202e" * 5_000_000) == ""


@given(st.text(max_size=200))
def test_page_text_for_a_dialog_is_one_clean_line(text: str) -> None:
    clean = page_text(text)
    assert len(clean) <= 80
    assert clean.isprintable()
    assert clean == " ".join(clean.split())


def test_page_text_loses_what_could_deceive() -> None:
    assert page_text("Choose\r\n\x1b[2J  your\u202e file\0 \u200b") == "Choose [2J your file"
    assert page_text("x" * 100) == "x" * 79 + "…"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("readme", {"README", "rEaDmE"}),
        ("A.txt", {"a.TXT", "a.txt", "A.TXT", "a.tXt"}),
        ("a", {"A"}),
        ("\u0416", {"\u0436"}),  # Cyrillic
        ("\u00c4a", {"\u00c4A"}),  # some systems know the cases of a to z only
        ("\u00c4\u0416", {"\u00e4\u0416"}),
        ("x" * 255 + "y", set()),  # longer than a name may be
    ],
)
def test_other_cases_of_a_name(name: str, others: set[str]) -> None:
    letters = first_letters(name)
    assert letters is not None
    assert set(other_cases(name, letters)) == others
    assert all(differ_in_cases(name, other, letters) for other in others)


@pytest.mark.parametrize("name", ["1-2", "\u00df"])  # not every system knows its other case, two letters
def test_names_with_no_other_case(name: str) -> None:
    assert first_letters(name) is None


def test_names_that_differ_in_more_than_some_cases() -> None:
    ascii_letters = first_letters("a")
    assert ascii_letters is not None
    for one, other in (("a", "a"), ("a", "b"), ("a", "aa"), ("\u00c4a", "\u00e4A")):
        assert not differ_in_cases(one, other, ascii_letters)
    assert differ_in_cases("\u00c4aB", "\u00c4Ab", ascii_letters)
    assert differ_in_forms("\u00e9", "e\u0301")
    assert not differ_in_forms("\u00e9", "\u00e9")
    assert not differ_in_forms("\u00e9", "e")


def test_other_forms_of_a_name() -> None:
    composed, apart = "\u00e9.txt", "e\u0301.txt"
    assert (other_forms(composed), other_forms(apart)) == ((apart,), (composed,))
    assert other_forms("a.txt") == ()
    assert other_forms("\u00e9" * 120) == ()  # too long, taken apart


@given(st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=12))
def test_other_spellings_meet_where_names_are_not_told_apart(name: str) -> None:
    letters = first_letters(name)
    cases = () if letters is None else other_cases(name, letters)
    for other in (*cases, *other_forms(name)):
        assert other != name
        assert collision_key(other) == collision_key(name)
    assert has_cases(name) or letters is None
    assert has_forms(name) or not other_forms(name)
