"""What a method gets: who asks, with which parameters, and what the face works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from connect_helper.api.brandings import Brandings
from connect_helper.api.callers import Caller, identified
from connect_helper.api.desktop.objects import TransferTexts
from connect_helper.api.desktop.sessions import LaunchedSessions
from connect_helper.api.parts import Parts
from connect_helper.api.reading import Content
from connect_helper.consent.origins import Scope
from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import required_text
from connect_helper.transfers.transfer import Owner

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DesktopParts:
    """What this face works with beside what all faces share."""

    shared: Parts
    brandings: Brandings
    sessions: LaunchedSessions
    texts: TransferTexts


class Subscriber(Protocol):
    """A caller that can be told of its transfers."""

    def subscribe(self, app_id: str) -> int:
        """Begin with the transfers of `app_id`, once the answer is sent; returns the subscription's number.

        Raises WrongState when it has subscribed for another app_id.
        """
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One call with all that is needed to answer it."""

    parts: DesktopParts
    who: Caller  # may be nobody
    params: Params
    subscriber: Subscriber | None = None  # None: the call came by POST

    @property
    def shared(self) -> Parts:
        return self.parts.shared

    @property
    def caller(self) -> Caller:
        """Who asks, where only somebody may. Raises CallerNotIdentified."""
        return identified(self.who)

    @property
    def app_id(self) -> str:
        return required_text(self.params, "app_id")

    @property
    def owner(self) -> Owner:
        """The pair whose transfers are meant."""
        return Owner(self.caller.origin, self.app_id)

    @property
    def scope(self) -> Scope:
        """The pair whose grants are meant."""
        return self.caller.scope(self.app_id)


class Streamed:
    """A result that is sent while it is read: a file's content."""

    def __init__(self, content: AbstractAsyncContextManager[Content]) -> None:
        self.content = content


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `params` name its parameters in the order of positional ones, required ones marked "!"."""

    name: str
    params: tuple[str, ...]
    answer: Callable[[Asked], Awaitable[Any]]
    result: str = "null"  # JSON type of the result, for rpc.discover
    summary: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.removesuffix("!") for name in self.params)


def bind(method: Method, params: Any) -> Params:
    """Parameters by name: none, null, a list of positional ones or an object. Raises InvalidRequest."""
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return params
    if not isinstance(params, list):
        raise InvalidRequest("params must be an object or a list.", field="params")
    if len(params) > len(method.names):
        raise InvalidRequest(f"{method.name} takes at most {len(method.names)} params.", field="params")
    return dict(zip(method.names, params, strict=False))


_NOTHING: Final[Params] = {}


def required_object(params: Params, name: str) -> Params:
    """Raises InvalidRequest when it is missing or no object."""
    if params.get(name) is None:
        raise InvalidRequest(f"{name} is missing.", field=name)
    return optional_object(params, name)


def optional_object(params: Params, name: str) -> Params:
    """An object, or an empty one. Raises InvalidRequest when it is something else."""
    value = params.get(name)
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} must be an object.", field=name)
    return value
