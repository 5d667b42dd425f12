"""The services of an aspera.conf: its Node API (`server`) and its HTTP fallback (`http_server`).

Here one HTTPS port serves both. Source: Aspera server configuration reference, sections 3.7 and 3.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element

from connect_helper.server import aspera_values as values
from connect_helper.server.aspera_tree import leaves

Warn = Callable[[str, str], None]
_READ: Final = {
    "server": frozenset(
        {
            "server_name", "ssh_port", "ssh_host_key_path", "enable_http", "http_port", "enable_https",
            "https_port", "cert_file", "key_file", "ssl_protocol", "max_response_entries",
            "max_response_time_sec", "max_request_file_create_size_kb",
        }
    ),
    "http_server": frozenset(
        {
            "enable_http", "http_port", "enable_https", "https_port", "bind_address", "cert_file", "key_file",
            "session_activity_timeout", "mgmt_address", "listen_backlog", "persistent_connection",
        }
    ),
}  # fmt: skip


class _Section:
    """Leaves of one section, converted; what cannot be read is warned of and left out."""

    def __init__(self, root: Element, name: str, warn: Warn) -> None:
        self._element = root.find(name)
        self._name = name
        self._warn = warn

    def text(self, name: str) -> str | None:
        found = "" if self._element is None else (self._element.findtext(name) or "").strip()
        return found or None

    def boolean(self, name: str, default: bool) -> bool:
        """A switch; what cannot be read switches nothing on."""
        text = self.text(name)
        if text is None:
            return default
        try:
            return values.boolean(text)
        except values.NotAValue as error:
            self._warn(f"{self._name}/{name}", f"{error}: taken as false.")
            return False

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = values.duration(text)
        except values.NotAValue:
            value = -1
        if not lowest <= value <= highest:
            self._warn(f"{self._name}/{name}", f"not a number from {lowest} to {highest}: not used.")
            return None
        return value

    def port(self, name: str) -> int | None:
        return self.number(name, 1, 65535)


def read_services(root: Element, raw: dict[str, Any], warn: Warn) -> None:
    """Put the sections [server], [ssh], [https], [http], [fallback] and [node] into `raw`."""
    node, fallback = _Section(root, "server", warn), _Section(root, "http_server", warn)
    _put(raw, "server", name=node.text("server_name"))
    key = node.text("ssh_host_key_path")
    _put(raw, "ssh", port=node.port("ssh_port"), host_keys=None if key is None else [key])
    _put(
        raw,
        "node",
        max_response_entries=node.number("max_response_entries", 1, 100_000),
        max_response_seconds=node.number("max_response_time_sec", 1, 600),
        max_file_create_kb=node.number("max_request_file_create_size_kb", 1, 1_000_000),
    )
    idle = fallback.number("session_activity_timeout", 0, 3600)
    _put(raw, "fallback", idle_seconds=3600 if idle == 0 else idle)
    _https(raw, node, fallback, warn)
    _http(root, raw, node, fallback, warn)
    _warn_of_the_rest(root, warn)


def _https(raw: dict[str, Any], node: _Section, fallback: _Section, warn: Warn) -> None:
    node_on = node.boolean("enable_https", True) and node.text("cert_file") is not None
    fallback_on = fallback.boolean("enable_https", False)
    source = fallback if fallback_on else node
    cert = source.text("cert_file") or node.text("cert_file")
    if not (node_on or fallback_on):
        return
    _put(
        raw,
        "https",
        enabled=True,
        port=(fallback.port("https_port") or 8443) if fallback_on else (node.port("https_port") or 9092),
        address=fallback.text("bind_address") if fallback_on else None,
        cert=cert,
        key=source.text("key_file") if source.text("cert_file") else node.text("key_file"),
        lowest_tls="1.3" if node.text("ssl_protocol") == "tlsv1.3" else None,
    )
    if cert is None:
        warn("http_server/cert_file", "names no certificate; give one as cert in the section https.")
    if node_on and fallback_on and (node.port("https_port") or 9092) != raw["https"]["port"]:
        warn("server/https_port", f"the Node API is on the fallback's port here, {raw['https']['port']}.")


def _http(root: Element, raw: dict[str, Any], node: _Section, fallback: _Section, warn: Warn) -> None:
    legacy = root.find("WEB")
    enabled = fallback.boolean("enable_http", False)
    port = fallback.port("http_port")
    if legacy is not None and fallback.text("enable_http") is None:
        enabled = _attribute(legacy, "HttpFallback").casefold() in ("yes", "true", "1")
        port = _legacy_port(legacy, "HttpFallbackPort", warn)
        secure = _legacy_port(legacy, "HttpsFallbackPort", warn)
        if enabled and secure is not None and "https" not in raw:
            _put(raw, "https", enabled=True, port=secure)
    if not enabled and node.boolean("enable_http", False):
        warn(
            "server/enable_http",
            "passwords would go unencrypted: not taken over.",
        )
    if enabled:
        _put(raw, "http", enabled=True, port=port or 8080, address=fallback.text("bind_address"))


def _attribute(element: Element, name: str) -> str:
    return element.get(name, "").strip()


def _legacy_port(element: Element, name: str, warn: Warn) -> int | None:
    text = _attribute(element, name)
    if not text:
        return None
    if text.isascii() and text.isdecimal() and 0 < int(text) <= 65535:
        return int(text)
    warn(f"WEB[{name}]", "not a port: not used.")
    return None


def _put(raw: dict[str, Any], section: str, **found: object) -> None:
    told = {name: value for name, value in found.items() if value is not None}
    if told:
        raw.setdefault(section, {}).update(told)


def _warn_of_the_rest(root: Element, warn: Warn) -> None:
    for section, known in _READ.items():
        element = root.find(section)
        if element is None:
            continue
        for found in leaves(element, ""):
            if found.where.lstrip("/") not in known:
                warn(f"{section}{found.where}", "not supported.")
