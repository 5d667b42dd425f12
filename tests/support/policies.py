"""Both directions of one policy: a tree on one side, a session, and what the other side has then."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from connect_helper.transfers.messages import Ended, FileReport
from connect_helper.transfers.plan import Download, Upload
from tests.support.sessions import Listener, download, plan_for, run, upload
from tests.support.sshd import SshServer

Way = Literal["send", "receive"]


@dataclass
class Trip:
    """One way between two folders; `source` and `target` are folders on the two sides' disks."""

    sshd: SshServer
    way: Way
    source: Path
    target: Path
    resume: Path
    listener: Listener = field(default_factory=Listener)

    def item(self, name: str, *, as_name: str = "") -> Upload | Download:
        """The item that takes `source/name` to `target/as_name`."""
        if self.way == "send":
            return upload(self.source / name, self.target / (as_name or name))
        return download(self.source / name, self.target, as_name or name)

    async def go(self, *names: str, items: list[Any] | None = None, **changes: Any) -> Ended:
        """Run one session for `names` (or `items`); `changes` as in `plan_for`."""
        self.listener = Listener()
        wanted = items or [self.item(name) for name in names]
        return await run(plan_for(self.sshd, wanted, self.resume, **changes), self.listener)

    def reports(self) -> dict[str, FileReport]:
        return self.listener.files()


def tree(folder: Path) -> dict[str, str]:
    """Every name below a folder: text of files, "-> ..." of links, "/" of folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text(errors="replace")
    return found


def plant(folder: Path, *names: str) -> None:
    """Make files whose text is their own name; a name that ends in "/" is an empty folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_text(name)
