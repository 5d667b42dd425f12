"""A server's configuration on disk, for what reads it without a running server."""

from __future__ import annotations

from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = KEY[::-1]


def write_config(folder: Path, *, life_s: int = 3600) -> Path:
    """A configuration with three users: anna (token), ben (own key), cleo (no upload)."""
    docroot = folder / "files"
    docroot.mkdir(exist_ok=True)
    users = {
        "anna": 'upload = "token"\ndownload = "token"\nuser_value = 42\ndownload_cap_kbps = 80000',
        "ben": f'token_key = "{OTHER_KEY}"\ntoken_life_seconds = 60',
        "cleo": 'upload = "deny"',
    }
    sections = "\n".join(
        f'[[user]]\nname = "{name}"\ndocroot = "{docroot}"\n{more}\n' for name, more in users.items()
    )
    path = folder / "server.toml"
    path.write_text(
        f"[ssh]\nenabled = false\n[https]\nenabled = false\n[http]\nenabled = true\n"
        f'[token]\nkey = "{KEY}"\nlife_seconds = {life_s}\n{sections}'
    )
    return path
