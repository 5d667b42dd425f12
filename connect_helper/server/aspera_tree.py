"""aspera.conf as XML: read without trusting it, and asked leaf by leaf over the levels user, group, default.

Source: Aspera server configuration reference, sections 3.1 and 3.2. No document type, so no entity of its
own, is accepted; names are lower case but for the root and `WEB`; an empty element is as good as none, and
so is the word `Undefined`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from connect_helper.errors import ConnectHelperError
from connect_helper.server.aspera_values import NotAValue, boolean, signed

MAX_BYTES: Final = 16_000_000
PLACE: Final = "file_system/access/paths/path"
_NOT_SET: Final = ("", "undefined")
_MAX_DEPTH: Final = 50


class AsperaConfUnreadable(ConnectHelperError):
    """The file is no aspera.conf."""

    code: ClassVar[str] = "aspera_conf_unreadable"


@dataclass(frozen=True, slots=True)
class Found:
    """The text of one leaf, trimmed, and where it stands: "aaa/realms/realm/users/user[xfer1]/..."."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Level:
    """`default`, one group or one user."""

    element: Element
    where: str

    def leaf(self, path: str) -> Found | None:
        """The first element at `path` that says something."""
        for element in self._at(path):
            text = (element.text or "").strip()
            if text.casefold() not in _NOT_SET:
                return Found(text, f"{self.where}/{path}")
        return None

    def raw(self, path: str) -> Found | None:
        """As `leaf`, but keys and passphrases are not trimmed, and any word may be one."""
        whole = next((one.text for one in self._at(path) if (one.text or "").strip()), None)
        return None if whole is None else Found(whole, f"{self.where}/{path}")

    def _at(self, path: str) -> list[Element]:
        """The elements at `path`; of several docroots, what is said about the first."""
        if not path.startswith(f"{PLACE}/"):
            return self.element.findall(path)
        first = self.element.find(PLACE)
        return [] if first is None else first.findall(path.removeprefix(f"{PLACE}/"))

    def all(self, path: str) -> list[Element]:
        return self.element.findall(path)


@dataclass(frozen=True, slots=True)
class Levels:
    """What holds for one user, the closest level first."""

    name: str
    own: tuple[Level, ...]
    groups_known: bool = (
        True  # False: groups have settings here, and nobody can tell whether the user is in one
    )

    def leaf(self, path: str) -> Found | None:
        """The value that holds, leaf by leaf and not section by section."""
        return next((found for level in self.own if (found := level.leaf(path))), None)

    def raw(self, path: str) -> Found | None:
        return next((found for level in self.own if (found := level.raw(path))), None)


def read(path: Path) -> Element:
    """The root element. Raises AsperaConfUnreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AsperaConfUnreadable(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise AsperaConfUnreadable(f"{path} is too large to be a configuration.")
    return parse(data, str(path))


def parse(data: bytes, name: str) -> Element:
    """The root element of `data`. Raises AsperaConfUnreadable."""
    try:
        root = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise AsperaConfUnreadable(
            f"{name} declares a document type or entities, which no aspera.conf needs. Take that out."
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise AsperaConfUnreadable(f"{name} is not XML: {error}.") from error
    if any(str(element.tag).startswith("{") for element in root.iter()):
        raise AsperaConfUnreadable(
            f"{name} has elements in an XML namespace, as no aspera.conf has. Take the xmlns attributes out."
        )
    if str(root.tag).casefold() != "conf":
        raise AsperaConfUnreadable(f"{name} is no aspera.conf: its outermost element is not CONF.")
    if _depth(root) > _MAX_DEPTH:
        raise AsperaConfUnreadable(f"{name} is nested deeper than any aspera.conf.")
    return root


def users(root: Element, groups_of: Callable[[str], Collection[str] | None]) -> Iterator[Levels]:
    """Every user with the levels that hold for it. `groups_of` tells a user's groups; None: nobody knows."""
    default = root.find("default")
    common = () if default is None else (Level(default, "default"),)
    groups = list(_named(root, "aaa/realms/realm/groups/group"))
    for name, level in _named(root, "aaa/realms/realm/users/user"):
        mine = groups_of(name) if groups else ()
        own = sorted((group for title, group in groups if title in (mine or ())), key=_precedence)
        yield Levels(name, (level, *own, *common), groups_known=mine is not None)


def trunks_on(root: Element) -> frozenset[int | None]:
    """The numbers of the virtual links that are on, or may be; None stands for one that cannot be read."""
    return frozenset(_number(trunk) for trunk in root.iterfind("trunks/trunk") if _is_on(trunk))


def _is_on(trunk: Element) -> bool:
    text = (trunk.findtext("on") or "").strip()
    try:
        return text.casefold() not in _NOT_SET and boolean(text)
    except NotAValue:
        return True


def _number(trunk: Element) -> int | None:
    try:
        return signed(trunk.findtext("id") or "")
    except NotAValue:
        return None


def leaves(element: Element, where: str, *, skip: Collection[Element] = ()) -> Iterator[Found]:
    """Every leaf below that says something, in document order; not what is in one of `skip`."""
    stack = [(element, where)]
    while stack:
        one, path = stack.pop()
        children = list(one)
        text = (one.text or "").strip()
        if text and not children:
            yield Found(text, path)
        stack.extend((child, f"{path}/{_label(child)}") for child in reversed(children) if child not in skip)


def _label(element: Element) -> str:
    name = (element.findtext("name") or "").strip()
    return f"{element.tag}[{name}]" if name and element.tag in ("user", "group") else str(element.tag)


def _named(root: Element, path: str) -> Iterator[tuple[str, Level]]:
    for element in root.iterfind(path):
        name = (element.findtext("name") or "").strip()
        if name:
            yield name, Level(element, f"{path}[{name}]")


def _precedence(group: Level) -> int:
    """The lowest number wins; 1000 where none is given."""
    found = group.leaf("precedence")
    try:
        value = None if found is None else signed(found.text)
    except NotAValue:
        value = None  # warned of where all leaves are looked at
    return 1000 if value is None else value


def _depth(root: Element) -> int:
    deepest, stack = 0, [(root, 1)]
    while stack:
        element, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((child, depth + 1) for child in element)
    return deepest
