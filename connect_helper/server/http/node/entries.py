"""Entry objects: how a file, folder or link is described (reference, section 4.3).

    {"path", "basename", "type": "file"|"directory"|"symbolic_link", "size", "mtime",
     "permissions": [{"name"}], "target": the same for what a link leads to}

Names that are no UTF-8 travel as lone surrogates, so that a path can be sent back as it came.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from connect_helper.errors import UnsafePath
from connect_helper.server.access import Access
from connect_helper.storage.docpath import ROOT, DocPath, absolute, parse
from connect_helper.storage.docroot import Docroot

_KINDS: Final = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic_link"}
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def kind_of(facts: os.stat_result) -> str | None:
    """The entry's type; None for devices, pipes and sockets, which are not shown."""
    return _KINDS.get(stat.S_IFMT(facts.st_mode))


def text_of(path: DocPath) -> str:
    """The path as clients write it, beginning with `/`."""
    return absolute(path).decode("utf-8", "surrogateescape")


def time_text(seconds: float) -> str:
    """UTC, whole seconds, `2026-02-26T17:20:11Z`; times no calendar has become the nearest one."""
    moment = datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def permissions(access: Access, path: DocPath) -> list[dict[str, str]]:
    """What the account may do with what lies at `path`; its own folder it cannot delete."""
    account = access.account
    may_delete = account.may_delete and path != ROOT
    held = {"view": account.may_browse, "edit": account.may_write, "delete": may_delete}
    return [{"name": name} for name, may in held.items() if may]


def entry(
    docroot: Docroot, access: Access, path: DocPath, facts: os.stat_result, *, with_target: bool = True
) -> dict[str, Any]:
    """Describe what `facts` (of lstat) say lies at `path`. Blocking for links."""
    kind = kind_of(facts)
    described: dict[str, Any] = {
        "path": text_of(path),
        "basename": text_of(path[-1:])[1:] if path else "/",
        "type": kind,
        "size": 0 if kind == "directory" else facts.st_size,
        "mtime": time_text(facts.st_mtime),
        "permissions": permissions(access, path),
    }
    if kind == "symbolic_link" and with_target:
        with suppress(OSError, UnsafePath):  # it leads nowhere, or out: then there is no target to show
            target = parse(docroot.readlink(path), base=path[:-1])
            facts = docroot.stat(path)
            if kind_of(facts) is not None:
                described["target"] = entry(docroot, access, target, facts, with_target=False)
    return described
