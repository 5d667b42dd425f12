"""Symbolic links of the source."""

from __future__ import annotations

from typing import get_args

import pytest

from connect_helper.spec.links import LinkDecision, Standing, decide_link, stays_inside


@pytest.mark.parametrize(
    ("target", "copied", "forced"),
    [
        ("nothing", LinkDecision.WRITE, LinkDecision.WRITE),
        ("file", LinkDecision.KEEP, LinkDecision.REPLACE),
        ("link", LinkDecision.KEEP, LinkDecision.REPLACE),
        ("folder", LinkDecision.KEEP, LinkDecision.KEEP),
        ("folder_link", LinkDecision.KEEP, LinkDecision.KEEP),
    ],
)
def test_a_copied_link_meets_what_is_there(
    target: Standing, copied: LinkDecision, forced: LinkDecision
) -> None:
    assert (decide_link("copy", target), decide_link("copy+force", target)) == (copied, forced)


def test_following_and_skipping_do_not_look_at_the_target() -> None:
    for target in get_args(Standing):
        assert decide_link("follow", target) is LinkDecision.FOLLOW
        assert decide_link("skip", target) is LinkDecision.SKIP


@pytest.mark.parametrize(
    ("content", "depth", "inside"),
    [
        (b"a", 0, True),
        (b"./a//b/", 0, True),
        (b".", 0, True),
        (b"../a", 1, True),
        (b"../../a", 2, True),
        (b"..", 0, False),
        (b"../../a", 1, False),
        (b"./.././../a", 1, False),
        (b"/etc/passwd", 5, False),
        (b"//host/share", 5, False),
        (b"a/../b", 5, False),  # a may be a link that leads elsewhere
        (b"..\\a", 5, False),
        (b"C:x", 5, False),
        (b"a\0", 5, False),
        (b"", 5, False),
        (b"...", 0, True),
        (b"\xff", 0, True),
    ],
)
def test_a_link_on_this_machine_leads_nowhere_else(content: bytes, depth: int, inside: bool) -> None:
    assert stays_inside(content, depth) is inside
