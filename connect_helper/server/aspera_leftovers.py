"""What an aspera.conf says and nobody here acts on: each such element is named in a warning.

Source: Aspera server configuration reference, section 3. The elements of the services are the business of
`aspera_services`; here are those of the levels (default, groups, users) and whole sections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element

from connect_helper.server.aspera_tree import PLACE, leaves
from connect_helper.server.aspera_values import NotAValue, signed

Warn = Callable[[str, str], None]
TARGET_RATE: Final = "transfer/{}/bandwidth/flow/target_rate/{}"
TRUNK: Final = "transfer/{}/bandwidth/aggregate/trunk_id"
LINKS: Final = "file_system/symbolic_links"
_AT_ONE_PLACE: Final = ("default", "server", "http_server", "WEB", "aaa")
# Who somebody is, and how tokens are protected: always as strong as the strongest setting of the original.
_HARMLESS: Final = frozenset(
    {"name", "precedence", "id", "authorization/token/encryption_type", "authorization/token/filename_hash"}
)
_READ: Final = frozenset(
    {
        "authorization/transfer/in/value", "authorization/transfer/out/value",
        "authorization/transfer/in/external_provider/url", "authorization/transfer/out/external_provider/url",
        "authorization/token/encryption_key", "authorization/token/key_file",
        "authorization/token/life_seconds", f"{PLACE}/absolute", f"{PLACE}/read_allowed",
        f"{PLACE}/write_allowed", f"{PLACE}/dir_allowed", f"{PLACE}/restrictions/restriction",
        "file_system/overwrite", LINKS, "user_value", "transfer/encryption/content_protection_required",
        "transfer/encryption/allowed_cipher",
        TARGET_RATE.format("in", "cap"), TARGET_RATE.format("out", "cap"),
        TARGET_RATE.format("in", "default"), TARGET_RATE.format("out", "default"),
        TRUNK.format("in"), TRUNK.format("out"),
    }
)  # fmt: skip
# Said in the file, but as it is here anyway: no reason for a warning.
_SAME_HERE: Final = {
    "file_system/partial_file_suffix": frozenset({".partial"}),
    "file_system/pre_calculate_job_size": frozenset({"any"}),
    "authorization/token/dynamic_key": frozenset({"false", "no", "0"}),
}


def warn_of_the_rest(root: Element, warn: Warn) -> None:
    """Name every element outside the services that has no counterpart here, or that another one outdoes."""
    for name, times in Counter(str(child.tag) for child in root).items():
        if name in _AT_ONE_PLACE and times > 1:
            warn(name, "stands there more than once; only the first one counts.")
        elif name not in _AT_ONE_PLACE and any(_says_something(root.iterfind(name))):
            warn(name, "not supported.")
    _warn_of_strangers(root, warn)
    for element, where in _levels(root):
        told: set[str] = set()
        for found in leaves(element, ""):
            path = found.where.lstrip("/")
            if path in told and not path.startswith(PLACE):
                warn(f"{where}/{path}", "stands there more than once; the first one counts.")
            elif path not in _READ | _HARMLESS and not _same_here(path, found.text):
                warn(f"{where}/{path}", "not supported.")
            elif path == "precedence" and not _is_number(found.text):
                warn(f"{where}/{path}", "not a number: taken as 1000.")
            told.add(path)


def _says_something(elements: Iterator[Element]) -> Iterator[bool]:
    return (True for element in elements for one in element.iter() if (one.text or "").strip() or one.attrib)


def _levels(root: Element) -> Iterator[tuple[Element, str]]:
    default = root.find("default")
    if default is not None:
        yield default, "default"
    for kind in ("group", "user"):
        for element in root.iterfind(f"aaa/realms/realm/{kind}s/{kind}"):
            name = (element.findtext("name") or "").strip()
            if name:
                yield element, f"aaa/realms/realm/{kind}s/{kind}[{name}]"


def _warn_of_strangers(root: Element, warn: Warn) -> None:
    """What stands in `aaa` beside the users and groups with a name."""
    people = {kind: list(root.iterfind(f"aaa/realms/realm/{kind}s/{kind}")) for kind in ("group", "user")}
    for aaa in root.iterfind("aaa"):
        for found in leaves(aaa, "aaa", skip={one for some in people.values() for one in some}):
            warn(found.where, "not supported.")
    for kind, some in people.items():
        if any(not (one.findtext("name") or "").strip() for one in some):
            warn(f"aaa/realms/realm/{kind}s/{kind}", f"a {kind} without a name is left out.")


def _is_number(text: str) -> bool:
    try:
        return signed(text) is not None
    except NotAValue:
        return False


def _same_here(path: str, text: str) -> bool:
    return text.casefold().replace(" ", "") in _SAME_HERE.get(path, ())
