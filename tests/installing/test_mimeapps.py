"""The list of default programs: ours in front, everything else as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.installing.mimeapps import has_default, with_default, without_default

OURS = "connect-helper.desktop"
FASP, FASPE = "x-scheme-handler/fasp", "x-scheme-handler/faspe"


def test_the_first_list_holds_nothing_else() -> None:
    text = with_default("", OURS, [FASP, FASPE])
    assert text == f"[Default Applications]\n{FASP}={OURS}\n{FASPE}={OURS}\n"
    assert without_default(text, OURS, [FASP, FASPE]) == ""


def test_who_was_default_comes_next_and_comes_back() -> None:
    before = f"[Default Applications]\ntext/html=firefox.desktop\n{FASP}=aspera.desktop;other.desktop;\n"
    after = with_default(before, OURS, [FASP])
    assert f"{FASP}={OURS};aspera.desktop;other.desktop;\n" in after
    assert without_default(after, OURS, [FASP]) == before


def test_other_sections_and_comments_stay() -> None:
    before = f"# mine\n[Added Associations]\n{FASP}={OURS};\n\n[Removed Associations]\ntext/html=a.desktop\n"
    after = with_default(before, OURS, [FASP])
    assert after == f"{before}\n[Default Applications]\n{FASP}={OURS}\n"
    assert without_default(after, OURS, [FASP]) == before


def test_a_second_time_changes_nothing() -> None:
    once = with_default(f"[Default Applications]\n{FASP}=a.desktop\n", OURS, [FASP, FASPE])
    assert with_default(once, OURS, [FASP, FASPE]) == once


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("", False),
        (f"[Default Applications]\n{FASP}={OURS}\n", True),
        (f"[Default Applications]\n{FASP}={OURS};a.desktop;\n", True),
        (f"[Default Applications]\n{FASP}=a.desktop;{OURS};\n", False),
        (f"[Added Associations]\n{FASP}={OURS}\n", False),
    ],
)
def test_only_the_first_of_the_right_section_is_the_default(text: str, ours: bool) -> None:
    assert has_default(text, OURS, FASP) is ours


LINES = st.one_of(
    st.sampled_from(
        [
            "",
            "# words",
            "[Added Associations]",
            "[Removed Associations]",
            f"{FASP}=a.desktop",
            f"{FASPE}=b.desktop;c.desktop;",
        ]
    ),
    st.text(st.characters(exclude_characters="\n[", codec="utf-8"), max_size=12),
)


@given(lines=st.lists(LINES, max_size=8), below=st.lists(LINES, max_size=4), filled=st.booleans())
def test_whatever_a_list_holds_is_there_again_afterwards(
    lines: list[str], below: list[str], filled: bool
) -> None:
    if filled:
        lines = [*lines, "[Default Applications]", "text/html=a.desktop", *below]
    text = "".join(f"{line}\n" for line in lines)
    after = with_default(text, OURS, [FASP, FASPE])
    assert has_default(after, OURS, FASP)
    assert has_default(after, OURS, FASPE)
    assert without_default(after, OURS, [FASP, FASPE]) == text
