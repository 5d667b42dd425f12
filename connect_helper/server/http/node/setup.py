"""Transfer authorisation: from a request to a token and a transfer spec (reference, section 5).

Nothing is transferred and nothing is made on the disk. `direction` is the client's; paths are relative to the
account's folder, which is what a session of the transfer user sees. `Desk.answer` blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.errors import ConnectHelperError
from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.ciphers import chosen
from connect_helper.server.http.node.bodies import SetupPath, TransferRequest
from connect_helper.server.http.node.entries import kind_of, text_of
from connect_helper.server.http.node.faults import NO_PATH, error_member, fault, fault_of, malformed
from connect_helper.server.http.node.settings import UDP_PORT, NodeSettings
from connect_helper.server.http.problems import Problem
from connect_helper.server.issuing import Extras, download_claims, upload_claims
from connect_helper.server.tokens import Direction, TokenClaims
from connect_helper.storage.docpath import ROOT, DocPath, parse
from connect_helper.storage.docroot import Docroot

ANY: Final = "*"
DEFAULT_RATE_KBPS: Final = 1_000_000
_POLICIES: Final = ("fixed", "high", "fair", "low")
_OTHER_WORDS: Final = {"any": "fixed", "regular": "fair", "trickle": "low"}


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers requests for tokens."""

    settings: NodeSettings
    issue: Callable[[TokenClaims], str]
    host: str  # where the transfers go

    def answer(
        self, docroot: Docroot, access: Access, direction: Direction, asked: list[TransferRequest]
    ) -> list[dict[str, Any]]:
        """One {"transfer_spec": {...}} per request; in place of a spec {"error": ...} when it is refused."""
        return [{"transfer_spec": self._one(docroot, access, direction, wish)} for wish in asked]

    def _one(
        self, docroot: Docroot, access: Access, direction: Direction, wish: TransferRequest
    ) -> dict[str, Any]:
        try:
            if direction == "send":
                return self._upload(access.account, wish)
            return self._download(docroot, access.account, wish)
        except (OSError, ConnectHelperError, Problem) as error:
            return {"error": error_member(fault_of(error))}

    def _upload(self, account: Account, wish: TransferRequest) -> dict[str, Any]:
        root, destinations = upload_paths(wish)
        claims = upload_claims(account, root, destinations, now=int(time.time()), extras=_extras(wish))
        paths = [
            _without_none({"destination": path.destination, "source": path.source}) for path in wish.paths
        ]
        places = {"paths": paths, "source_root": "", "destination_root": text_of(root)}
        return {**self._spec(account, "send", wish, claims), **places}

    def _download(self, docroot: Docroot, account: Account, wish: TransferRequest) -> dict[str, Any]:
        pairs = download_paths(wish)
        for source, _ in pairs:
            if kind_of(docroot.stat(source)) is None:  # a pipe is there, and no transfer reads it
                raise fault(404, NO_PATH)
        sources = [source for source, _ in pairs]
        claims = download_claims(account, sources, now=int(time.time()), extras=_extras(wish))
        paths = [_without_none({"source": text_of(path), "destination": target}) for path, target in pairs]
        places = {"paths": paths, "source_root": "", "destination_root": ""}
        return {**self._spec(account, "receive", wish, claims), **places}

    def _spec(
        self, account: Account, direction: Direction, wish: TransferRequest, claims: TokenClaims
    ) -> dict[str, Any]:
        cipher = chosen(wish.cipher_allowed, account.lowest_cipher)
        spec: dict[str, Any] = {
            "token": self.issue(claims),
            "direction": direction,
            "remote_host": self.host,
            "remote_user": account.name,
            "ssh_port": self.settings.ssh_port,
            "fasp_port": UDP_PORT,
            "cipher": cipher,
            "sshfp": self.settings.sshfp,
            "cookie": wish.cookie,
            "tags": wish.tags,
            "content_protection": wish.content_protection,
            **rates(account, wish, claims.rate_cap_kbps),
            **self._fallback(cipher, wish),
        }
        return _without_none(spec)

    def _fallback(self, cipher: str, wish: TransferRequest) -> dict[str, Any]:
        """A wish can switch the fallback off, not on.

        The port of the scheme that the cipher selects goes under both names: some clients know only one.
        """
        port = self.settings.fallback_port(cipher)
        if port is None or wish.http_fallback is False:
            return {"http_fallback": False}
        secure = {} if cipher == "none" else {"https_fallback_port": port}
        return {"http_fallback": True, "http_fallback_port": port, **secure}


def rates(account: Account, wish: TransferRequest, cap: int | None) -> dict[str, Any]:
    """The rate members of a spec, kbit/s: what is wished or the account's setting, never above the cap.

    The policies are for the client, which divides its own limit by them; here all sessions are alike.
    """
    wished = wish.target_rate_kbps or account.target_rate_kbps or cap or DEFAULT_RATE_KBPS
    allowed = _policy(wish.rate_policy_allowed, "fixed")
    policy = _policy(wish.rate_policy, "fair")
    if _POLICIES.index(policy) < _POLICIES.index(allowed):  # more aggressive than the request itself allows
        policy = allowed
    return {
        "target_rate_kbps": min(wished, cap) if cap is not None else wished,
        "target_rate_cap_kbps": cap,
        "min_rate_kbps": 0,
        "rate_policy": policy,
        "rate_policy_allowed": allowed,
    }


def _policy(word: str | None, default: str) -> str:
    known = _OTHER_WORDS.get(word or "", word)
    return known if known in _POLICIES else default


def upload_paths(wish: TransferRequest) -> tuple[DocPath, list[DocPath]]:
    """Destination root, and the destinations relative to it that alone are opened; none: all below the root.

    Raises Problem 400 when neither is given (sections 5.1 and 5.3). A path without a destination goes to the
    root where one is given. Empty text names nothing: see `download_paths`.
    """
    named = [path.destination for path in wish.paths if path.destination]
    _refuse_empty_destinations(wish, alone=not named)
    if not wish.destination_root and not named:
        raise malformed("An upload needs destination_root or a destination in paths.")
    if not wish.destination_root and len(set(named)) == 1:
        return (ROOT if named[0] == ANY else parse(named[0])), []
    root = parse(wish.destination_root or "/")
    nameless = bool(wish.destination_root) and len(named) < len(wish.paths)
    whole = ANY in named or nameless or not named
    return root, [] if whole else [parse(text) for text in named]


def _refuse_empty_destinations(wish: TransferRequest, *, alone: bool) -> None:
    """Raise Problem 400 for empty text beside destinations with a name, or where nothing says where to."""
    if alone and wish.destination_root:
        return
    for number, path in enumerate(wish.paths):
        if path.destination == "":
            raise malformed(f'paths.{number}.destination: empty. Name a folder, "/" for the whole one.')


def download_paths(wish: TransferRequest) -> list[tuple[DocPath, str | None]]:
    """Each source with `source_root` in front, and where the client wants it. Raises Problem 400.

    Empty text names nothing: a page where nothing was picked must not get a token for the whole folder.
    """
    root = parse(wish.source_root or "/")
    named = [path for path in wish.paths if path.source]
    if not wish.source_root and not named:
        raise malformed("A download needs source_root or a source in paths.")
    if not named:
        return [(root, None)]
    return [(_source(root, path), path.destination) for path in named]


def _source(root: DocPath, path: SetupPath) -> DocPath:
    if not path.source or path.source == ANY:
        return root
    return (*root, *parse(path.source))  # a leading "/" means that root, and no ".." leads out of it


def refused_sync(asked: list[TransferRequest]) -> list[dict[str, Any]]:
    """The answer to sync_setup, which belongs to a program there is none of here (section 5.6)."""
    refusal = fault(501, "This server does not synchronise. Set up an upload or a download.")
    return [{"transfer_spec": {"error": error_member(refusal)}} for _ in asked]


def _extras(wish: TransferRequest) -> Extras:
    return Extras(life_s=wish.token_life_seconds, rate_cap_kbps=wish.target_rate_cap_kbps, cookie=wish.cookie)


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
