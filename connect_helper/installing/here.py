"""The plan for this system."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from connect_helper.installing import linux, macos, windows
from connect_helper.installing.steps import Plan
from connect_helper.settings import HOME_VARIABLE


def plan_here(environment: Mapping[str, str] = os.environ, *, platform: str = sys.platform) -> Plan:
    """What is to be made here. Where CONNECT_HELPER_HOME is set, what is installed keeps to it."""
    chosen = environment.get(HOME_VARIABLE)
    home = Path(chosen).expanduser().absolute() if chosen else None
    if platform == "darwin":
        return macos.plan(Path.home(), home)
    if platform == "win32":
        return windows.plan(home)
    return linux.plan(linux.Surroundings.from_environment(environment), home)
