"""Where each entry of `paths` comes from and goes to (transfer spec reference, sections 2.4 and 2.18).

For specs from pages `destination_root` is always a folder. Nothing here looks at a disk: whether a local
source was granted, and what stands at a target, is for the callers to find out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import InvalidRequest, NotGranted, UnsafeName
from connect_helper.spec.names import safe_component
from connect_helper.spec.transfer_spec import PathPair, TransferSpec

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_DEPTH: Final = 100  # components


@dataclass(frozen=True, slots=True)
class UploadPath:
    """One source of an upload and its target."""

    source: str  # local, after source_root; exactly what must have been granted
    remote: str  # POSIX; without a leading "/" it is relative to the login folder


@dataclass(frozen=True, slots=True)
class DownloadPath:
    """One source of a download and its target."""

    source: str  # remote, after source_root
    folder: str  # absolute local destination_root, or "" for the download folder
    target: tuple[str, ...]  # safe names below the folder; the last one is the item's own


def upload_targets(spec: TransferSpec) -> tuple[UploadPath, ...]:
    """Return sources and targets of an upload.

    A `destination_root` of "/" or "" is the folder the login leads to. Raises InvalidRequest.
    """
    root = spec.destination_root.strip("/")
    if root and spec.destination_root.startswith("/"):
        root = f"/{root}"
    paths = []
    for index, pair in enumerate(spec.paths):
        names = _target(spec, pair, index)
        paths.append(UploadPath(_source(spec, pair), "/".join([root, *names] if root else names)))
    return tuple(paths)


def download_targets(spec: TransferSpec, *, absolute: bool) -> tuple[DownloadPath, ...]:
    """Return sources and targets of a download.

    `absolute` is `use_absolute_destination_path`: `destination_root` is then a local path, handed on exactly
    as it came, to be looked up among the grants. Otherwise it lies below the download folder. Raises
    NotGranted for a destination that climbs out of it, InvalidRequest for other faults.
    """
    folder, above = _local_root(spec, absolute=absolute)
    paths = []
    for index, pair in enumerate(spec.paths):
        names = above + _target(spec, pair, index)
        for name in names:
            _refuse_unsafe(name, f"paths[{index}]")
        if len(names) > _DEPTH:
            raise InvalidRequest(f"The destination is more than {_DEPTH} folders deep.", field="paths")
        paths.append(DownloadPath(_source(spec, pair), folder, names))
    return tuple(paths)


def default_title(spec: TransferSpec) -> str:
    """Return the spec's `title`, or the first item's name and how many more there are."""
    if spec.title:
        return spec.title
    first = spec.paths[0]
    name = _basename(first.destination or first.source) or first.source
    more = len(spec.paths) - 1
    return f"{name} and {more} more" if more else name


def set_names(spec: TransferSpec) -> tuple[tuple[str, ...], ...]:
    """Return for each entry of `paths` the names that lead to it from the root of the transferred set.

    With `src_base` these are all names below that, without it the source's own name; () for a source that
    has none ("/"). Patterns are matched against them and moved sources keep them, whatever the target is
    called. Raises InvalidRequest for a source that does not lie below `src_base`.
    """
    return tuple(_set_names(spec, _source(spec, pair), index) for index, pair in enumerate(spec.paths))


def _set_names(spec: TransferSpec, source: str, index: int) -> tuple[str, ...]:
    if spec.src_base:
        return _below_base(source, spec.src_base, index)
    name = _basename(source)
    return () if name is None else (name,)


def _local_root(spec: TransferSpec, *, absolute: bool) -> tuple[str, tuple[str, ...]]:
    if not absolute:
        return "", _destination(spec, spec.destination_root)
    if not spec.destination_root.startswith("/") and not _WINDOWS_PATH.match(spec.destination_root):
        raise InvalidRequest(
            '"destination_root" must be an absolute path when "use_absolute_destination_path" is set.',
            field="destination_root",
        )
    return spec.destination_root, ()


def _source(spec: TransferSpec, pair: PathPair) -> str:
    """Put `source_root` before the source; without one the source is left exactly as it came."""
    if not spec.source_root.strip("/"):
        return pair.source
    return f"{spec.source_root.rstrip('/')}/{pair.source.lstrip('/')}"


def _target(spec: TransferSpec, pair: PathPair, index: int) -> tuple[str, ...]:
    """Return the names of one entry's target below `destination_root`."""
    if pair.destination is not None:
        names = _destination(spec, pair.destination)
        if not names:
            raise InvalidRequest(
                f'"paths[{index}].destination" must end in a name.', field=f"paths[{index}].destination"
            )
        return names
    source = _source(spec, pair)
    if spec.src_base:
        return _below_base(source, spec.src_base, index)
    name = _basename(source)
    if name is None:
        raise InvalidRequest(
            f'"paths[{index}].source" has no name of its own: give a "destination" too.',
            field=f"paths[{index}].source",
        )
    return (name,)


def _below_base(source: str, base: str, index: int) -> tuple[str, ...]:
    parts, start = _split(source), _split(base)
    rest = parts[len(start) :]
    if parts[: len(start)] != start or not rest or any(name in (".", "..") for name in rest):
        raise InvalidRequest(
            f'"paths[{index}].source" does not lie below "src_base".', field=f"paths[{index}].source"
        )
    return rest


def _destination(spec: TransferSpec, text: str) -> tuple[str, ...]:
    """Split a destination; a leading "/" means nothing, and nothing may lead upwards.

    A local destination may not hold a backslash or a drive either, which lead away on Windows.
    """
    names = tuple(name for name in text.split("/") if name not in ("", "."))
    local = spec.direction == "receive"
    if ".." in names and not local:
        raise InvalidRequest('A "destination" must not contain "..".', field="paths")
    if ".." in names or (local and ("\\" in text or any(_DRIVE.match(name) for name in names))):
        raise NotGranted("Choose a folder.", internal_message="the destination leads out of its folder")
    return names


def _refuse_unsafe(name: str, field: str) -> None:
    try:
        safe_component(name.encode("utf-8", "surrogateescape"))
    except UnsafeName as error:
        raise InvalidRequest(error.user_message, field=field) from error


def _basename(path: str) -> str | None:
    """Return the last name of a path; None when it has none of its own ("/", "..", "C:\\")."""
    names = _split(path)
    name = names[-1] if names else "."
    return None if name in (".", "..") or _DRIVE.fullmatch(name) else name


def _split(path: str) -> tuple[str, ...]:
    """Split at "/", and at a backslash in a path that is one of Windows."""
    if _WINDOWS_PATH.match(path):
        path = path.replace("\\", "/")
    return tuple(name for name in path.split("/") if name)
