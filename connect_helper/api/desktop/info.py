"""Is the helper there, what can it do, can a server be reached (desktop reference, sections 2 and 4.1)."""

from __future__ import annotations

from typing import Any, Final

from connect_helper import __version__
from connect_helper.api.desktop.calls import Asked, Method, required_object
from connect_helper.api.desktop.messages import InvalidCall
from connect_helper.spec.lenient import required_text

OPENRPC: Final = "1.2.6"


async def get_info(asked: Asked) -> Any:
    """A fixed version and nothing that tells one user from another."""
    return {"version": asked.shared.preferences.current.reported_desktop_version}


def discoverer(methods: list[Method]) -> Method:
    """rpc.discover: an OpenRPC document of `methods` and itself, from which pages read what there is."""

    async def discover(_: Asked) -> Any:
        return document

    itself = Method("rpc.discover", (), discover, "object", "What this program can do.")
    document = {
        "openrpc": OPENRPC,
        "info": {"title": "connect-helper", "version": __version__},
        "methods": [_described(method) for method in [*methods, itself]],
    }
    return itself


def _described(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": [
            {"name": name.removesuffix("!"), "required": name.endswith("!"), "schema": {}}
            for name in method.params
        ],
        "result": {"name": "result", "schema": {"type": method.result}},
    }


async def verify_session(asked: Asked) -> Any:
    """Whether this user launched the helper with that session."""
    session_id = required_text(asked.params, "session_id")
    return {"result": asked.parts.sessions.knows(asked.app_id, session_id)}


async def subscribe_transfer_activity(asked: Asked) -> Any:
    """Have the socket told of the transfers of an app_id; the number of the subscription.

    It is all that a page repeats after the helper's restart, so that drags are watched from here on too.
    """
    if asked.subscriber is None:
        raise InvalidCall("Subscribe over a WebSocket.")
    await asked.shared.dropping.watch()
    return asked.subscriber.subscribe(asked.owner.app_id)


async def test_ssh_ports(asked: Asked) -> Any:
    await asked.shared.probing.port(asked.caller, required_object(asked.params, "request"))


async def authenticate(asked: Asked) -> Any:
    await asked.shared.probing.login(asked.caller, required_object(asked.params, "transfer_spec"))
