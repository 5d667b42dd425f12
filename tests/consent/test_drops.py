"""Which words of a page are true of which things, and how often a drag may be claimed."""

from __future__ import annotations

from itertools import permutations

import pytest

from connect_helper.consent.drops import (
    TRIES,
    Claims,
    Dropped,
    OnDisk,
    matches,
    name_key,
    pair,
    shows_web_pages,
)

SCAN = OnDisk("scan 1.tif", False, 734_003, 1_741_075_811_123.4)
FOLDER = OnDisk("photos", True, 4_096, 1_741_075_811_000)


def told(name: str, size: int | None, media_type: str = "", modified_ms: float | None = None) -> Dropped:
    return Dropped(name, size, media_type, modified_ms)


@pytest.mark.parametrize(
    ("page_says", "is_true"),
    [
        (told("scan 1.tif", 734_003), True),
        (told("scan 1.tif", 734_003, "image/tiff"), True),
        (told("scan 1.tif", 734_003, modified_ms=1_741_075_811_123), True),
        (told("scan 1.tif", 734_003, modified_ms=1_741_075_811_000), True),  # browsers that blur times
        (told("scan 1.tif", 734_003, modified_ms=1_741_075_813_000), False),
        (told("scan 1.tif", 734_003, modified_ms=float("nan")), False),
        (told("scan 1.tif", 734_002), False),
        (told("scan 1.tif", None), False),
        (told("scan 1.tif", -1), False),
        (told("scan 1.TIF", 734_003), False),
        (told("./scan 1.tif", 734_003), False),
        (told("", 734_003), False),
    ],
)
def test_a_file_has_the_name_the_size_and_the_time_if_told(page_says: Dropped, is_true: bool) -> None:
    assert matches(page_says, SCAN) is is_true


@pytest.mark.parametrize(
    ("page_says", "is_true"),
    [
        (told("photos", 4_096), True),
        (told("photos", 0), True),
        (told("photos", None), True),
        (told("photos", 0, modified_ms=5), True),  # of a folder, some browsers tell the time of the drop
        (told("photos", 60), True),  # what file systems say of folders is theirs to choose
        (told("photos", -1), True),
        (told("photos", 4_096, "image/png"), True),  # some browsers take the type from the name alone
        (told("photo", 4_096), False),
    ],
)
def test_a_folder_has_the_name_whatever_its_size(page_says: Dropped, is_true: bool) -> None:
    assert matches(page_says, FOLDER) is is_true


def test_names_are_told_as_browsers_read_them() -> None:
    assert matches(told("e\u0301.txt", 1), OnDisk("\u00e9.txt", False, 1, 0))
    assert matches(told("a\ufffd.txt", 1), OnDisk("a\udcff.txt", False, 1, 0))


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDC7F, 0xDC80, 0xDD00, 0xDFFF])
def test_half_a_character_is_none(code: int) -> None:
    half = chr(code)
    assert name_key(f"a{half}b") == "a\ufffdb"
    assert matches(told("a\ufffdb", 1), OnDisk(f"a{half}b", False, 1, 0))  # a name of Windows
    assert not matches(told(f"a{half}b", 1), OnDisk("ab", False, 1, 0))


def test_many_things_are_paired_in_the_order_of_the_page() -> None:
    found = [OnDisk(name, False, size, 0) for name, size in (("a", 1), ("b", 2), ("c", 3))]
    for order in permutations(range(3)):
        assert pair([told(found[place].name, found[place].size) for place in order], found) == list(order)


def test_things_of_one_name_are_told_apart_by_size_and_else_keep_the_order_of_the_drag() -> None:
    found = [OnDisk("a", False, 2, 0), OnDisk("a", False, 1, 0), OnDisk("a", False, 1, 0)]
    assert pair([told("a", 1), told("a", 1), told("a", 2)], found) == [1, 2, 0]


def test_a_file_and_a_folder_of_one_name_are_told_apart_by_the_size_of_the_file() -> None:
    found = [OnDisk("a", True, 60, 0), OnDisk("a", False, 5, 0)]
    assert pair([told("a", 5), told("a", 60)], found) == [1, 0]
    assert pair([told("a", 60), told("a", 5)], found) == [0, 1]


@pytest.mark.parametrize(
    "page_says",
    [
        [],
        [told("a", 1)],  # part of a drop is easier to guess than all of it
        [told("a", 1), told("b", 2), told("b", 2)],
        [told("a", 1), told("a", 1)],
        [told("a", 1), told("c", 2)],
    ],
)
def test_all_of_a_drop_has_to_be_told(page_says: list[Dropped]) -> None:
    assert pair(page_says, [OnDisk("a", False, 1, 0), OnDisk("b", False, 2, 0)]) is None


def test_sec_12_an_origin_has_one_try_and_all_together_three() -> None:
    claims = Claims()
    assert claims.try_once(1, "https://a.example")
    assert not claims.try_once(1, "https://a.example")
    for number in range(1, TRIES):
        assert claims.try_once(1, f"https://{number}.example")
    assert not claims.try_once(1, "https://late.example")
    assert claims.try_once(2, "https://a.example")  # another drag


def test_sec_12_a_drag_is_used_once() -> None:
    claims = Claims()
    assert claims.use(1)
    assert not claims.use(1)
    assert not claims.try_once(1, "https://a.example")


def test_a_used_drag_stays_used_while_others_come_and_go() -> None:
    claims = Claims()
    claims.use(1)
    for drag in range(2, 50):
        claims.try_once(drag, "https://a.example")
    assert not claims.use(1)


@pytest.mark.parametrize(
    ("program", "does"),
    [
        ("/usr/lib/chromium/chromium", True),
        ("/opt/google/chrome/chrome", True),
        ("/usr/lib/firefox-esr/firefox-esr", True),
        ("C:\\Program Files\\Mozilla Firefox\\Firefox.exe", True),
        ("/usr/bin/pcmanfm", False),
        ("/usr/bin/nautilus", False),
        ("/opt/google/files", False),
        ("", False),
    ],
)
def test_programs_that_show_web_pages(program: str, does: bool) -> None:
    assert shows_web_pages(program) is does
