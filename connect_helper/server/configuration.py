"""What the server's configuration file may say: TOML, read once into frozen models, checked key by key.

`examples/server.toml` documents every key. Relative paths are relative to the file's own folder. An unknown
key is an error: a misspelt limit must not be a limit that is not there. Rates are in kbit/s of 1000 bit.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from connect_helper.errors import ConnectHelperError
from connect_helper.server.tokens import MIN_KEY_CHARACTERS

Right = Literal["allow", "deny", "token"]
MAX_RATE_KBPS: Final = 100_000_000
_USER_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class ConfigurationInvalid(ConnectHelperError):
    """The configuration cannot be used. `problems` are sentences, each naming its key."""

    code: ClassVar[str] = "configuration_invalid"

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join((f"The configuration {path} cannot be used:", *problems)))
        self.problems = problems


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / path.expanduser()


ConfiguredPath = Annotated[Path, AfterValidator(_resolved)]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port, for tests
Rate = Annotated[int, Field(ge=8, le=MAX_RATE_KBPS)]


def is_key_text(entry: str) -> bool:
    """Tell a public key from the name of a file: every key of RFC 4253 begins, in base64, with AAAA."""
    return " AAAA" in entry.strip()


def _key_or_file(entry: str, info: ValidationInfo) -> str:
    return entry if is_key_text(entry) else str(_resolved(Path(entry), info))


AuthorizedKey = Annotated[str, AfterValidator(_key_or_file)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSection(_Section):
    """`[server]`"""

    name: str = ""  # the host name that transfer specs tell; empty: the name the request came to
    state: ConfiguredPath = Field(Path("state"), validate_default=True)  # our own folder, 0700
    stop_seconds: float = Field(30, ge=0, le=3600)  # how long running sessions may take to end at a stop


class SshSection(_Section):
    """`[ssh]`"""

    enabled: bool = True
    address: str = ""  # empty: all addresses
    port: Port = 33001
    host_keys: tuple[ConfiguredPath, ...] = ()
    login_seconds: float = Field(30, ge=1, le=600)
    idle_seconds: float = Field(900, ge=0)  # a session without a request is closed; 0: never
    shared_keys: tuple[str, ...] = ()  # fingerprints of keys whose private half is public


class HttpsSection(_Section):
    """`[https]`"""

    enabled: bool = True
    address: str = ""
    port: Port = 8443
    cert: ConfiguredPath | None = None  # PEM: certificate and chain, may hold the key too
    key: ConfiguredPath | None = None
    lowest_tls: Literal["1.2", "1.3"] = "1.2"


class HttpSection(_Section):
    """`[http]`: unencrypted, so off unless asked for."""

    enabled: bool = False
    address: str = ""
    port: Port = 8080


class FallbackSection(_Section):
    """`[fallback]`: transfers over HTTP(S) where SSH cannot get through."""

    enabled: bool = True
    unfinished_seconds: int = Field(7 * 86_400, ge=60)  # uploads left alone so long are removed
    unfinished_per_account: int = Field(10_000, ge=1)
    idle_seconds: float = Field(60, ge=1, le=3600)  # a request body without a byte is given up


class NodeSection(_Section):
    """`[node]`: the Node API."""

    enabled: bool = True
    max_response_entries: int = Field(1000, ge=1, le=100_000)
    max_response_seconds: float = Field(10, ge=1, le=600)
    max_file_create_kb: int = Field(4096, ge=1, le=1_000_000)


class TokenSection(_Section):
    """`[token]`"""

    key: SecretStr | None = None
    key_file: ConfiguredPath | None = None
    life_seconds: int = Field(86_400, ge=1, le=366 * 86_400)
    revocations: ConfiguredPath = Field(Path("revoked-tokens"), validate_default=True)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.key is not None and self.key_file is not None:
            raise ValueError("give key or key_file, not both")
        _long_enough(self.key)
        return self

    def secret(self) -> SecretStr | None:
        """The key, read from its file if it has one. Raises OSError, UnicodeDecodeError."""
        if self.key_file is None:
            return self.key
        return SecretStr(self.key_file.read_text(encoding="utf-8").strip("\r\n"))


class LimitsSection(_Section):
    """`[limits]`"""

    sessions: int = Field(2000, ge=1)
    sessions_per_account: int = Field(1000, ge=1)
    logins_under_way: int = Field(200, ge=1)  # connections that have not proved who they are
    logins_under_way_per_address: int = Field(40, ge=1)
    upload_kbps: Rate | None = None  # all sessions together
    download_kbps: Rate | None = None
    keep_free_percent: float = Field(1, ge=0, le=90)  # of the disk: uploads stop before it is full


class LogSection(_Section):
    """`[log]`"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    file: ConfiguredPath | None = None  # none: standard error
    max_megabytes: int = Field(20, ge=1, le=10_000)
    keep_files: int = Field(5, ge=0, le=1000)
    transfers: bool = True  # the transfer log, transfers.sqlite in the state folder
    transfers_max_megabytes: int = Field(200, ge=1, le=100_000)
    transfers_keep_files: int = Field(10, ge=0, le=1000)
    transfers_keep_days: int = Field(400, ge=1)


class UserSection(_Section):
    """One `[[user]]`"""

    name: str
    docroot: ConfiguredPath
    password_hash: SecretStr | None = None  # argon2id, as `server hash-password` prints it
    authorized_keys: tuple[AuthorizedKey, ...] = ()  # public keys, or files with them
    upload: Right = "allow"
    download: Right = "allow"
    read: bool = True
    write: bool = True
    browse: bool = True
    delete: bool = True
    overwrite: Literal["allow", "deny"] = "allow"
    upload_cap_kbps: Rate | None = None  # one session
    download_cap_kbps: Rate | None = None
    target_rate_kbps: Rate | None = None  # told to clients that state no rate
    token_key: SecretStr | None = None
    token_life_seconds: int | None = Field(None, ge=1, le=366 * 86_400)
    user_value: int = 0
    admin: bool = False

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not _USER_NAME.fullmatch(self.name):
            raise ValueError("name: letters, digits and _ . @ + - only, 128 at most")
        if not self.docroot.is_absolute():
            raise ValueError("docroot: give a full path")
        _long_enough(self.token_key)
        return self


class ServerConfig(_Section):
    """The whole file."""

    server: ServerSection = Field(default_factory=lambda: ServerSection())
    ssh: SshSection = SshSection()
    https: HttpsSection = HttpsSection()
    http: HttpSection = HttpSection()
    fallback: FallbackSection = FallbackSection()
    node: NodeSection = NodeSection()
    token: TokenSection = Field(default_factory=lambda: TokenSection())
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()
    user: tuple[UserSection, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [user.name for user in self.user]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"user: the name {twice[0]} is given twice")
        if not (self.ssh.enabled or self.https.enabled or self.http.enabled):
            raise ValueError("ssh, https and http are all switched off: nothing is left to serve")
        if self.https.enabled and self.https.cert is None:
            raise ValueError("https: name the certificate file as cert, or set enabled = false")
        if self.ssh.enabled and not self.ssh.host_keys:
            raise ValueError("ssh: name a private key file in host_keys, or set enabled = false")
        odd = [print_ for print_ in self.ssh.shared_keys if not _FINGERPRINT.fullmatch(print_)]
        if odd:
            raise ValueError("ssh: shared_keys holds SHA256: fingerprints as ssh-keygen -l prints them")
        return self


def _long_enough(key: SecretStr | None) -> None:
    if key is not None and len(key.get_secret_value()) < MIN_KEY_CHARACTERS:
        raise ValueError(f"a token key needs at least {MIN_KEY_CHARACTERS} random characters")


def load(path: Path) -> ServerConfig:
    """Read and check the file. Raises ConfigurationInvalid."""
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigurationInvalid(path, (f"It cannot be read: {error.strerror}.",)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(path, (f"It is not TOML: {error}.",)) from error
    return from_mapping(raw, path)


def from_mapping(raw: Mapping[str, Any], path: Path) -> ServerConfig:
    """Check contents that came from `path`, or would stand there. Raises ConfigurationInvalid."""
    # These two hold paths by default, which are resolved only where a section is validated.
    whole = {"server": {}, "token": {}, **raw}
    try:
        return ServerConfig.model_validate(whole, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise ConfigurationInvalid(path, tuple(_sentences(error, whole))) from error


def readable_by_others(path: Path) -> bool:
    """Tell whether other accounts of this machine can read the file: it may hold token keys."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _sentences(error: ValidationError, raw: Mapping[str, Any]) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False):
        key = _key(one["loc"], raw)
        what = _plain(one["type"], one["msg"])
        yield f"{key}: {what}." if key else f"{what}."


def _key(loc: tuple[int | str, ...], raw: Mapping[str, Any]) -> str:
    """`user[xfer1].upload` for ("user", 0, "upload"): numbers are useless to who wrote the file."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "user" and isinstance(parts[1], int):
        users = raw.get("user")
        user = users[parts[1]] if isinstance(users, list) else None
        name = user.get("name") if isinstance(user, dict) else None
        label = name if isinstance(name, str) and _USER_NAME.fullmatch(name) else f"number {parts[1] + 1}"
        parts[:2] = [f"user[{label}]"]
    return ".".join(str(part) for part in parts)


def _plain(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key"
    return message.removeprefix("Value error, ")
