"""How the system is to start this program: by the interpreter that runs it now, cut off from what is around.

Nothing of the folder it happens to start in, of PYTHON variables or of start-up files of the user's own is
let in: what is started at every login must be what was installed.
"""

from __future__ import annotations

import site
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = Path(__file__).parents[1]


def command(*arguments: str, home: Path | None = None, windowless: bool = False) -> list[str]:
    """The command line for `arguments`, such as "run"; `home` as CONNECT_HELPER_HOME.

    `windowless` takes the interpreter that opens no console on Windows.
    """
    verb, *others = arguments
    place = ["--home", str(home.absolute())] if home else []
    return [interpreter(windowless=windowless), *isolation(), "-m", "connect_helper", verb, *place, *others]


def interpreter(*, windowless: bool = False) -> str:
    """The interpreter's path as it stands: following its links would leave the virtual environment."""
    quiet = Path(sys.executable).with_name("pythonw.exe")
    return str(quiet) if windowless and quiet.exists() else sys.executable


def isolation(package: Path = PACKAGE) -> list[str]:
    """`-I`; for a package in the user's own site-packages, which `-I` leaves out, all of it but that."""
    own = site.getusersitepackages()
    return ["-E", "-P"] if package.is_relative_to(own) else ["-I"]


def detached(*, errors: bool = False) -> dict[str, Any]:
    """Options for `subprocess.Popen`: a process that outlives this one and has no terminal.

    `errors` leaves it the standard error of this one.
    """
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": Path(sys.executable).anchor}
    if not errors:
        options["stderr"] = subprocess.DEVNULL
    if sys.platform == "win32":
        options["creationflags"] = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        options["start_new_session"] = True
    return options
