"""macOS: a launch agent, and a small program of AppleScript, since links come as events and not as arguments.

Sources: launchd.plist(5), osacompile(1), Apple's reference of CFBundleURLTypes.
"""

from __future__ import annotations

import os
import plistlib
from pathlib import Path
from typing import Final

from connect_helper.installing.program import command
from connect_helper.installing.steps import MARK, Applet, Plan, Tell, TextFile
from connect_helper.spec.launch_links import SCHEMES

LABEL: Final = "org.connect-helper.helper"
MARK_KEY: Final = "ConnectHelperNote"
_REGISTER: Final = (
    "/System/Library/Frameworks/CoreServices.framework/Frameworks/LaunchServices.framework/Support"
)


def plan(user_home: Path, home: Path | None, *, uid: int | None = None) -> Plan:
    """`user_home` is the folder with Library and Applications."""
    agent = user_home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    applet = user_home / "Applications" / "connect-helper links.app"
    domain = f"gui/{os.getuid() if uid is None else uid}"
    return Plan(
        (
            TextFile(agent, _agent(home)),
            Tell(
                "launchctl",
                ("bootstrap", domain, str(agent)),
                undo=("bootout", f"{domain}/{LABEL}"),
            ),
            Applet(applet, script(home), _info()),
            Tell("lsregister", ("-f", str(applet)), undo=("-u", str(applet)), folders=(_REGISTER,)),
        )
    )


def _agent(home: Path | None) -> str:
    agent = {
        MARK_KEY: MARK,
        "Label": LABEL,
        "ProgramArguments": command("run", home=home),
        "RunAtLoad": True,
        "KeepAlive": {"Crashed": True},  # ended by the user, it stays ended
        "ProcessType": "Interactive",
        "LimitLoadToSessionType": "Aqua",
    }
    return plistlib.dumps(agent).decode()


def script(home: Path | None) -> str:
    """The applet's source. The link reaches the shell as one quoted word and never as source."""
    words = ' & " " & '.join(
        f"quoted form of {_literal(word)}" for word in command("open-link", "--", home=home)
    )
    return f"""on open location theLink
	do shell script {words} & " " & quoted form of theLink & " >/dev/null 2>&1 &"
end open location
"""


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _info() -> dict[str, object]:
    return {
        MARK_KEY: MARK,
        "CFBundleIdentifier": "org.connect-helper.links",
        "CFBundleName": "connect-helper links",
        "LSUIElement": True,  # no icon in the Dock for the moment it runs
        "CFBundleURLTypes": [
            {"CFBundleURLName": "connect-helper links", "CFBundleURLSchemes": list(SCHEMES)},
        ],
    }
