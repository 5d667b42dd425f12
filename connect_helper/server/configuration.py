"""What the server's configuration file may say: TOML, read once into frozen models, checked key by key.

`examples/server.toml` documents every key. Relative paths are relative to the file's own folder. An unknown
key is an error: a misspelt limit must not be a limit that is not there. Rates are in kbit/s of 1000 bit.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections import Counter
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
from connect_helper.server.ciphers import Cipher
from connect_helper.server.tokens import MIN_KEY_CHARACTERS

Right = Literal["allow", "deny", "token"]
MAX_RATE_KBPS: Final = 100_000_000
_USER_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class ConfigurationInvalid(ConnectHelperError):
    """The configuration cannot be used. `problems` are sentences, each naming its key."""

    code: ClassVar[str] = "configuration_invalid"

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join((f"The configuration {path} cannot be used:", *problems)))
        self.problems = problems


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    if _URL.match(str(path)) or "\0" in str(path):
        raise ValueError("give a path of this machine, as /folder/name")
    try:
        return Path(folder) / path.expanduser()  # a full path stays as it is
    except RuntimeError as error:
        raise ValueError(f"this machine has no user {path.parts[0]}") from error


ConfiguredPath = Annotated[Path, AfterValidator(_resolved)]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port, for tests
Rate = Annotated[int, Field(ge=8, le=MAX_RATE_KBPS)]


def is_key_text(entry: str) -> bool:
    """Tell a public key from the name of a file: every key of RFC 4253 begins, in base64, with AAAA."""
    return " AAAA" in entry.strip()


def is_user_name(text: str) -> bool:
    """Tell whether an account may have this name."""
    return _USER_NAME.fullmatch(text) is not None


def _key_or_file(entry: str, info: ValidationInfo) -> str:
    return entry if is_key_text(entry) else str(_resolved(Path(entry), info))


AuthorizedKey = Annotated[str, AfterValidator(_key_or_file)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSection(_Section):
    """The program as a whole."""

    name: str = Field(
        "",
        description="Host name that transfer specs tell; empty: the name the request came to.",
        examples=["transfer.example.com"],
    )
    state: ConfiguredPath = Field(
        Path("state"),
        validate_default=True,
        description="Folder of the server's own: failed logins, transfer log, control socket.",
    )
    stop_seconds: float = Field(
        30, ge=0, le=3600, description="How long running sessions may take to end when the server stops."
    )


class SshSection(_Section):
    """SSH: SFTP and scp."""

    enabled: bool = Field(True, description="Serve SSH.")
    address: str = Field("", description="Address to listen at; empty: all.", examples=["192.0.2.10"])
    port: Port = Field(33001, description="Port.")
    host_keys: tuple[ConfiguredPath, ...] = Field(
        (), description="Files with the server's private keys.", examples=[["ssh_host_ed25519_key"]]
    )
    login_seconds: float = Field(30, ge=1, le=600, description="Time for a login; then the line is cut.")
    idle_seconds: float = Field(
        900, ge=0, le=86_400, description="A session without a request for so long is closed; 0: never."
    )
    shared_keys: tuple[str, ...] = Field(
        (),
        description="Fingerprints of user keys whose private half is public: refused for users who have "
        "allow in some direction.",
        examples=[["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]],
    )
    aspera_conf_keys: bool = Field(
        False,
        description="Take ~/.ssh/authorized_keys also for users of an aspera.conf who have allow in some "
        "direction: only when no key in there is Aspera's published token key.",
    )


class HttpsSection(_Section):
    """HTTPS: the fallback and the Node API."""

    enabled: bool = Field(True, description="Serve HTTPS.")
    address: str = Field("", description="Address to listen at; empty: all.", examples=["192.0.2.10"])
    port: Port = Field(8443, description="Port.")
    cert: ConfiguredPath | None = Field(
        None, description="Certificate and chain, PEM; may hold the key too.", examples=["certificate.pem"]
    )
    key: ConfiguredPath | None = Field(
        None, description="Private key, PEM; left out: it is in cert.", examples=["certificate.key"]
    )
    lowest_tls: Literal["1.2", "1.3"] = Field("1.2", description="Oldest TLS version that is spoken.")


class HttpSection(_Section):
    """HTTP without encryption: for networks that are trusted, so off unless asked for."""

    enabled: bool = Field(False, description="Serve HTTP.")
    address: str = Field("", description="Address to listen at; empty: all.", examples=["127.0.0.1"])
    port: Port = Field(8080, description="Port.")
    passwords: bool = Field(
        False, description="Take passwords here too; they can be read on the way. Tokens are always taken."
    )


class FallbackSection(_Section):
    """Transfers over HTTP(S) where SSH cannot get through."""

    enabled: bool = Field(True, description="Offer the fallback on the HTTPS and HTTP ports.")
    unfinished_seconds: int = Field(
        7 * 86_400, ge=60, le=366 * 86_400, description="Uploads left alone for so long are removed."
    )
    unfinished_per_account: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Unfinished uploads one account may have. Once half of them are taken, no token goes on "
        "with more than a quarter, or than 65 (a file in parts).",
    )
    idle_seconds: float = Field(
        60,
        ge=1,
        le=3600,
        description="A request whose body brings no byte for so long, or whose answer nobody takes, is "
        "given up.",
    )


class NodeSection(_Section):
    """The Node API."""

    enabled: bool = Field(True, description="Offer the Node API on the HTTPS and HTTP ports.")
    max_response_entries: int = Field(1000, ge=1, le=100_000, description="Entries of one page of a listing.")
    max_response_seconds: float = Field(10, ge=1, le=600, description="A search ends after so long.")
    max_file_create_kb: int = Field(
        4096, ge=1, le=1_000_000, description="Largest file that files/create makes, in kilobytes."
    )


class TokenSection(_Section):
    """Transfer tokens."""

    key: SecretStr | None = Field(
        None,
        description="Key that tokens are sealed with, 20 random characters or more. Whoever has it can make "
        "tokens. Give this or key_file.",
        examples=["use key_file instead, or put random characters here"],
    )
    key_file: ConfiguredPath | None = Field(None, description="File with the key.", examples=["token.key"])
    life_seconds: int = Field(86_400, ge=1, le=366 * 86_400, description="How long a token is good.")
    revocations: ConfiguredPath = Field(
        Path("revoked-tokens"),
        validate_default=True,
        description="List of tokens withdrawn before their time.",
    )

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
    """What the server gives at most."""

    sessions: int = Field(2000, ge=1, le=1_000_000, description="Sessions at once.")
    sessions_per_account: int = Field(
        1000, ge=1, le=1_000_000, description="Sessions of one account at once."
    )
    logins_under_way: int = Field(
        200, ge=1, le=100_000, description="SSH connections at once that have not proved who they are."
    )
    logins_under_way_per_address: int = Field(40, ge=1, le=100_000, description="The same for one address.")
    upload_kbps: Rate | None = Field(
        None, description="All uploads together, kbit/s; left out: no limit.", examples=[1_000_000]
    )
    download_kbps: Rate | None = Field(
        None, description="All downloads together, kbit/s; left out: no limit.", examples=[1_000_000]
    )
    keep_free_percent: float = Field(
        1, ge=0, le=90, description="Share of a disk that uploads leave free, in percent."
    )


class LogSection(_Section):
    """What is written down."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    format: Literal["text", "json"] = Field("text", description="Lines of text, or one JSON object a line.")
    file: ConfiguredPath | None = Field(
        None, description="The log's file; left out: standard error.", examples=["server.log"]
    )
    max_megabytes: int = Field(20, ge=1, le=10_000, description="A log file that large is set aside.")
    keep_files: int = Field(5, ge=0, le=1000, description="Log files set aside that are kept.")
    transfers: bool = Field(
        True, description="Keep transfers.sqlite in the state folder: every session and every file."
    )
    transfers_max_megabytes: int = Field(
        200, ge=1, le=100_000, description="A transfer log that large is set aside."
    )
    transfers_keep_files: int = Field(10, ge=0, le=1000, description="Transfer logs set aside that are kept.")
    transfers_keep_days: int = Field(
        400, ge=1, le=36_500, description="Transfer logs set aside are removed after so many days."
    )


class UserSection(_Section):
    """One account."""

    name: str = Field(description="Login name.", examples=["xfer1"])
    docroot: ConfiguredPath = Field(
        description="The folder the user sees as /; nothing outside it can be reached.",
        examples=["/data/xfer1"],
    )
    password_hash: SecretStr | None = Field(
        None,
        description="What `connect-helper server hash-password` prints; left out: no password.",
        examples=["$argon2id$v=19$m=65536,t=3,p=4$..."],
    )
    authorized_keys: tuple[AuthorizedKey, ...] = Field(
        (), description="Public keys, or files with them.", examples=[["xfer1.pub"]]
    )
    upload: Right = Field("allow", description="Transfers to the server: allow, deny, or token.")
    download: Right = Field("allow", description="Transfers from the server: allow, deny, or token.")
    read: bool = Field(True, description="May files be read at all, by transfers and the Node API.")
    write: bool = Field(True, description="May anything be written at all.")
    browse: bool = Field(True, description="May folders be listed.")
    delete: bool = Field(True, description="May files and folders be deleted.")
    overwrite: Literal["allow", "deny"] = Field("allow", description="May uploads replace files.")
    follow_links: bool = Field(
        True,
        description="Are links that stay inside the docroot followed; if not, nothing is reached by one.",
    )
    make_links: bool = Field(True, description="May symbolic links be made.")
    lowest_cipher: Cipher = Field(
        "none",
        description="Weakest cipher that transfer specs name; with anything but none, plain HTTP is refused.",
    )
    upload_cap_kbps: Rate | None = Field(
        None, description="Upload rate of one session, kbit/s; left out: no limit.", examples=[500_000]
    )
    download_cap_kbps: Rate | None = Field(
        None, description="Download rate of one session, kbit/s; left out: no limit.", examples=[500_000]
    )
    target_rate_kbps: Rate | None = Field(
        None,
        description="Rate that transfer specs name when a request names none, kbit/s.",
        examples=[100_000],
    )
    token_key: SecretStr | None = Field(
        None,
        description="A token key of this user's own, in place of the one in [token].",
        examples=["put random characters here"],
    )
    token_life_seconds: int | None = Field(
        None, ge=1, le=366 * 86_400, description="In place of life_seconds in [token].", examples=[3600]
    )
    user_value: int = Field(0, description="A number of your own, stored in tokens.")
    admin: bool = Field(False, description="May see every session, and the metrics.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not is_user_name(self.name):
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
        times = Counter(user.name for user in self.user)
        twice = sorted(name for name, number in times.items() if number > 1)
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
    return from_mapping(read_toml(path), path)


def read_toml(path: Path) -> dict[str, Any]:
    """What the file says, not yet checked. Raises ConfigurationInvalid."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationInvalid(path, (f"It cannot be read: {error.strerror}.",)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(path, (f"It is not TOML: {error}.",)) from error


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
        what = _plain(one["type"], one["msg"], key)
        yield f"{key}: {what}." if key else f"{what}."


def _key(loc: tuple[int | str, ...], raw: Mapping[str, Any]) -> str:
    """`user[xfer1].upload` for ("user", 0, "upload"): numbers are useless to who wrote the file."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "user" and isinstance(parts[1], int):
        users = raw.get("user")
        user = users[parts[1]] if isinstance(users, list) else None
        name = user.get("name") if isinstance(user, dict) else None
        label = name if isinstance(name, str) and is_user_name(name) else f"number {parts[1] + 1}"
        parts[:2] = [f"user[{label}]"]
    return ".".join(str(part) for part in parts)


def _plain(kind: str, message: str, key: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such key"
        case "tuple_type" if key == "user":
            return "each user begins with [[user]], in double brackets"
        case "tuple_type":
            return 'give a list, as ["one", "two"]'
        case "model_type":
            return f"is a section: [{key}], and below it key = value"
        case _:
            return message.removeprefix("Value error, ")
