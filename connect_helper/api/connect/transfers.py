"""`transfers`: start, watch, change, stop, resume, remove (sections 5.4, 6 and 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from connect_helper.api import local_key
from connect_helper.api.bodies import read_object
from connect_helper.api.callers import caller_of
from connect_helper.api.connect import views
from connect_helper.api.connect.info_text import InfoTexts
from connect_helper.api.connect.settings import FIELD, ConnectSettings, read_settings
from connect_helper.api.modifying import modify_rates
from connect_helper.api.parts import PARTS
from connect_helper.api.starting import StartCall
from connect_helper.errors import InvalidRequest, NotFound
from connect_helper.spec.lenient import as_int
from connect_helper.transfers.transfer import Owner, Transfer

INFO_TEXTS: Final = web.AppKey("info_texts", InfoTexts)


async def start(request: web.Request) -> web.Response:
    """Only the first entry of `transfer_specs` is used, as the original does."""
    caller = caller_of(request)
    body = await read_object(request)
    entry = _first_spec(body)
    settings = read_settings(body, entry)
    call = StartCall(
        app_id=settings.app_id,
        request_id=settings.request_id,
        spec=entry["transfer_spec"],
        settings=_echoed(settings),
        allow_dialogs=settings.allow_dialogs,
        absolute_destination=settings.use_absolute_destination_path,
        authorization_key=entry.get(local_key.FIELD) or body.get(local_key.FIELD),
    )
    transfer = await request.app[PARTS].starting.start(caller, call)
    return web.json_response({"transfer_specs": [views.start_entry(transfer)]})


def _first_spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = body.get("transfer_specs")
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise InvalidRequest("transfer_specs must be a list with one transfer.", field="transfer_specs")
    if not isinstance(entries[0].get("transfer_spec"), dict):
        raise InvalidRequest("transfer_specs[0].transfer_spec must be an object.", field="transfer_spec")
    first: Mapping[str, Any] = entries[0]
    return first


def _echoed(settings: ConnectSettings) -> dict[str, Any]:
    return {key: value for key, value in settings.raw.items() if key != "authorization_key"}


async def activity(request: web.Request) -> web.Response:
    """What changed after the page's token; token 0 asks for what is listed.

    The reference has token 0 answer every transfer still listed. A listener asks so each time a page is
    loaded, in every tab, so an answer of a hundred thousand would keep both sides busy for a minute: it
    has all transfers that are not over and the newest 1,000 of the others. An answer to a later token
    leaves nothing out; when very much changed, its own token asks for the rest.
    """
    caller = caller_of(request)
    body = await read_object(request)
    settings = read_settings(body)
    if not settings.app_id:
        raise NotFound("The app_id is missing.")
    token = _token(body.get("iteration_token"))
    owner = Owner(caller.origin, settings.app_id)
    newest, changed = await request.app[PARTS].manager.changes(owner, token)
    return _json(await request.app[INFO_TEXTS].activity(newest, changed))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _token(value: Any) -> int:
    """The caller's token; one we cannot have given out asks for everything (open point 7 of section 7)."""
    try:
        return as_int(value, "iteration_token", maximum=2**53) or 0
    except InvalidRequest:
        return 0


async def info(request: web.Request) -> web.Response:
    owner, _ = await _owner(request)
    found = await request.app[PARTS].manager.look(request.match_info["id"], owner=owner)
    return _json(b'{"transfer_info":%b}' % request.app[INFO_TEXTS].info(found.transfer))


async def modify(request: web.Request) -> web.Response:
    """Change the rates of a waiting or running transfer; answers the changed fields."""
    transfer, body = await _own_transfer(request)
    fields = await modify_rates(request.app[PARTS].manager, transfer, body)
    return web.json_response(fields)


async def stop(request: web.Request) -> web.Response:
    owner, _ = await _owner(request)
    await request.app[PARTS].manager.stop(request.match_info["id"], owner=owner)
    return web.json_response({})


async def resume(request: web.Request) -> web.Response:
    transfer, body = await _own_transfer(request)
    changes = {key: value for key, value in body.items() if key not in (FIELD, "authorization_key")}
    resumed = await request.app[PARTS].starting.resume(caller_of(request), transfer, changes)
    entry = views.start_entry(resumed)
    aspera = entry["tags"]["aspera"]
    if "xfer_retry" in aspera:
        aspera["xfer_retry"] = str(aspera["xfer_retry"])  # a string here, a number at start (open point 5)
    return web.json_response({"transfer_spec": entry})


async def remove(request: web.Request) -> web.Response:
    owner, _ = await _owner(request)
    await request.app[PARTS].manager.remove(request.match_info["id"], owner=owner)
    return web.json_response({})


async def _owner(request: web.Request) -> tuple[Owner, dict[str, Any]]:
    """The scope of the request and its body; the manager answers unknown and foreign ids alike."""
    caller = caller_of(request)
    body = await read_object(request)
    return Owner(caller.origin, read_settings(body).app_id), body


async def _own_transfer(request: web.Request) -> tuple[Transfer, dict[str, Any]]:
    owner, body = await _owner(request)
    return await request.app[PARTS].manager.fetch(request.match_info["id"], owner=owner), body
