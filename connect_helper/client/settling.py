"""How a transfer of the user's own is to be done: the options of `send` and `receive`, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict

from pydantic import SecretStr, ValidationError

from connect_helper.client.results import Progress, Receipt
from connect_helper.errors import InvalidRequest
from connect_helper.spec.patterns import compile_rules
from connect_helper.spec.sessions import MOST_SESSIONS
from connect_helper.spec.times import Moment, check_moments
from connect_helper.transfers.plan import Policies

DEFAULT_RETRIES: Final = 10
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?", re.ASCII)


class Options(TypedDict, total=False):
    """Keyword arguments of `send`, `receive`, `asend` and `areceive`; each may be left out.

    - `password`: of the user on the server. Also what a token is given as.
    - `key`: path of a private key file, OpenSSH or PEM; `key_passphrase` opens it.
    - `host_key`: "known" (only servers accepted before; the default), "accept-new" (a server never seen is
      trusted and remembered, a changed key refused), or the fingerprint the server must show, "SHA256:...".
    - `rate_kbps`: limit in kbit/s of 1000 bit; no limit by default.
    - `connections`: exactly so many to the server, 1 to 128; as many as help by default.
    - `policies`: how files are treated, a `Policies` or a mapping of its fields.
    - `retries`: fruitless tries in a row before a lost connection is given up, 10 by default; 0: none.
    - `on_progress`: called some four times a second with a `Progress`.
    - `on_file`: called with the `Receipt` of each file that ended.
    - `check`: raise TransferFailed when not every file arrived (the default), or return the `Result`.
    """

    password: str | None
    key: str | os.PathLike[str] | None
    key_passphrase: str | None
    host_key: str
    rate_kbps: int | None
    connections: int | None
    policies: Policies | Mapping[str, Any]
    retries: int
    on_progress: Callable[[Progress], None] | None
    on_file: Callable[[Receipt], None] | None
    check: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of the options that shapes the plan, checked."""

    password: SecretStr | None = None
    private_key: SecretStr | None = field(default=None, repr=False)
    key_passphrase: SecretStr | None = None
    accept_new: bool = False
    sshfp: str | None = None
    rate_kbps: int | None = None
    connections: int | None = None
    policies: Policies = field(default_factory=Policies)
    retries: int = DEFAULT_RETRIES


def settle(options: Options) -> Settings:
    """Check the options and read the key file. Blocks. Raises InvalidRequest naming the option."""
    host_key = options.get("host_key", "known")
    if host_key not in ("known", "accept-new") and not _FINGERPRINT.fullmatch(host_key):
        raise InvalidRequest(
            '"host_key" must be "known", "accept-new" or a fingerprint such as "SHA256:...".',
            field="host_key",
        )
    password, key = options.get("password"), options.get("key")
    return Settings(
        password=_secret(password),
        private_key=None if key is None else read_key(Path(key)),
        key_passphrase=_secret(options.get("key_passphrase")),
        accept_new=host_key == "accept-new",
        sshfp=host_key if host_key.startswith("SHA256:") else None,
        rate_kbps=_at_least(options.get("rate_kbps"), 1, "rate_kbps"),
        connections=_connections(options.get("connections")),
        policies=_policies(options.get("policies")),
        retries=_at_least(options.get("retries", DEFAULT_RETRIES), 0, "retries") or 0,
    )


def read_key(path: Path) -> SecretStr:
    """Return the text of a private key file. Raises InvalidRequest."""
    try:
        return SecretStr(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"The key file {path} cannot be read: {error.strerror}.", field="key") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no private key in OpenSSH or PEM form.", field="key") from None


def _secret(text: str | None) -> SecretStr | None:
    return None if text is None else SecretStr(text)


def _at_least(value: int | None, least: int, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidRequest(f'"{name}" must be a whole number, {least} or more.', field=name)
    return value


def _connections(given: int | None) -> int | None:
    if given is not None and _at_least(given, 1, "connections") not in range(1, MOST_SESSIONS + 1):
        raise InvalidRequest(f'"connections" must be at most {MOST_SESSIONS}.', field="connections")
    return given


def _policies(given: Policies | Mapping[str, Any] | None) -> Policies:
    policies = _read_policies(given)
    compile_rules(policies.include_patterns, policies.exclude_patterns)
    check_moments(_moment(policies.newer_than_s), _moment(policies.older_than_s))
    return policies


def _moment(seconds: float | None) -> Moment | None:
    return None if seconds is None else Moment(seconds)


def _read_policies(given: Policies | Mapping[str, Any] | None) -> Policies:
    if given is None or isinstance(given, Policies):
        return given or Policies()
    try:
        return Policies.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f'"{name}": {first["msg"]}.', field=name) from None
