"""Paths of a transfer spec turned into places on this machine that the user gave to the caller."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from connect_helper.api.sites import Sites
from connect_helper.consent.grants import Found
from connect_helper.consent.origins import Scope
from connect_helper.errors import NotGranted, TargetDenied
from connect_helper.settings import PreferencesStore
from connect_helper.spec.names import display
from connect_helper.spec.paths import download_targets, set_names, upload_targets
from connect_helper.spec.protection import opened_name
from connect_helper.spec.transfer_spec import TransferSpec
from connect_helper.transfers.plan import Download, Item, LocalRef, SessionPlan, Upload

CHOOSE_AGAIN = "Choose the file again."
CHOOSE_FOLDER = "Choose a folder."
_NAMES_SHOWN = 3


class Places:
    """Looks places up; knows the grants and the download folder."""

    def __init__(self, sites: Sites, preferences: PreferencesStore) -> None:
        self._sites = sites
        self._preferences = preferences

    def granted(self, scope: Scope, path: str) -> Found:
        """The grant that covers `path`, without touching the file system.

        Raises NotGranted, with one text whatever the reason.
        """
        found = self._sites.find(scope, path)
        if found is None or found.grant.kind == "save":
            raise NotGranted(CHOOSE_AGAIN)
        return found

    def uploads(self, scope: Scope, spec: TransferSpec) -> tuple[tuple[Upload, ...], str]:
        """The items of an upload and the path that "show in folder" opens. Raises NotGranted."""
        names = set_names(spec)
        items = tuple(
            Upload(
                source=_ref(self.granted(scope, entry.source)),
                target=entry.remote,
                set_names=names[index],
                base=len(names[index]) if spec.src_base else 0,
            )
            for index, entry in enumerate(upload_targets(spec))
        )
        return items, full_path(items[0].source)

    async def downloads(
        self, scope: Scope, spec: TransferSpec, *, absolute: bool
    ) -> tuple[tuple[Download, ...], str]:
        """The items of a download and the path that "show in folder" opens.

        Raises NotGranted for a destination that climbs out or that no dialog gave, TargetDenied when
        the download folder cannot be used.
        """
        entries = download_targets(spec, absolute=absolute)
        items: list[Download] = []
        root = None if absolute else await asyncio.to_thread(self._download_root)
        for entry, names in zip(entries, set_names(spec), strict=True):
            if root is not None:
                item = Download(source=entry.source, root=root, target=entry.target, granted=False)
            else:
                found = self._sites.find_destination(scope, entry.folder, entry.target)
                if found is None:
                    raise NotGranted(CHOOSE_FOLDER)
                item = _download_to(entry.source, found)
            base = len(names) if spec.src_base else 0
            items.append(item.model_copy(update={"set_names": names, "base": base}))
        first = items[0]
        return tuple(items), str(Path(first.root.path, *first.target))

    def move_folder(self, scope: Scope, path: str) -> LocalRef:
        """A local folder that sources are to be moved to afterwards. Raises NotGranted."""
        found = self.granted(scope, path)
        if found.grant.kind != "folder":
            raise NotGranted(CHOOSE_FOLDER)
        return _ref(found)

    def _download_root(self) -> LocalRef:
        folder = self._preferences.download_folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            real = folder.resolve(strict=True)
            facts = real.stat()
        except OSError as error:
            raise TargetDenied(
                f"The download folder cannot be used ({error.strerror}). Choose another in the preferences.",
            ) from error
        return LocalRef(path=str(real), device=facts.st_dev, inode=facts.st_ino)

    def still_granted(self, scope: Scope, plan: SessionPlan) -> None:
        """Look up anew what dialogs and drops gave for a transfer: its sources, or where it writes.

        Raises NotGranted when something was taken back, or was given in an earlier run of the helper.
        """
        for item in plan.items:
            if isinstance(item, Upload):
                self.granted(scope, full_path(item.source))
            elif item.granted and self._sites.find_destination(scope, item.root.path, item.target) is None:
                raise NotGranted(CHOOSE_FOLDER)
        if plan.afterwards.move_root is not None:
            self.move_folder(scope, full_path(plan.afterwards.move_root))

    async def describe(self, items: Sequence[Item]) -> str:
        """ "3 files, 1.2 GB" as the question to the user says it; folders are not walked for it."""
        if all(isinstance(item, Download) for item in items):
            count = len(items)
            if count == 1:
                source = items[0].source
                name = source.rstrip("/").rsplit("/", 1)[-1] if isinstance(source, str) else ""
                return f"“{display(name, 60)}”"
            return f"{count} items"
        sources = [full_path(item.source) for item in items if isinstance(item, Upload)]
        return await asyncio.to_thread(_count, sources)

    def shown_names(self, items: Sequence[Item]) -> str:
        """Names of what is sent, the first few, safe to show."""
        names = [Path(full_path(item.source)).name for item in items if isinstance(item, Upload)]
        shown = ", ".join(display(name, 60) for name in names[:_NAMES_SHOWN])
        more = len(names) - _NAMES_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown

    def shown_destination(self, items: Sequence[Item]) -> str:
        """The local folder downloads go to, safe to show."""
        first = items[0]
        if not isinstance(first, Download):
            return ""
        return display(str(Path(first.root.path, *first.target[:-1])))

    async def existing_targets(self, items: Sequence[Item], *, opened: bool = False) -> list[str]:
        """Names of download targets that exist now, safe to show; `opened`: what arrives is decrypted."""
        targets = [Path(item.root.path, *item.target) for item in items if isinstance(item, Download)]
        if opened:
            targets = [_opened(target) for target in targets]
        return await asyncio.to_thread(
            lambda: [display(target.name) for target in targets if target.is_symlink() or target.exists()]
        )


def _opened(target: Path) -> Path:
    name = opened_name(os.fsencode(target.name))
    return target if name is None else target.with_name(os.fsdecode(name))


def full_path(ref: LocalRef) -> str:
    """The local path a reference stands for."""
    return str(Path(ref.path, *ref.below))


def _download_to(source: str, found: Found) -> Download:
    """A download into a granted folder, or onto the one file a save dialog gave."""
    grant = found.grant
    saved = grant.kind == "save"
    folder = str(Path(grant.path).parent) if saved else grant.path
    root = LocalRef(path=folder, device=grant.device, inode=grant.inode)
    return Download(source=source, root=root, target=(grant.name,) if saved else found.below)


def _ref(found: Found) -> LocalRef:
    grant = found.grant
    return LocalRef(path=grant.path, device=grant.device, inode=grant.inode, below=found.below)


def _count(paths: Sequence[str]) -> str:
    files, folders, size = 0, 0, 0
    for text in paths:
        try:
            facts = Path(text).lstat()
        except OSError:  # the transfer itself will say so
            files += 1
            continue
        if Path(text).is_dir():
            folders += 1
        else:
            files += 1
            size += facts.st_size
    parts = []
    if folders:
        parts.append("1 folder" if folders == 1 else f"{folders} folders")
    if files:
        parts.append(f"{'1 file' if files == 1 else f'{files} files'} ({readable_size(size)})")
    return " and ".join(parts)


def readable_size(size: int) -> str:
    """Bytes in decimal units, as disks and networks are sold: "1.2 GB"."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
