"""What happens to symbolic links of the source (transfer spec reference, section 2.7). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, Literal

from connect_helper.spec.words import Links

Standing = Literal["nothing", "file", "link", "folder", "folder_link"]  # at the target; a dead link is a link


class LinkDecision(Enum):
    """What to do with one link."""

    FOLLOW = auto()  # go on with what it points to
    SKIP = auto()  # neither link nor what it points to; counts as skipped
    WRITE = auto()  # make a link at the target
    REPLACE = auto()  # make a link in place of what stands at the target
    KEEP = auto()  # what stands at the target stays; counts as skipped


_COPY: Final[Mapping[Standing, LinkDecision]] = {
    "nothing": LinkDecision.WRITE,
    "file": LinkDecision.KEEP,
    "link": LinkDecision.KEEP,
    "folder": LinkDecision.KEEP,
    "folder_link": LinkDecision.KEEP,
}
_FORCED: Final[Mapping[Standing, LinkDecision]] = {
    "nothing": LinkDecision.WRITE,
    "file": LinkDecision.REPLACE,
    "link": LinkDecision.REPLACE,
    "folder": LinkDecision.KEEP,
    "folder_link": LinkDecision.KEEP,
}


def decide_link(links: Links, target: Standing) -> LinkDecision:
    """Decide about one link of the source by what stands under its name at the target."""
    if links == "follow":
        return LinkDecision.FOLLOW
    if links == "skip":
        return LinkDecision.SKIP
    return (_COPY if links == "copy" else _FORCED)[target]


def stays_inside(content: bytes, depth: int) -> bool:
    """Tell whether a link may be made on this machine as the other side has it.

    `content` is what the link says and `depth` the number of folders between the destination and the link.
    It must be relative and, read from where it stands, never climb out of the destination: what is written
    later must not be led elsewhere. `..` may only come first, for behind a name that is a link itself it
    means the folder that one leads to. Backslashes, colons and NUL are refused: other systems read them
    as separators.
    """
    if not content or content.startswith(b"/") or any(sign in content for sign in (b"\\", b":", b"\0")):
        return False
    names = [name for name in content.split(b"/") if name not in (b"", b".")]
    climbs = next((place for place, name in enumerate(names) if name != b".."), len(names))
    return climbs <= depth and b".." not in names[climbs:]
