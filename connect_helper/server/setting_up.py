"""What `server init` makes: configuration, host keys, certificate, token key, a first account. Blocking."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connect_helper.errors import ConnectHelperError
from connect_helper.server.configuration import from_mapping
from connect_helper.server.configuration_text import render
from connect_helper.server.passwords import hash_password
from connect_helper.server.private_files import make_private_folder, write_new

CONFIG_NAME: Final = "server.toml"
ADMIN: Final = "admin"
_DAYS: Final = 825  # the longest that browsers take for a server's certificate made by hand


class AlreadySetUp(ConnectHelperError):
    """The folder holds a server already; nothing of it is touched."""

    code: ClassVar[str] = "already_set_up"


class Unusable(ConnectHelperError):
    """A file that the aspera.conf names cannot be taken over."""

    code: ClassVar[str] = "file_unusable"


@dataclass(frozen=True, slots=True)
class Made:
    """What was made. The password is shown once and kept nowhere."""

    config: Path
    docroot: Path
    user: str
    password: str = field(repr=False)
    host_key: str  # fingerprint, "SHA256:..."
    certificate: str  # fingerprint of the certificate, SHA-256 in hex


def set_up(folder: Path, taken_over: Mapping[str, Any] | None = None) -> Made:
    """Make a server in `folder`; `taken_over` are settings of an aspera.conf, which win over ours.

    Raises AlreadySetUp, FolderUnusable, Unusable, ConfigurationInvalid, and OSError when something cannot be
    written; then nothing is left behind that would be in the way of another try.
    """
    folder = folder.absolute()
    config = folder / CONFIG_NAME
    if config.exists():
        raise AlreadySetUp(f"There is a server in {folder} already: {config}.")
    settings = {name: dict(one) for name, one in (taken_over or {}).items() if name != "user"}
    password = secrets.token_urlsafe(18)
    docroot = folder / "files"
    files: dict[str, bytes] = {}
    host_key = _host_keys(files, settings)
    certificate = _certificate(files, settings)
    _token_key(files, settings)
    users = list((taken_over or {}).get("user", []))
    admin = ADMIN if all(user["name"] != ADMIN for user in users) else f"{ADMIN}-{secrets.token_hex(2)}"
    first = {
        "name": admin,
        "docroot": str(docroot),
        "password_hash": hash_password(password),
        "upload": "allow",
        "download": "allow",
        "admin": True,
    }
    whole = {**settings, "user": [first, *users]}
    files[CONFIG_NAME] = render(whole).encode()
    from_mapping(whole, config)  # what is written can be read
    make_private_folder(folder)
    docroot.mkdir(mode=0o700, exist_ok=True)
    _write(folder, files)
    return Made(config, docroot, admin, password, host_key, certificate)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all or none: half a server would be in the way of the next try."""
    with contextlib.ExitStack() as undo:
        for name, data in files.items():
            write_new(folder / name, data)
            undo.callback((folder / name).unlink, missing_ok=True)
        undo.pop_all()


def _host_keys(files: dict[str, bytes], settings: dict[str, dict[str, Any]]) -> str:
    section = settings.setdefault("ssh", {})
    if section.get("host_keys"):
        return _fingerprint(Path(section["host_keys"][0]))
    prints = []
    kinds = {"ssh-ed25519": "ssh_host_ed25519_key", "ecdsa-sha2-nistp256": "ssh_host_ecdsa_key"}
    for kind, name in kinds.items():
        key = asyncssh.generate_private_key(kind)
        files[name] = key.export_private_key()
        prints.append(key.get_fingerprint())
    section["host_keys"] = list(kinds.values())
    return prints[0]


def _fingerprint(file: Path) -> str:
    try:
        return asyncssh.read_private_key(file).get_fingerprint()
    except OSError as error:
        raise Unusable(f"The host key {file} cannot be read: {error.strerror}.") from error
    except asyncssh.KeyImportError as error:
        raise Unusable(f"The host key {file} cannot be used: {error}.") from error


def _certificate(files: dict[str, bytes], settings: dict[str, dict[str, Any]]) -> str:
    section = settings.setdefault("https", {})
    if section.get("cert"):
        return _certificate_fingerprint(Path(section["cert"]))
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key, settings.get("server", {}).get("name") or socket.gethostname())
    files["certificate.key"] = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files["certificate.pem"] = certificate.public_bytes(serialization.Encoding.PEM)
    section.update(cert="certificate.pem", key="certificate.key")
    return certificate.fingerprint(hashes.SHA256()).hex()


def _certificate_fingerprint(file: Path) -> str:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(hashes.SHA256()).hex()
    except OSError as error:
        raise Unusable(f"The certificate {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise Unusable(f"{file} holds no certificate in PEM.") from error


def self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    """A certificate for `name` and for this machine's own addresses, signed by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(one) for one in dict.fromkeys((name, "localhost"))]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Its own authority, and nobody else's: a client may trust it without trusting what it signs.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _token_key(files: dict[str, bytes], settings: dict[str, dict[str, Any]]) -> None:
    files["token.key"] = secrets.token_urlsafe(32).encode() + b"\n"
    settings.setdefault("token", {})["key_file"] = "token.key"
