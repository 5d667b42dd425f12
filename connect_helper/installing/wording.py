"""Steps as people read them, contents included."""

from __future__ import annotations

import json
from typing import assert_never

from connect_helper.installing.steps import (
    Applet,
    DefaultHandler,
    RegistryTree,
    RegistryValue,
    Step,
    Symlink,
    Tell,
    TextFile,
)


def shown(step: Step) -> str:
    """What a step makes: its place, then its content, indented."""
    match step:
        case TextFile():
            return f"file  {step.path}\n{_indented(step.text)}"
        case Symlink():
            return f"link  {step.path}\n{_indented(str(step.target))}"
        case DefaultHandler():
            lines = (f"{kind}={step.entry};..." for kind in step.kinds)
            return f"first in  {step.path}\n{_indented(chr(10).join(lines))}"
        case Applet():
            info = json.dumps(step.info, indent=2)
            return f"applet  {step.path}\n{_indented(step.script)}\n{_indented(info)}"
        case RegistryTree():
            return f"registry  HKEY_CURRENT_USER\\{step.key}\n{_indented(json.dumps(step.values, indent=2))}"
        case RegistryValue():
            return f"registry  HKEY_CURRENT_USER\\{step.key}\n{_indented(f'{step.name} = {step.value}')}"
        case Tell():
            return f"then  {step.program} {' '.join(step.arguments)}"
        case _:
            assert_never(step)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())
