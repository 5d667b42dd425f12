"""The program as it is once installed: compiled, so that no start of it is spent on that.

A checkout has no bytecode at first, and where Python was told to write none (PYTHONDONTWRITEBYTECODE) each
start compiles everything again, for a quarter of a second.
"""

from __future__ import annotations

import compileall
from pathlib import Path

PACKAGES = ("connect_helper", "benchmarks")


def compile_all() -> None:
    """Compile what the processes to be measured load of this project. Raises RuntimeError."""
    folder = Path(__file__).parent.parent
    for name in PACKAGES:
        if not compileall.compile_dir(folder / name, quiet=1):
            raise RuntimeError(f"{name} cannot be compiled")
