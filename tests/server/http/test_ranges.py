"""Which part of a file a Range header means, and when it counts."""

from __future__ import annotations

import pytest

from connect_helper.server.http.ranges import (
    ByteRange,
    Unsatisfiable,
    names_tag,
    range_applies,
    requested_range,
)

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-400", (0, 10)),
        ("Bytes = 2-3", (2, 4)),
        ("bytes=2-3,", (2, 4)),
        ("bytes=5-4", None),
        ("bytes=1-2,4-5", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=１-2", None),
        ("lines=0-1", None),
        ("bytes 0-1", None),
        ("bytes=0x1-2", None),
        ("bytes=+1-2", None),
        ("bytes=99999999999999999999-", None),
    ],
)
def test_range_of_ten_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    part = requested_range(header, 10)
    assert (part and (part.start, part.end)) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=9999999999-"])
def test_no_byte_lies_there(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_parts(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_range(header, 0)


def test_what_content_range_says() -> None:
    assert ByteRange(2, 5).content_range(10) == "bytes 2-4/10"


@pytest.mark.parametrize(
    ("header", "applies"),
    [
        (None, True),
        (TAG, True),
        (f" {TAG} ", True),
        ('"abd"', False),
        (f"W/{TAG}", False),
        ("abc", False),
        ("*", False),
        ("Wed, 21 Oct 2026 07:28:00 GMT", False),
    ],
)
def test_only_the_same_strong_tag_lets_a_part_through(header: str | None, applies: bool) -> None:
    assert range_applies(header, TAG) is applies


@pytest.mark.parametrize(
    ("header", "named"), [("*", True), (TAG, True), (f'"x", {TAG}', True), ('"x"', False), ("", False)]
)
def test_lists_of_tags(header: str, named: bool) -> None:
    assert names_tag(header, TAG) is named
