"""The page that uses the official Connect SDK, and a server to try it with; see README.md.

The SDK is IBM's and comes from npm: from this repository's own node_modules when it is there, else it is
fetched into one beside this file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from examples.parts.site import main  # noqa: E402 - after the path to it

SDK = Path("node_modules/@ibm-aspera/connect-sdk-js/dist/js/connect-sdk.js")
VERSION = "5.0.3"


def sdk() -> Path:
    """The SDK's script, fetched when it is not here yet."""
    for folder in (ROOT, HERE):
        if (folder / SDK).exists():
            return folder / SDK
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("The Connect SDK comes from npm, and npm is not here. Install Node.js first.")
    package = f"@ibm-aspera/connect-sdk-js@{VERSION}"
    print(f"Fetching {package} ...", flush=True)
    options = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run([npm, "install", "--prefix", HERE, *options, package], check=True)
    return HERE / SDK


if __name__ == "__main__":
    main(HERE, {"/examples/connect-sdk/connect-sdk.js": sdk()})
