"""How a transfer of the user's own is to be done: the options of `send` and `receive`, read once.

What a transfer spec has a word for is checked by the rules for specs, so that both refuse the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypedDict

from pydantic import SecretStr, ValidationError

from connect_helper.client.results import Progress, Receipt
from connect_helper.errors import InvalidRequest
from connect_helper.spec.aftermath import Aftermath, parse_aftermath
from connect_helper.spec.mirror import check_surplus
from connect_helper.spec.patterns import compile_rules
from connect_helper.spec.protection import Protection, parse_protection
from connect_helper.spec.rates import requested_rate_kbps
from connect_helper.spec.remote_address import from_login, is_remote
from connect_helper.spec.sessions import MOST_SESSIONS, parse_sessions
from connect_helper.spec.times import Moment, check_moments, parse_duration
from connect_helper.spec.words import Direction, flag, rate_number
from connect_helper.transfers.plan import Afterwards, Policies
from connect_helper.transfers.retry import RetryRules

DEFAULT_RETRIES: Final = 10
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?", re.ASCII)


class Options(TypedDict, total=False):
    """Keyword arguments of `send`, `receive`, `asend` and `areceive`; each may be left out.

    - `password`: of the user on the server. Also what a token is given as.
    - `key`: path of a private key file, OpenSSH or PEM; `key_passphrase` opens it.
    - `host_key`: "known" (only servers accepted before; the default), "accept-new" (a server never seen is
      trusted and remembered, a changed key refused), or the fingerprint the server must show, "SHA256:...".
    - `rate_kbps`: limit in kbit/s of 1000 bit; no limit by default. Where `target_rate_cap_kbps` is given
      too, the lower one counts.
    - `connections`: exactly so many to the server, 1 to 128; as many as help by default.
    - `multi_session_threshold`: smaller files, in bytes, stay on one connection each; 0: all do.
    - `policies`: how files are treated, a `Policies` or a mapping of its fields.
    - `remove_after_transfer`: delete each source file once it arrived; with `remove_skipped` also those that
      were there already. `remove_empty_directories` and `remove_empty_source_directory` delete folders that
      are empty then, below the sources and the sources themselves. `delete_source` stands for all three.
    - `move_after_transfer`: a folder to move source files to instead: local for `send`, on the server for
      `receive`, each on the same disk as the sources.
    - `obfuscate_file_names`: `send` only; files get random names on the server, and nothing leads back.
    - `content_protection`: "encrypt" for `send`, "decrypt" for `receive`, with the
      `content_protection_passphrase`. With `fail_bad_filepass` a wrong one ends the transfer, not the file.
    - `retries`: fruitless tries in a row before a lost connection is given up, 10 by default; 0: none.
    - `retry_duration`: no try later than this after the last progress, in seconds or as "5min".
    - `on_progress`: called some four times a second with a `Progress`.
    - `on_file`: called with the `Receipt` of each file that ended.
    - `check`: raise TransferFailed when not every file arrived (the default), or return the `Result`.
    """

    password: str | None
    key: str | os.PathLike[str] | None
    key_passphrase: str | None
    host_key: str
    rate_kbps: int | None
    target_rate_cap_kbps: int | None
    connections: int | None
    multi_session_threshold: int | None
    policies: Policies | Mapping[str, Any]
    remove_after_transfer: bool
    remove_skipped: bool
    move_after_transfer: str | os.PathLike[str] | None
    remove_empty_directories: bool
    remove_empty_source_directory: bool
    delete_source: bool | None
    obfuscate_file_names: bool
    content_protection: str | None
    content_protection_passphrase: str | None
    fail_bad_filepass: bool
    retries: int
    retry_duration: float | str | None
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
    divide_from: int | None = None  # bytes, as in SessionPlan
    policies: Policies = field(default_factory=Policies)
    wishes: Aftermath = field(default_factory=Aftermath)  # for the sources
    afterwards: Afterwards = field(default_factory=Afterwards)  # the same, once the folders were looked at
    hide_names: bool = False
    protection: Protection = field(default_factory=Protection)
    retries: int = DEFAULT_RETRIES
    retry_for_s: float | None = None  # after the last progress; None: no such limit

    @property
    def retry_rules(self) -> RetryRules:
        return RetryRules(enabled=self.retries > 0, tries=self.retries, total_s=self.retry_for_s)


def settle(options: Options, direction: Direction) -> Settings:
    """Check the options and read the key file. Blocks. Raises InvalidRequest naming the option.

    A passphrase that content protection lacks is for the caller to ask for or to refuse.
    """
    _check_names(options)
    host_key = options.get("host_key", "known")
    if host_key not in ("known", "accept-new") and not _FINGERPRINT.fullmatch(host_key):
        raise InvalidRequest(
            '"host_key" must be "known", "accept-new" or a fingerprint such as "SHA256:...".',
            field="host_key",
        )
    password, key = options.get("password"), options.get("key")
    passphrase = options.get("key_passphrase")
    policies = _policies(options.get("policies"))
    wishes, hide_names = _wishes(options, direction), _hide_names(options, direction)
    if policies.delete_first:
        check_surplus(wishes, hidden_names=hide_names, field="delete_first")
    return Settings(
        password=None if password is None else secret(password, "password"),
        private_key=None if key is None else read_key(Path(key)),
        key_passphrase=None if passphrase is None else secret(passphrase, "key_passphrase"),
        accept_new=host_key == "accept-new",
        sshfp=host_key if host_key.startswith("SHA256:") else None,
        rate_kbps=_rate_kbps(options),
        connections=_connections(options.get("connections")),
        divide_from=parse_sessions(
            {"multi_session_threshold": options.get("multi_session_threshold")}
        ).threshold,
        policies=policies,
        wishes=wishes,
        hide_names=hide_names,
        protection=_protection(options, direction),
        retries=_at_least(options.get("retries", DEFAULT_RETRIES), 0, "retries") or 0,
        retry_for_s=parse_duration(options, "retry_duration"),
    )


def _check_names(options: Options) -> None:
    """Refuse what is no option: ignored, a slip of the pen would have files replaced that were to stay."""
    for name in options:
        if name in Policies.model_fields:
            raise InvalidRequest(f'"{name}" is one of the "policies": give it there.', field=name)
        if name not in Options.__annotations__:
            raise InvalidRequest(f'"{name}" is no argument of send and receive.', field=name)


def read_key(path: Path) -> SecretStr:
    """Return the text of a private key file. Raises InvalidRequest."""
    try:
        return SecretStr(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"The key file {path} cannot be read: {error.strerror}.", field="key") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no private key in OpenSSH or PEM form.", field="key") from None


def secret(text: str, name: str) -> SecretStr:
    """Keep a secret from being shown. Raises InvalidRequest for text that no server could be given."""
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: bytes of a file or a terminal in another encoding
        raise InvalidRequest(f'"{name}" must be UTF-8 text.', field=name) from None
    return SecretStr(text)


def _at_least(value: int | None, least: int, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidRequest(f'"{name}" must be a whole number, {least} or more.', field=name)
    return value


def _rate_kbps(options: Options) -> int | None:
    given = {
        "rate_kbps": options.get("rate_kbps"),
        "target_rate_cap_kbps": options.get("target_rate_cap_kbps"),
    }
    rate, cap = (rate_number(_at_least(value, 1, name), name) for name, value in given.items())
    return requested_rate_kbps({"target_rate_kbps": rate, "target_rate_cap_kbps": cap})


def _connections(given: int | None) -> int | None:
    if given is not None and _at_least(given, 1, "connections") not in range(1, MOST_SESSIONS + 1):
        raise InvalidRequest(f'"connections" must be at most {MOST_SESSIONS}.', field="connections")
    return given


def _wishes(options: Options, direction: Direction) -> Aftermath:
    given = options.get("move_after_transfer")
    folder = None if given is None else os.fspath(given)
    if folder is not None and (not folder or is_remote(folder)):
        where = "here" if direction == "send" else "on the server, without its address"
        raise InvalidRequest(
            f'"move_after_transfer" must be the path of a folder {where}.', field="move_after_transfer"
        )
    wishes = parse_aftermath({**options, "move_after_transfer": folder})
    if direction == "receive" and wishes.move_to:
        return replace(wishes, move_to=from_login(wishes.move_to) or ".")
    return wishes


def _hide_names(options: Options, direction: Direction) -> bool:
    hides = flag(options, "obfuscate_file_names")
    if hides and direction == "receive":
        raise InvalidRequest(
            '"obfuscate_file_names" is for send: received files keep their names.',
            field="obfuscate_file_names",
        )
    return hides


def _protection(options: Options, direction: Direction) -> Protection:
    """What a spec passes over in silence, for its page may serve both directions, is a mistake here."""
    protection = parse_protection(options, direction)
    if options.get("content_protection_passphrase") == "":
        raise InvalidRequest(
            '"content_protection_passphrase" is empty: it would protect nothing.',
            field="content_protection_passphrase",
        )
    if protection.action is not None:
        return protection
    if options.get("content_protection") in ("encrypt", "decrypt"):
        fitting = '"encrypt"' if direction == "send" else '"decrypt"'
        raise InvalidRequest(
            f'"content_protection" can only be {fitting} for {direction}.', field="content_protection"
        )
    if options.get("content_protection_passphrase") is not None or protection.strict:
        name = "fail_bad_filepass" if protection.strict else "content_protection_passphrase"
        raise InvalidRequest(f'"{name}" needs "content_protection".', field=name)
    return protection


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
