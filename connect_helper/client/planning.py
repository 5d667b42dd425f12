"""From what the user named to the plan of a session. Paths are the user's own here: no grant is looked up."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from connect_helper.client.settling import Settings
from connect_helper.errors import InvalidRequest, SourceDenied, SourceError, SourceMissing, TargetError
from connect_helper.settings import Folders
from connect_helper.spec.aftermath import refuse_inside
from connect_helper.spec.names import display, safe_component
from connect_helper.spec.obfuscation import KEY_BYTES
from connect_helper.spec.remote_address import RemoteAddress, joined
from connect_helper.transfers.plan import (
    Download,
    HostKeys,
    Item,
    LocalRef,
    Login,
    Server,
    SessionPlan,
    Upload,
    afterwards_of,
    protect_of,
)
from connect_helper.transports.known_hosts import KnownHosts
from connect_helper.transports.resolving import resolve

RESUME_FOLDER: Final = "resume"

LocalPath = str | os.PathLike[str]


def upload_items(sources: Sequence[tuple[LocalPath, str]], address: RemoteAddress) -> tuple[Upload, ...]:
    """Each source, with its name there or "", goes into the folder `address` stands for. Blocks.

    Raises SourceMissing, SourceDenied, SourceError, InvalidRequest, UnsafeName.
    """
    if not sources:
        raise InvalidRequest("Name at least one file or folder to send.", field="sources")
    return tuple(_upload(source, name, address) for source, name in sources)


def _upload(source: LocalPath, name: str, address: RemoteAddress) -> Upload:
    path = _local_path(source, "A source", field="sources")
    try:
        real = path.resolve(strict=True)
        facts = real.lstat()
    except FileNotFoundError as error:
        raise SourceMissing(f"{display(str(path))} does not exist.") from error
    except PermissionError as error:
        raise SourceDenied(f"{display(str(path))} cannot be read: permission denied.") from error
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links is a RuntimeError
        raise SourceError(f"{display(str(path))} cannot be read.", internal_message=str(error)) from error
    own = name or (real.name if path.name in ("", "..") else path.name)
    if not own:
        raise InvalidRequest(f"{display(str(path))} has no name of its own: give one.", field="sources")
    safe_component(os.fsencode(own))
    reference = LocalRef(path=str(real), device=facts.st_dev, inode=facts.st_ino)
    return Upload(source=reference, target=joined(address, own), linked=path.is_symlink())


def download_items(sources: Sequence[tuple[RemoteAddress, str]], folder: LocalPath) -> tuple[Download, ...]:
    """Each source, with its name here or "", goes into the local `folder`, made when missing. Blocks.

    Raises InvalidRequest, UnsafeName, TargetError.
    """
    named = [(address, _local_name(address, name)) for address, name in sources]
    root = _target_folder(_local_path(folder, "The local folder", field="folder"))
    return tuple(Download(source=address.path, root=root, target=(name,)) for address, name in named)


def _local_path(given: LocalPath, what: str, *, field: str) -> Path:
    """Read a path. Raises InvalidRequest.

    Nothing at all is refused: in a script it is a variable that was never set, and it would mean everything
    in the current folder, which --remove-after-transfer would then delete.
    """
    if not os.fspath(given):
        raise InvalidRequest(f"{what} is empty. Write . if the current folder is meant.", field=field)
    return Path(given).expanduser()


def _local_name(address: RemoteAddress, name: str) -> str:
    own = name or (address.names[-1] if address.names else "")
    if own in ("", ".."):
        raise InvalidRequest(
            "The address has no file or folder name of its own: give the name it is to have here.",
            field="sources",
        )
    return os.fsdecode(safe_component(os.fsencode(own)))


def _target_folder(path: Path) -> LocalRef:
    try:
        path.mkdir(parents=True, exist_ok=True)
        real = path.resolve(strict=True)
        facts = real.lstat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not usable"
        raise TargetError(f"The folder {display(str(path))} cannot be used: {reason}.") from error
    return LocalRef(path=str(real), device=facts.st_dev, inode=facts.st_ino)


def with_afterwards(settings: Settings, items: Sequence[Item]) -> Settings:
    """Add what becomes of the sources. A local folder to move them to is made when missing. Blocks.

    Raises InvalidRequest for a folder inside of a source, TargetError.
    """
    folder = settings.wishes.move_to
    here = Path(folder).expanduser() if folder and isinstance(items[0], Upload) else None
    refuse_inside(folder if here is None else _real(here), (item.source_path for item in items))
    root = None if here is None else _target_folder(here)
    return replace(settings, afterwards=afterwards_of(settings.wishes, move_root=root))


def _real(path: Path) -> str:
    try:
        return str(path.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise TargetError(f"The folder {display(str(path))} cannot be used.") from error


async def plan_for(
    address: RemoteAddress, items: Sequence[Item], settings: Settings, folders: Folders
) -> SessionPlan:
    """Put the plan together: addresses, keys known of the server, login.

    Raises HostNotFound, Unavailable, InvalidRequest.
    """
    sending = isinstance(items[0], Upload)
    addresses = await resolve(address.host, address.port)
    return SessionPlan(
        transfer_id=str(uuid.uuid4()),
        direction="send" if sending else "receive",
        server=Server(host=address.host, port=address.port, addresses=addresses),
        login=_login(address, settings),
        host_keys=await _host_keys(address, settings, folders),
        items=tuple(items),
        destination=address.path.rstrip("/") if sending else "",
        policies=settings.policies.model_copy(update={"create_dir": True}),
        rate_kbps=settings.rate_kbps,
        connections=settings.connections,
        divide_from=settings.divide_from,
        afterwards=settings.afterwards,
        protect=protect_of(settings.protection),
        hidden_key=secrets.token_hex(KEY_BYTES) if settings.hide_names else "",
        resume_folder=str(folders.state / RESUME_FOLDER),
    )


def _login(address: RemoteAddress, settings: Settings) -> Login:
    return Login(
        user=address.user or local_user(),
        password=settings.password,
        private_key=settings.private_key,
        private_key_passphrase=settings.key_passphrase,
        file_passphrase=settings.protection.passphrase,
    )


def local_user() -> str:
    """The user of this computer, who logs in where the address names none. Raises InvalidRequest."""
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise InvalidRequest(
            "Give the user in the address: ssh://user@host/path.", field="address"
        ) from error


async def _host_keys(address: RemoteAddress, settings: Settings, folders: Folders) -> HostKeys:
    known = KnownHosts(folders)
    trusted, revoked = await asyncio.to_thread(known.lookup, address.host, address.port)
    return HostKeys(trusted=trusted, revoked=revoked, sshfp=settings.sshfp)
