"""The page that speaks JSON-RPC by hand, and a server to try it with; see README.md."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from examples.parts.site import main  # noqa: E402 - after the path to it

if __name__ == "__main__":
    main(HERE)
