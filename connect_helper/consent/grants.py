"""Grants: which local paths the user gave to which caller, by a dialog or a drop.

A path in a request has no power; it is looked up here, exactly as it was handed out, among the grants of
its own scope. Nothing is normalised, folded or resolved, and no file system is touched: what is not found
was not granted, whether or not it exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from connect_helper.consent.origins import Scope

GrantKind = Literal["file", "folder", "save"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One path given to one scope.

    For "file" and "folder", `device` and `inode` are those of `path`. A "save" grant lets one file be
    written, which need not exist yet: `path` is its full path, `name` its last component, and `device`,
    `inode` and `pin` are those of the folder it lies in.
    """

    id: str
    scope: Scope
    kind: GrantKind
    path: str  # absolute, links resolved, as the caller was told
    device: int
    inode: int
    pin: int | None  # descriptor that keeps the file or folder from being replaced; closed by the caller
    given_at: float  # seconds since the epoch
    name: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A grant, and the names that lead from its path (for "save": its file) to what was asked for."""

    grant: Grant
    below: tuple[str, ...] = ()


class GrantTable:
    """All grants of this run of the program. Not thread-safe."""

    def __init__(self) -> None:
        self._by_path: dict[Scope, dict[tuple[bool, str], Grant]] = {}
        self._by_id: dict[str, Grant] = {}

    def add(self, grant: Grant) -> Grant | None:
        """Add a grant; return the one it replaces (same scope and path), whose pin the caller closes."""
        paths = self._by_path.setdefault(grant.scope, {})
        key = _key(grant)
        old = paths.get(key)
        if old is not None:
            del self._by_id[old.id]
        paths[key] = grant
        self._by_id[grant.id] = grant
        return old

    def find(self, scope: Scope, path: str) -> Found | None:
        """Find the grant that lets `scope` read `path`: the very path, or a granted folder above it.

        Pages write a folder with one separator at its end too; no other spelling is known.
        """
        grants = self._by_path.get(scope, {})
        bare = _bare(path)
        exact = grants.get((False, bare))
        if exact is not None and (exact.path == path or (exact.path == bare and exact.kind == "folder")):
            return Found(exact)
        for above, below in _ancestors(bare):
            grant = grants.get((False, above))
            if grant is not None and grant.kind == "folder":
                return Found(grant, below)
        return None

    def covers_destination(self, scope: Scope, folder: str, target: tuple[str, ...]) -> Found | None:
        """Find the grant that lets `scope` write `target` below the absolute path `folder`.

        That is a folder grant at or above `folder`; a save grant of exactly that file; or a save grant of
        `folder` itself, as pages pass the chosen file name as destination of a single file.
        """
        if not target or not all(_is_component(name, folder) for name in target):
            return None
        found = self.find(scope, folder)
        if found is not None and found.grant.kind == "folder":
            return Found(found.grant, found.below + target)
        grants = self._by_path.get(scope, {})
        separator = _separator(folder)
        saved = grants.get((True, _bare(folder) + separator + separator.join(target)))
        if saved is None and len(target) == 1:
            saved = grants.get((True, folder))
        return None if saved is None else Found(saved)

    def get(self, grant_id: str) -> Grant | None:
        return self._by_id.get(grant_id)

    def of_origin(self, origin: str) -> list[Grant]:
        """Return the grants of an origin under all its app_ids, oldest first."""
        return [grant for grant in self._by_id.values() if grant.scope.origin == origin]

    def all(self) -> list[Grant]:
        return list(self._by_id.values())

    def forget(self, grant_id: str) -> Grant | None:
        """Take a grant back and return it; the caller closes its pin."""
        grant = self._by_id.pop(grant_id, None)
        if grant is not None:
            paths = self._by_path[grant.scope]
            del paths[_key(grant)]
            if not paths:
                del self._by_path[grant.scope]
        return grant

    def forget_origin(self, origin: str) -> list[Grant]:
        """Take all grants of an origin back and return them; the caller closes their pins."""
        grants = self.of_origin(origin)
        for grant in grants:
            self.forget(grant.id)
        return grants


def _key(grant: Grant) -> tuple[bool, str]:
    return grant.kind == "save", _bare(grant.path)


def _bare(path: str) -> str:
    """Drop the last separator, which of granted paths only the root of a disk or share carries."""
    return path.removesuffix(_separator(path))


def _separator(path: str) -> str:
    return "/" if path.startswith("/") else "\\"


def _is_component(name: str, path: str) -> bool:
    """Tell whether `name` is one name below `path` and nothing else, on the platform of `path`."""
    signs = "/\0" if path.startswith("/") else "/\\:\0"
    return name not in ("", ".", "..") and not any(sign in name for sign in signs)


def _ancestors(path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (folder above, names from there to `path`), nearest first, while each name is a component."""
    separator = _separator(path)
    below: tuple[str, ...] = ()
    rest = path
    while separator in rest:
        rest, _, name = rest.rpartition(separator)
        if not _is_component(name, path):
            return
        below = (name, *below)
        yield rest, below
