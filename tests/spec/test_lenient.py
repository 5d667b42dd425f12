"""Values as pages send them."""

from __future__ import annotations

from typing import Any

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_int, as_text


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "yes", "YES", "true", "True", " true "])
def test_these_mean_true(value: Any) -> None:
    assert as_bool(value, "f") is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "0", "no", "No", "false", "FALSE"])
def test_these_mean_false(value: Any) -> None:
    assert as_bool(value, "f") is False


@pytest.mark.parametrize("read", [as_bool, as_int, as_text])
@pytest.mark.parametrize("value", [None, ""])
def test_null_and_empty_mean_not_set(read: Any, value: Any) -> None:
    assert read(value, "f") is None


@pytest.mark.parametrize("value", [2, -1, "on", "maybe", [], {}, [True], float("nan")])
def test_other_values_are_no_booleans(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        as_bool(value, "create_dir")
    assert caught.value.field == "create_dir"
    assert "create_dir" in caught.value.user_message


@pytest.mark.parametrize(
    ("value", "number"), [(22, 22), ("22", 22), (22.0, 22), (" 22 ", 22), ("22.0", 22), ("0", 0)]
)
def test_whole_numbers_come_in_several_forms(value: Any, number: int) -> None:
    assert as_int(value, "f") == number


@pytest.mark.parametrize(
    "value",
    [
        True,
        -1,
        "-1",
        22.5,
        "22.5",
        "1e3",
        "1e999",
        float("nan"),
        float("inf"),
        "０",
        "0x10",
        "9" * 5000,
        2**63,
        [],
    ],
)
def test_other_values_are_no_numbers(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="whole number"):
        as_int(value, "f")


def test_a_number_keeps_to_its_bounds() -> None:
    assert as_int("65535", "port", minimum=1, maximum=65_535) == 65_535
    for value in (0, 65_536, "65536"):
        with pytest.raises(InvalidRequest, match="from 1 to 65535"):
            as_int(value, "port", minimum=1, maximum=65_535)


def test_text_is_bounded_and_a_number_may_stand_for_it() -> None:
    assert as_text("x" * 10, "f", limit=10) == "x" * 10
    assert as_text(4711, "f") == "4711"
    wrong: tuple[Any, ...] = ("x" * 11, True, 1.5, [], {})
    for value in wrong:
        with pytest.raises(InvalidRequest):
            as_text(value, "f", limit=10)


def test_bytes_that_are_no_utf8_pass_in_paths_only() -> None:
    assert as_text("/a\udcff", "f", path=True) == "/a\udcff"
    for text, path in [("/a\udcff", False), ("/a\ud800", True), ("/a\0b", True), ("a\0b", False)]:
        with pytest.raises(InvalidRequest, match="not allowed"):
            as_text(text, "f", path=path)
