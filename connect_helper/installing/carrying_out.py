"""Carries plans out and takes them back. Nothing without our mark is replaced or removed."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, assert_never

from connect_helper.errors import Unavailable
from connect_helper.installing.mimeapps import with_default, without_default
from connect_helper.installing.registry import Registry, own_registry
from connect_helper.installing.steps import (
    MARK,
    Applet,
    DefaultHandler,
    Plan,
    RegistryTree,
    RegistryValue,
    Step,
    Symlink,
    Tell,
    TextFile,
)
from connect_helper.picking.programs import PROGRAM_FOLDERS, find_program
from connect_helper.settings import write_private

_MARK_NAME: Final = "ConnectHelperNote"
_PROGRAM_LIMIT_S: Final = 30.0
_FOREIGN: Final = "it was not made by connect-helper"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one step."""

    what: Literal["made", "unchanged", "removed", "left alone"]
    where: str
    why: str = ""


@dataclass(slots=True)
class Installer:
    """`record` is a file of ours that keeps which folders and lists did not exist before."""

    record: Path
    registry: Registry | None = field(default_factory=own_registry)
    find: Callable[[str, tuple[str, ...]], str | None] = lambda name, folders: find_program(
        name, (*folders, *PROGRAM_FOLDERS)
    )
    _made: set[str] = field(default_factory=set)

    def install(self, plan: Plan) -> list[Done]:
        """Make what is missing or has changed.

        Raises Unavailable: before anything is made when something of others is in the way, or for a folder
        that cannot be written to.
        """
        for step in plan.steps:
            _refuse_foreign(step)
        self._made = self._remembered()
        try:
            return self._install(plan)
        except OSError as error:
            raise _cannot(error) from error
        finally:  # half an installation can be taken back as well
            write_private(self.record, json.dumps(sorted(self._made)) + "\n")

    def _install(self, plan: Plan) -> list[Done]:
        done = [one for step in plan.instead if (one := self._undo(step)).what == "removed"]
        done += [self._do(step) for step in plan.steps if not isinstance(step, Tell)]
        if any(one.what != "unchanged" for one in done):
            for step in plan.steps:
                if isinstance(step, Tell):
                    self._tell(step, step.arguments)
        return done

    def uninstall(self, plan: Plan) -> list[Done]:
        """Remove everything that an installation may have made and that still bears its mark.

        Raises Unavailable when something cannot be removed; what is left can be removed later.
        """
        try:
            return self._uninstall(plan)
        except OSError as error:
            raise _cannot(error) from error

    def _uninstall(self, plan: Plan) -> list[Done]:
        self._made = self._remembered()
        done = [self._undo(step) for step in plan.everything if not isinstance(step, Tell)]
        if any(one.what == "removed" for one in done):
            for step in plan.everything:
                if isinstance(step, Tell) and step.undo:
                    self._tell(step, step.undo)
        for path in sorted(map(Path, self._made), reverse=True):  # what lies below comes first
            _remove_if_empty(path)
        self.record.unlink(missing_ok=True)
        return [one for one in done if one.what != "unchanged"]

    def _remembered(self) -> set[str]:
        try:
            found = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        return {path for path in found if isinstance(path, str)} if isinstance(found, list) else set()

    def _do(self, step: Step) -> Done:
        match step:
            case TextFile():
                return self._write(step.path, step.text)
            case Symlink():
                return self._link(step)
            case DefaultHandler():
                before = _read(step.path)
                after = with_default(before or "", step.entry, step.kinds)
                if before is None:
                    self._made.add(str(step.path))
                return self._write(step.path, after)
            case Applet():
                return self._compile(step)
            case RegistryTree():
                return _write_tree(self._registry(), step)
            case RegistryValue():
                before = self._registry().read(step.key, step.name)
                self._registry().write(step.key, step.name, step.value)
                return Done("unchanged" if before == step.value else "made", rf"{step.key}\{step.name}")
            case Tell():
                raise AssertionError("programs are told at the end")
            case _:
                assert_never(step)

    def _undo(self, step: Step) -> Done:
        match step:
            case TextFile() | Symlink() | Applet():
                return _remove(step)
            case DefaultHandler():
                before = _read(step.path)
                after = without_default(before or "", step.entry, step.kinds)
                if before is None or after == before:
                    return Done("unchanged", str(step.path))
                self._write(step.path, after)
                return Done("removed", f"{step.entry} in {step.path}")
            case RegistryTree():
                return _delete_tree(self._registry(), step)
            case RegistryValue():
                where = rf"{step.key}\{step.name}"
                if self._registry().read(step.key, step.name) is None:
                    return Done("unchanged", where)
                self._registry().delete_value(step.key, step.name)
                return Done("removed", where)
            case Tell():
                return Done("unchanged", step.program)
            case _:
                assert_never(step)

    def _registry(self) -> Registry:
        if self.registry is None:
            raise Unavailable("This system has no registry.")
        return self.registry

    def _write(self, path: Path, text: str) -> Done:
        path = path.resolve()  # a list of default programs may be a link into somebody's own collection
        if _read(path) == text:
            return Done("unchanged", str(path))
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        self._make_folders(path.parent)
        write_private(path, text, errors="surrogateescape")
        if mode is not None:
            path.chmod(mode)
        return Done("made", str(path))

    def _link(self, step: Symlink) -> Done:
        if step.path.is_symlink():
            return Done("unchanged", str(step.path))
        self._make_folders(step.path.parent)
        step.path.symlink_to(step.target)
        return Done("made", str(step.path))

    def _make_folders(self, folder: Path) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700)  # as the XDG base directory specification has it
            self._made.add(str(one))

    def _compile(self, step: Applet) -> Done:
        """Compile anew: the compiler's output differs from run to run."""
        compiler = self.find("osacompile", ())
        if compiler is None:
            raise Unavailable("osacompile is missing; it is a part of macOS.")
        self._make_folders(step.path.parent)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "links.applescript"
            source.write_text(step.script, encoding="utf-8")
            _run([compiler, "-o", str(step.path), str(source)])
        info = step.path / "Contents" / "Info.plist"
        info.write_bytes(plistlib.dumps({**plistlib.loads(info.read_bytes()), **step.info}))
        signer = self.find("codesign", ())
        if signer is not None:  # the change of Info.plist broke the signature of the compiler
            _run([signer, "--force", "--sign", "-", str(step.path)])
        return Done("made", str(step.path))

    def _tell(self, step: Tell, arguments: Iterable[str]) -> None:
        program = self.find(step.program, step.folders)
        if program is not None:
            _run([program, *arguments], must=False)


def _cannot(error: OSError) -> Unavailable:
    return Unavailable(f"{error.filename} cannot be changed: {error.strerror}.", internal_message=str(error))


def _run(argv: list[str], *, must: bool = True) -> None:
    try:
        subprocess.run(  # noqa: S603 - a program of the system by its full path
            argv,
            check=must,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROGRAM_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        if must:
            raise Unavailable(f"{Path(argv[0]).name} failed.", internal_message=str(error)) from error


def _read(path: Path) -> str | None:
    """The text of a file, whatever its encoding; None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.") from error


def _is_ours(step: TextFile | Symlink | Applet) -> bool:
    if isinstance(step, Symlink):
        return step.path.is_symlink() and step.path.readlink() == step.target
    if step.path.is_symlink():
        return False
    marked = step.path / "Contents" / "Info.plist" if isinstance(step, Applet) else step.path
    try:
        return MARK.encode() in marked.read_bytes()
    except OSError:
        return False


def _refuse_foreign(step: Step) -> None:
    """Raise Unavailable for something of others where ours is to be."""
    if isinstance(step, TextFile | Symlink | Applet) and os.path.lexists(step.path) and not _is_ours(step):
        raise Unavailable(f"{step.path} is in the way: {_FOREIGN}. Move it away and try again.")


def _remove(step: TextFile | Symlink | Applet) -> Done:
    where = str(step.path)
    if not os.path.lexists(step.path):
        return Done("unchanged", where)
    if not _is_ours(step):
        return Done("left alone", where, _FOREIGN)
    if isinstance(step, Applet):
        shutil.rmtree(step.path)
    else:
        step.path.unlink()
    return Done("removed", where)


def _remove_if_empty(path: Path) -> None:
    """What did not exist before the installation goes again, unless others have put something in."""
    try:
        if path.is_dir():
            path.rmdir()
        elif path.stat().st_size == 0:
            path.unlink()
    except OSError:
        return


def _is_our_tree(registry: Registry, step: RegistryTree) -> bool:
    """Whether it bears our mark; earlier versions set it on a key below."""
    return any(registry.read(_below(step.key, key), _MARK_NAME) == MARK for key in ("", *step.values))


def _write_tree(registry: Registry, step: RegistryTree) -> Done:
    if registry.has(step.key) and not _is_our_tree(registry, step):
        return Done("left alone", step.key, _FOREIGN)
    wanted = {(_below(step.key, key), name): value for key, values in step.values.items()
              for name, value in values.items()} | {(step.key, _MARK_NAME): MARK}  # fmt: skip
    changed = {place: value for place, value in wanted.items() if registry.read(*place) != value}
    for (key, name), value in changed.items():
        registry.write(key, name, value)
    return Done("made" if changed else "unchanged", step.key)


def _delete_tree(registry: Registry, step: RegistryTree) -> Done:
    if not registry.has(step.key):
        return Done("unchanged", step.key)
    if not _is_our_tree(registry, step):
        return Done("left alone", step.key, _FOREIGN)
    registry.delete_tree(step.key)
    return Done("removed", step.key)


def _below(key: str, name: str) -> str:
    return rf"{key}\{name}" if name else key
