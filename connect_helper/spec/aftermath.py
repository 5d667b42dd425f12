"""What becomes of the sources after a transfer (transfer spec reference, sections 1.7 and 2.9). Pure.

The sources are local for `send` and remote for `receive`. Nothing here asks the user: that local sources
may be removed or moved at all is for the caller to find out first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_text
from connect_helper.spec.words import flag

Outcome = Literal["done", "skipped", "failed", "cancelled"]
Names = tuple[str, ...]
_PATH_LIMIT: Final = 32_768  # characters


@dataclass(frozen=True, slots=True)
class Keep:
    """The source file stays."""


@dataclass(frozen=True, slots=True)
class Remove:
    """The source file is deleted."""


@dataclass(frozen=True, slots=True)
class Move:
    """The source file is moved to these names below the folder of `move_after_transfer`."""

    names: Names


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The wishes of one spec, free of contradictions."""

    remove_files: bool = False
    remove_skipped: bool = False
    move_to: str = ""  # folder on the source side, as it came; "": none
    remove_empty_folders: bool = False  # below the sources
    remove_source_folders: bool = False  # the given folders themselves too; implies remove_empty_folders

    @property
    def removes(self) -> bool:
        """Whether anything is to be deleted."""
        return self.remove_files or self.remove_empty_folders

    @property
    def changes_sources(self) -> bool:
        """Whether sources are to be deleted or moved, which the user must have agreed to."""
        return self.removes or bool(self.move_to)


def parse_aftermath(raw: Mapping[str, Any]) -> Aftermath:
    """Read the fields of section 1.7.

    `delete_source` overrules the three removals it stands for, either way. Raises InvalidRequest naming the
    field when files are to be both removed and moved, or skipped ones removed and the others not.
    """
    whole = as_bool(raw.get("delete_source"), "delete_source")
    files = flag(raw, "remove_after_transfer")
    folders = flag(raw, "remove_empty_directories")
    sources = flag(raw, "remove_empty_source_dir", "remove_empty_source_directory")
    skipped = flag(raw, "remove_skipped")
    if whole is not None:
        files = folders = sources = whole
        skipped = skipped and whole
    move_to = as_text(raw.get("move_after_transfer"), "move_after_transfer", limit=_PATH_LIMIT, path=True)
    if files and move_to:
        raise InvalidRequest(
            'Source files cannot be both removed and moved: leave out "move_after_transfer".',
            field="move_after_transfer",
        )
    if skipped and not files:
        raise InvalidRequest(
            '"remove_skipped" needs "remove_after_transfer": set both or none.', field="remove_skipped"
        )
    return Aftermath(files, skipped, move_to or "", folders or sources, sources)


def refuse_inside(folder: str, sources: Iterable[str]) -> None:
    """Raise InvalidRequest when files would be moved to where they are looked for.

    All are paths of one side; `folder` is that of `move_after_transfer`, "": none.
    """
    for source in sources:
        if folder and (folder.rstrip("/") + "/").startswith(source.rstrip("/") + "/"):
            raise InvalidRequest(
                '"move_after_transfer" must not lie inside of a source.', field="move_after_transfer"
            )


def after_file(wishes: Aftermath, outcome: Outcome, names: Names) -> Keep | Remove | Move:
    """Decide about one source file.

    `names` lead to it from the root of the transferred set (`paths.set_names` and the names below): with
    `src_base` these are the names below that, without it the first one is the source's own. Moved files
    keep them, so that files of one name from different folders do not meet. Only a file that was
    transferred whole goes; a skipped one stays unless `remove_skipped`.
    """
    if outcome == "done" and wishes.move_to:
        return Move(names)
    if wishes.remove_files and (outcome == "done" or (outcome == "skipped" and wishes.remove_skipped)):
        return Remove()
    return Keep()


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of `paths` as it was found, in full names from the root of its file system."""

    names: Names
    folder: bool
    base: Names | None = None  # src_base, when it is set; then `names` begins with it


def folders_to_try(wishes: Aftermath, sources: Iterable[Source], found: Iterable[Names]) -> tuple[Names, ...]:
    """Return the folders to remove if they are empty now, in full names: deepest first, each once.

    `found` are the folders that were walked through, in full names. Removing means `rmdir`: a folder that
    still holds something stays, and that is no fault. Of a folder given as a source what is below it is
    tried, and itself for `remove_empty_source_dir`. Of a file its parent; with `src_base` all folders
    between that and the source. `src_base` itself and the root of a file system never are.
    """
    if not wishes.remove_empty_folders:
        return ()
    tried: set[Names] = set()
    given: set[Names] = set()
    for source in sources:
        if source.folder:
            given.add(source.names)
        tried.update(_above(source))
    tried.update(found)
    tried = tried | given if wishes.remove_source_folders else tried - given
    tried.discard(())
    return tuple(sorted(tried, key=lambda names: (-len(names), names)))


def _above(source: Source) -> Iterable[Names]:
    """Yield the folders above a source that are looked at."""
    if source.base is not None:
        return (source.names[:depth] for depth in range(len(source.base) + 1, len(source.names)))
    return () if source.folder else (source.names[:-1],)
