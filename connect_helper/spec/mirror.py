"""What `delete_before_transfer` removes at the destination (transfer spec reference, section 1.3). Pure.

One folder is decided about at a time, from two complete listings, so that a million names never have to be
in memory. A folder the source has no name for goes with everything in it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from connect_helper.errors import InvalidRequest, UnsafeName
from connect_helper.spec.aftermath import Aftermath
from connect_helper.spec.names import collision_key, partial_name
from connect_helper.spec.protection import Action, opened_name, protected_name


def check_surplus(aftermath: Aftermath, *, hidden_names: bool, field: str = "delete_before_transfer") -> None:
    """Raise InvalidRequest naming `field` where deleting would take what it must not, by the other wishes."""
    if hidden_names:
        raise InvalidRequest(
            'With "obfuscate_file_names" nothing at the destination has a name of the source, so '
            f'"{field}" would delete everything: leave out one of them.',
            field=field,
        )
    if aftermath.remove_files or aftermath.move_to:
        raise InvalidRequest(
            f'"{field}" would delete at the destination what an earlier transfer took away '
            "from the source: leave it out, or the removing and moving of sources.",
            field=field,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a folder."""

    name: bytes
    folder: bool


@dataclass(frozen=True, slots=True)
class FolderVerdict:
    """What to do in one folder of the destination, in the order of its listing."""

    delete: tuple[Listed, ...]  # folders with everything in them, links as links
    descend: tuple[bytes, ...]  # names of folders on both sides, to be compared in the same way


def compares(source: Listed, target: Listed) -> bool:
    """Tell whether a source and what stands at its target are compared at all.

    Both must be folders of the same name: a source that is given a new name finds nothing of its own there.
    """
    return source.folder and target.folder and source.name == target.name


def surplus(
    source: Collection[Listed],
    target: Collection[Listed],
    *,
    action: Action | None = None,
    case_blind: bool = False,
) -> FolderVerdict:
    """Compare one folder of the source with the folder of that name at the destination.

    `source` must be the listing as it is, not what patterns and times let through: a file left out of the
    transfer still exists. Where several sources go into one folder, it is all their listings, and a folder is
    gone into only where the name is one in each of them. What exists on both sides under one name stays, also
    when one is a file and the other a folder. Unfinished files of names the source has stay, to be continued.
    `action` is what content protection does to the names of files. `case_blind` as in `name_key`.
    """
    wanted: dict[bytes, bool] = {}  # whether it is a folder
    unfinished: set[bytes] = set()
    linked: set[bytes] = set()  # names a folder may have that a link leads to
    for entry in source:
        name = entry.name if entry.folder else stored_name(entry.name, action)
        key = name_key(name, case_blind=case_blind)
        wanted[key] = entry.folder and wanted.get(key, True)
        if not entry.folder:
            unfinished.add(name_key(partial_name(name), case_blind=case_blind))
            linked.add(name_key(entry.name, case_blind=case_blind))
    delete: list[Listed] = []
    descend: list[bytes] = []
    for entry in target:
        key = name_key(entry.name, case_blind=case_blind)
        if entry.folder and key in linked:
            continue
        if key not in wanted and key not in unfinished:
            delete.append(entry)
        elif entry.folder and wanted.get(key):
            descend.append(entry.name)
    return FolderVerdict(tuple(delete), tuple(descend))


def stored_name(name: bytes, action: Action | None) -> bytes:
    """Return the name a file of the source has at the destination."""
    if action == "decrypt":
        return opened_name(name) or name
    try:
        return protected_name(name) if action == "encrypt" else name
    except UnsafeName:  # it cannot be sent; nothing of its name is deleted
        return name


def name_key(name: bytes, *, case_blind: bool) -> bytes:
    """What is equal for names that are one at the destination.

    `case_blind` is for one that takes names in other case or composition for the same.
    """
    if not case_blind:
        return name
    text = name.decode("utf-8", "surrogateescape")
    return collision_key(text).encode("utf-8", "surrogateescape")
