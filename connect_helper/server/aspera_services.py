"""The services of an aspera.conf: its Node API (`server`) and its HTTP fallback (`http_server`).

Here one HTTPS port serves both. A service that the file switches off is off; one that it does not speak of is
left to server.toml. Source: Aspera server configuration reference, sections 3.7 and 3.8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from connect_helper.server import aspera_values as values
from connect_helper.server.aspera_tree import leaves

Warn = Callable[[str, str], None]
_NODE_PORT: Final = 9092
_FALLBACK_PORTS: Final = {"http": 8080, "https": 8443}
_TLS_VERSIONS: Final = {"tlsv1.2": "1.2", "tlsv1.3": "1.3"}
_EVERYWHERE: Final = (None, "", "*", "0.0.0.0", "::")  # noqa: S104 - read, not listened at
_WEB: Final = ("HttpFallback", "HttpFallbackPort", "HttpsFallbackPort")
_READ: Final = {
    "server": frozenset(
        {
            "server_name", "listen", "ssh_port", "ssh_host_key_path", "enable_http", "http_port",
            "enable_https", "https_port", "cert_file", "key_file", "chain_file", "ssl_protocol",
            "max_response_entries", "max_response_time_sec", "max_request_file_create_size_kb",
        }
    ),
    "http_server": frozenset(
        {
            "enable_http", "http_port", "enable_https", "https_port", "bind_address", "cert_file", "key_file",
            "session_activity_timeout", "mgmt_address",
        }
    ),
}  # fmt: skip
# Said in the file, but as it is here anyway.
_SAME_HERE: Final = {
    "server/wss_enabled": False,
    "http_server/restartable_transfers": True,
    "http_server/persistent_connection": True,
}


class _Section:
    """Leaves of one section, converted; what cannot be read is warned of and left out."""

    def __init__(self, root: Element, name: str, warn: Warn) -> None:
        self._element = root.find(name)
        self._name = name
        self._warn = warn

    def text(self, name: str) -> str | None:
        found = "" if self._element is None else (self._element.findtext(name) or "").strip()
        return found if found.casefold() not in ("", "undefined") else None

    def switch(self, name: str) -> bool | None:
        """None when nothing is said; what cannot be read switches nothing on."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return values.boolean(text)
        except values.NotAValue as error:
            self._warn(f"{self._name}/{name}", f"{error}: taken as false.")
            return False

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        return self._converted(name, values.number, lowest, highest)

    def seconds(self, name: str, lowest: int, highest: int) -> int | None:
        return self._converted(name, values.duration, lowest, highest)

    def port(self, name: str) -> int | None:
        return self.number(name, 1, 65535)

    def _converted(
        self, name: str, read_as: Callable[[str], int | None], lowest: int, highest: int
    ) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = read_as(text)
        except values.NotAValue:
            value = None
        if value is None or not lowest <= value <= highest:
            self._warn(f"{self._name}/{name}", f"not a number from {lowest} to {highest}: not used.")
            return None
        return value


@dataclass(frozen=True, slots=True)
class _Door:
    """Where a service with TLS listens. `address` None: everywhere."""

    port: int
    address: str | None


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
        max_response_seconds=node.seconds("max_response_time_sec", 1, 600),
        max_file_create_kb=node.number("max_request_file_create_size_kb", 1, 1_000_000),
    )
    _idle(raw, fallback, warn)
    _https(raw, node, fallback, warn)
    _http(root, raw, fallback, warn)
    _warn_of_the_rest(root, warn)


def _idle(raw: dict[str, Any], fallback: _Section, warn: Warn) -> None:
    idle = fallback.seconds("session_activity_timeout", 0, 3600)
    if idle == 0:
        idle = 3600
        warn("http_server/session_activity_timeout", "never is not supported: taken as 3600.")
    _put(raw, "fallback", idle_seconds=idle)


def _https(raw: dict[str, Any], node: _Section, fallback: _Section, warn: Warn) -> None:
    """One port for both services: the fallback's where that is on, else the Node API's."""
    door = _node_door(raw, node, warn)
    if fallback.switch("enable_https"):
        port = fallback.port("https_port") or _FALLBACK_PORTS["https"]
        address, source = fallback.text("bind_address"), fallback
        if door is not None and door.address not in _EVERYWHERE and door.address != address:
            _put(raw, "node", enabled=False)
            warn(
                "server/listen", f"the fallback's port {port} is open to more addresses: the Node API is off."
            )
        elif door is not None and door.port != port:
            warn("server/https_port", f"the Node API is on the fallback's port here, {port}.")
    elif door is not None:
        port, address, source = door.port, door.address, node
    else:
        return
    cert = source if source.text("cert_file") else node
    _put(
        raw, "https", enabled=True, port=port, address=address,
        cert=cert.text("cert_file"), key=cert.text("key_file"), lowest_tls=_lowest_tls(node, warn),
    )  # fmt: skip
    if cert.text("cert_file") is None:
        section = "http_server" if source is fallback else "server"
        warn(f"{section}/cert_file", "names no certificate: that of server.toml is used.")
    elif cert is fallback and node.text("cert_file") not in (None, fallback.text("cert_file")):
        warn("server/cert_file", "the Node API has the fallback's certificate here.")
    if cert is node and node.text("chain_file") is not None:
        warn("server/chain_file", "not supported; add what is in it to the end of the file that cert names.")


def _node_door(raw: dict[str, Any], node: _Section, warn: Warn) -> _Door | None:
    """Where the Node API listens with TLS. None: not at all, or the file does not speak of it."""
    if node.text("listen") is not None:
        return _listed_door(raw, node.text("listen") or "", warn)
    plain, secure = node.switch("enable_http"), node.switch("enable_https")
    if plain:
        warn("server/enable_http", "passwords would go unencrypted: not taken over.")
    elif secure is False:
        _put(raw, "node", enabled=False)
    spoken_of = secure or node.text("https_port") is not None or node.text("cert_file") is not None
    return _Door(node.port("https_port") or _NODE_PORT, None) if spoken_of and secure is not False else None


def _listed_door(raw: dict[str, Any], text: str, warn: Warn) -> _Door | None:
    """The first entry with TLS of `listen`, a list of [address:]port[s], which outdoes the other settings."""
    doors: list[_Door] = []
    for entry in filter(None, (one.strip() for one in text.split(","))):
        address, _, port = entry.rpartition(":")
        number = port.removesuffix("s")
        if not number.isascii() or not number.isdecimal() or not 0 < int(number) <= 65535:
            warn("server/listen", "holds something that is no port: that entry is not used.")
        elif port == number:
            warn("server/listen", f"passwords would go unencrypted at port {number}: not taken over.")
        else:
            doors.append(_Door(int(number), address.strip("[]") or None))
    if not doors:
        _put(raw, "node", enabled=False)
        warn("server/listen", "names no port with TLS: the Node API is off.")
        return None
    if len(doors) > 1:
        warn("server/listen", f"one port is supported, the first: {doors[0].port}.")
    return doors[0]


def _lowest_tls(node: _Section, warn: Warn) -> str | None:
    text = node.text("ssl_protocol")
    if text is None:
        return None
    version = _TLS_VERSIONS.get(text.casefold())
    if version is None:
        warn("server/ssl_protocol", "neither tlsv1.2 nor tlsv1.3: not used.")
    return None if version == "1.2" else version


def _http(root: Element, raw: dict[str, Any], fallback: _Section, warn: Warn) -> None:
    enabled, secure = fallback.switch("enable_http"), fallback.switch("enable_https")
    port = fallback.port("http_port")
    legacy = root.find("WEB")
    if legacy is not None and enabled is None and secure is None:
        enabled = _attribute(legacy, "HttpFallback").casefold() in ("yes", "true", "1")
        port = _legacy_port(legacy, "HttpFallbackPort", warn) or port
        _legacy_https(raw, _legacy_port(legacy, "HttpsFallbackPort", warn) if enabled else None, warn)
    elif legacy is not None:
        warn("WEB", "http_server says it too, and that counts.")
    if enabled:
        _put(
            raw, "http",
            enabled=True, port=port or _FALLBACK_PORTS["http"], address=fallback.text("bind_address"),
        )  # fmt: skip
        if secure is False and "https" in raw:
            warn("http_server/enable_https", "the fallback is offered with TLS too where the Node API is.")
    elif not secure and (enabled, secure) != (None, None):
        _put(raw, "fallback", enabled=False)


def _legacy_https(raw: dict[str, Any], port: int | None, warn: Warn) -> None:
    if port is None:
        return
    if raw.get("https", {}).get("port", port) != port:
        warn("WEB[HttpsFallbackPort]", f"the fallback is on the Node API's port, {raw['https']['port']}.")
    else:
        _put(raw, "https", enabled=True, port=port)


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
        told: set[str] = set()
        for found in leaves(element, ""):
            name = found.where.lstrip("/")
            if name in told:
                warn(f"{section}/{name}", "stands there more than once; the first one counts.")
            elif name not in known and not _same_here(f"{section}/{name}", found.text):
                warn(f"{section}/{name}", "not supported.")
            told.add(name)
    legacy = root.find("WEB")
    for name in () if legacy is None else legacy.keys():
        if name not in _WEB:
            warn(f"WEB[{name}]", "not supported.")


def _same_here(path: str, text: str) -> bool:
    try:
        return values.boolean(text) is _SAME_HERE.get(path)
    except values.NotAValue:
        return False
