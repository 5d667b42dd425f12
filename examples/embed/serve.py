"""Serves the example page, the script and a transfer spec. Python's standard library is enough.

    python3 examples/embed/serve.py ana@files.example.org:22 /incoming

A real site makes the spec in its own server in the same way, after it has checked who is asking.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
FILES = {
    "/": (HERE / "index.html", "text/html; charset=utf-8"),
    "/connect.js": (HERE.parents[1] / "web" / "sdk" / "connect.js", "text/javascript; charset=utf-8"),
}
USAGE = "Usage: serve.py USER@HOST[:PORT] REMOTE-FOLDER     (SERVE_PORT: port of this page, default 8000)"


def upload_spec(server: str, folder: str) -> dict[str, object]:
    """The transfer spec for sending into `folder` of `server`; the page adds what the user picks.

    There is no password in it: the helper asks the user. Set `remote_password`, `ssh_private_key` or
    `token` here if your server knows them, and `sshfp` to pin the server's key.
    """
    user, _, address = server.rpartition("@")
    host, _, port = address.partition(":")
    return {
        "direction": "send",
        "remote_host": host,
        "ssh_port": int(port or 22),
        "remote_user": user,
        "destination_root": folder,
        "create_dir": True,
    }


class Site(BaseHTTPRequestHandler):
    """The site: two files and one spec."""

    spec: dict[str, object] = {}  # noqa: RUF012 - set once, before the server starts

    def do_GET(self) -> None:
        path, kind = FILES.get(self.path, (None, ""))
        if path is None:
            self.send_error(404)
        else:
            self._answer(path.read_bytes(), kind)

    def do_POST(self) -> None:
        # The Host check keeps out names that were made to point to this computer.
        host, port = self.connection.getsockname()
        if self.path != "/upload-spec" or self.headers["Host"] != f"{host}:{port}":
            self.send_error(404)
        else:
            self._answer(json.dumps(self.spec).encode(), "application/json")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    if len(sys.argv) != 3 or "@" not in sys.argv[1]:
        sys.exit(USAGE)
    Site.spec = upload_spec(sys.argv[1], sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("SERVE_PORT", "8000"))), Site)
    print(
        f"Open http://127.0.0.1:{server.server_port}/ with connect-helper running; Ctrl-C ends.", flush=True
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
