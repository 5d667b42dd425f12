"""Where a server's settings come from: server.toml, and an aspera.conf where there is one. Blocking.

What server.toml says wins. Users of both are put together; of two with one name, server.toml's holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connect_helper.server.aspera_conf import convert
from connect_helper.server.configuration import ServerConfig, from_mapping, read_toml, readable_by_others


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, and what of an aspera.conf it leaves out."""

    config: ServerConfig
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The files to read, at the start and again at a reload."""

    toml: Path
    aspera_conf: Path | None = None

    def read(self) -> Settings:
        """Raises ConfigurationInvalid and AsperaConfUnreadable."""
        raw = read_toml(self.toml)
        if self.aspera_conf is None:
            return Settings(from_mapping(raw, self.toml), ())
        ssh = raw.get("ssh")
        trust_keys = isinstance(ssh, dict) and ssh.get("aspera_conf_keys") is True
        taken = convert(self.aspera_conf, trust_keys=trust_keys)
        warnings = [f"{self.aspera_conf}: {warning}" for warning in taken.warnings]
        if any("token_key" in user for user in taken.raw["user"]) and readable_by_others(self.aspera_conf):
            warnings.append(f"{self.aspera_conf} holds token keys and can be read by other accounts.")
        return Settings(from_mapping(merged(raw, taken.raw), self.toml), tuple(warnings))


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Both together, key by key; ours win."""
    whole: dict[str, Any] = dict(ours)
    for name, section in theirs.items():
        mine = ours.get(name, {})
        if name != "user" and isinstance(mine, dict):
            # A key belongs to its certificate.
            others = {key: one for key, one in section.items() if key != "key" or "cert" not in mine}
            whole[name] = {**others, **mine}
    users = ours.get("user", [])
    if isinstance(users, list):
        known = {user.get("name") for user in users if isinstance(user, dict)}
        whole["user"] = [*users, *(user for user in theirs.get("user", []) if user["name"] not in known)]
    return whole
