"""What a configuration names, looked at: files, folders, keys. For `server check` and every start."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from connect_helper.server.accounts import Account, UnusableAccount, accounts_of
from connect_helper.server.configuration import HttpsSection, ServerConfig, readable_by_others
from connect_helper.server.places import place_problems, place_warnings
from connect_helper.server.tokens import TokenAuthority, WeakKey


@dataclass(frozen=True, slots=True)
class Findings:
    """Sentences. With a problem the server does not start."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def examine(config: ServerConfig, path: Path) -> Findings:
    """Look at everything that a server with this configuration would open."""
    problems = [*_host_key_problems(config), *_certificate_problems(config), *place_problems(config)]
    accounts: tuple[Account, ...] = ()
    try:
        accounts = tuple(accounts_of(config))
    except UnusableAccount as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"token.key_file: {config.token.key_file} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        problems.append(f"token.key_file: {config.token.key_file} is not text in UTF-8.")
    for account in accounts:
        problems.extend(_account_problems(account))
    warnings = [*_file_warnings(config, path), *_service_warnings(config), *place_warnings(config)]
    own = _own_files(config, path)
    for account in accounts:
        warnings.extend(_account_warnings(account, own))
    return Findings(tuple(problems), tuple(warnings))


def tls_context(section: HttpsSection) -> ssl.SSLContext:
    """The TLS side of the HTTPS port. Raises OSError, ssl.SSLError and ValueError."""
    if section.cert is None:
        raise ValueError("no certificate is named")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if section.lowest_tls == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.load_cert_chain(section.cert, section.key, password=_no_passphrase)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_passphrase() -> str:
    # Without this, OpenSSL asks for it at the terminal, and a service waits for ever.
    raise ValueError("the key is protected by a passphrase; take that off with openssl pkey")


def _host_key_problems(config: ServerConfig) -> Iterator[str]:
    if not config.ssh.enabled:
        return
    for file in config.ssh.host_keys:
        try:
            asyncssh.read_private_key(file)
        except (OSError, asyncssh.KeyImportError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            yield f"ssh.host_keys: {file} cannot be used: {reason}."


def _certificate_problems(config: ServerConfig) -> Iterator[str]:
    if not config.https.enabled:
        return
    for name, file in (("cert", config.https.cert), ("key", config.https.key)):
        try:
            if file is not None:
                file.open("rb").close()
        except OSError as error:
            yield f"https.{name}: {file} cannot be read: {error.strerror}."
            return
    try:
        tls_context(config.https)
    except ssl.SSLError as error:
        reason = (
            "the key is not that of the certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "they need a certificate and its private key, in PEM"
        )
        yield f"https.cert, https.key: {reason}."
    except (OSError, ValueError) as error:
        yield f"https.cert, https.key: {error}."


def _account_problems(account: Account) -> Iterator[str]:
    where = f"user[{account.name}]"
    try:
        if not account.docroot.is_dir():
            yield f"{where}.docroot: {account.docroot} is not a folder. Make it, or name another."
    except OSError as error:
        yield f"{where}.docroot: {account.docroot} cannot be reached: {error.strerror}."
    if account.token_key is None:
        if "token" in (account.upload, account.download):
            yield f"{where}: needs a token in some direction, but there is no token key; set one in [token]."
        return
    try:
        TokenAuthority(account.token_key.get_secret_value())
    except WeakKey as error:
        yield f"{where}: {error.user_message}"


def _account_warnings(account: Account, own: list[Path]) -> Iterator[str]:
    where = f"user[{account.name}]"
    if account.password_hash is None and not account.authorized_keys and account.token_key is None:
        yield f"{where}: has no password, no key and no token key, so nobody can log in."
    if account.lowest_cipher in ("aes-192", "aes-256"):
        yield (
            f"{where}.lowest_cipher: specs name {account.lowest_cipher} and plain HTTP is refused, but SSH "
            "and TLS may agree on a key of 128 bits."
        )
    if account.docroot == Path("/"):
        yield f"{where}.docroot: is the whole file system."
        return
    docroot = account.docroot.resolve()
    exposed = next((file for file in own if file.is_relative_to(docroot)), None)
    if exposed is not None:
        yield (
            f"{where}.docroot: holds {exposed}, so this user can read or replace what the server lives by; "
            "keep them apart."
        )


def _own_files(config: ServerConfig, path: Path) -> list[Path]:
    """What decides about who gets in, links resolved."""
    listed = [*_secret_files(config, path), config.server.state, config.token.revocations]
    return [file.resolve() for file in listed]


def _secret_files(config: ServerConfig, path: Path) -> list[Path]:
    more = (config.https.key, config.token.key_file)
    return [path, *config.ssh.host_keys, *(file for file in more if file is not None)]


def _file_warnings(config: ServerConfig, path: Path) -> Iterator[str]:
    for file in _secret_files(config, path):
        try:
            if readable_by_others(file):
                yield f"{file} holds secrets and can be read by other accounts; chmod 600 it."
        except OSError:
            continue  # said elsewhere, as a problem


def _service_warnings(config: ServerConfig) -> Iterator[str]:
    if config.http.enabled:
        yield "http: is enabled; what goes over it, tokens and files, can be read on the way."
        if config.http.passwords:
            yield "http.passwords: is on; passwords can be read on the way. Use HTTPS for the Node API."
        elif config.node.enabled and not config.https.enabled:
            yield (
                "node: is offered over plain HTTP only, where no passwords are taken, so nobody can call it; "
                "enable https, or set http.passwords = true where the network is trusted."
            )
    if not config.user:
        yield "user: there is none, so nobody can log in."
