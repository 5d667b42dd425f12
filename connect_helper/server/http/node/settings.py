"""What the Node API must know of the server it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UDP_PORT: Final = 33001  # clients ask for the number; nothing of ours listens there
WSS_PORT: Final = 9093  # told beside `wss_enabled`, which says that nothing listens there either


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """`None` for a port: that service is off. Made anew at a reload of the configuration."""

    node_id: str  # a UUID that stays
    server_name: str = ""  # what specs tell as remote_host; empty: the name the request came to
    ssh_port: int | None
    https_port: int | None
    http_port: int | None
    fallback: bool = True
    sshfp: str | None = None  # SHA-256 of the only host key; None where there are several
    max_response_entries: int = 1000
    max_response_s: float = 10
    max_file_create_kb: int = 4096
    keep_free_percent: float = 0.0  # of the disk

    def fallback_port(self, cipher: str) -> int | None:
        """The port where transfers with that cipher fall back to; None: they cannot (configuration, 4.2)."""
        if not self.fallback:
            return None
        return self.http_port if cipher == "none" else self.https_port
