"""Windows: values below HKEY_CURRENT_USER. Pure; `carrying_out` writes them.

Source: Microsoft, "Registering an application to a URI scheme" and "Default programs".
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from connect_helper.installing.program import command
from connect_helper.installing.steps import Plan, RegistryTree, RegistryValue
from connect_helper.spec.launch_links import SCHEMES

NAME: Final = "connect-helper"
LINK_CLASS: Final = r"Software\Classes\connect-helper.link"
OWN: Final = r"Software\connect-helper"
CAPABILITIES: Final = rf"{OWN}\Capabilities"


def plan(home: Path | None) -> Plan:
    """The kind of link, what it opens, which schemes are of that kind, and the start at login."""
    run = subprocess.list2cmdline(command("run", home=home, windowless=True))
    # The system puts the link in for %1 as it came: quoted, and behind the end of all options.
    opening = subprocess.list2cmdline(command("open-link", "--", home=home, windowless=True)) + ' "%1"'
    opens = {r"shell\open\command": {"": opening}}
    return Plan(
        (
            RegistryTree(LINK_CLASS, {"": {"": "connect-helper link", "URL Protocol": ""}, **opens}),
            RegistryTree(
                OWN,
                {
                    "Capabilities": {
                        "ApplicationName": NAME,
                        "ApplicationDescription": "Moves files for web pages",
                    },
                    r"Capabilities\URLAssociations": dict.fromkeys(SCHEMES, "connect-helper.link"),
                },
            ),
            RegistryValue(r"Software\RegisteredApplications", NAME, CAPABILITIES),
            *(
                RegistryTree(
                    rf"Software\Classes\{scheme}", {"": {"": f"URL:{scheme}", "URL Protocol": ""}, **opens}
                )
                for scheme in SCHEMES
            ),
            RegistryValue(r"Software\Microsoft\Windows\CurrentVersion\Run", NAME, run),
        )
    )
