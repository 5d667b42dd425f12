"""Puts the helper together: built once, handed down, no globals."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from connect_helper import __version__
from connect_helper.api.beside import beside
from connect_helper.api.bodies import BODY_LIMIT
from connect_helper.api.brandings import Brandings
from connect_helper.api.choosing import Choosing, FolderRule, whole_folder_rule
from connect_helper.api.connect.info_text import InfoTexts
from connect_helper.api.connect.routes import READ_ROUTES, connect_routes
from connect_helper.api.connect.transfers import INFO_TEXTS
from connect_helper.api.desktop.calls import DesktopParts
from connect_helper.api.desktop.door import build_desktop_face
from connect_helper.api.desktop.listening import CROWDED, bind_desktop, describe_desktop
from connect_helper.api.desktop.objects import TransferTexts
from connect_helper.api.desktop.sessions import LaunchedSessions
from connect_helper.api.drop_proof import DropProof
from connect_helper.api.drop_search import DropSearch
from connect_helper.api.dropping import Dropping
from connect_helper.api.extension_routes import extension_routes
from connect_helper.api.extensions import Extensions
from connect_helper.api.gate import Gate
from connect_helper.api.host_key_questions import HostKeyQuestions
from connect_helper.api.instance import Instance, Record
from connect_helper.api.ladder import Ladder
from connect_helper.api.links import Links
from connect_helper.api.links import routes as link_routes
from connect_helper.api.listening import PAGE_PORTS, WINDOW_PORTS, Listener, bind_first_free, describe_holders
from connect_helper.api.local_key import LocalKey
from connect_helper.api.login_guard import LoginGuard
from connect_helper.api.logins import Logins
from connect_helper.api.pairing import Pairing
from connect_helper.api.parts import PARTS, Parts
from connect_helper.api.places import Places
from connect_helper.api.probing import Probing
from connect_helper.api.promptness import answer_promptly, collect_when_quiet
from connect_helper.api.reading import Reading
from connect_helper.api.script import script_routes
from connect_helper.api.showing import Showing
from connect_helper.api.sites import Sites
from connect_helper.api.starting import Starting
from connect_helper.api.ui import Control, UiParts, build_ui
from connect_helper.api.ui_picking import routes as picking_routes
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.picking.base import Asker, Picker
from connect_helper.picking.chooser import Dialogs
from connect_helper.picking.desk import Desk
from connect_helper.picking.drags import DragWatch
from connect_helper.picking.native import find_desktop, find_drag_watch
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.manager import TransferManager
from connect_helper.transports.known_hosts import KnownHosts

log = logging.getLogger(__name__)


class AnyDialogs(Picker, Asker, Protocol):
    """Whatever shows file dialogs and questions."""


@dataclass(frozen=True, slots=True)
class Running:
    """A helper that answers."""

    record: Record
    windows: Windows
    warnings: list[str]  # sentences the user should read


async def serve(
    folders: Folders, instance: Instance, stopping: asyncio.Event, ready: Callable[[Running], None]
) -> None:
    """Run the helper until `stopping` is set.

    `ready` is called once pages and window can be reached. Raises Unavailable when a port, folder or
    the journal cannot be used. On the way out open requests are answered, sessions stopped, partial
    files and the list of transfers kept.
    """
    page_socket = bind_first_free(PAGE_PORTS)
    window_socket = bind_first_free(WINDOW_PORTS, fall_back=True)
    desktop_socket = bind_desktop()
    pages, window = _address(page_socket), _address(window_socket)
    preferences = PreferencesStore(folders)
    sites = Sites(folders)
    extensions = Extensions(folders)
    sessions = WindowSessions()
    windows = Windows(window, sessions)
    folder_rule = whole_folder_rule(folders)
    desk = Desk(windows.open, refuse_folder=folder_rule)
    dialogs = Dialogs(preferences, find_desktop(), desk)
    known_hosts = KnownHosts(folders)
    questions = HostKeyQuestions(dialogs, known_hosts)
    record = instance.record(pages, window, _address(desktop_socket) if desktop_socket else "")
    try:
        async with (
            TransferManager(folders=folders, preferences=preferences, questions=questions) as manager,
            asyncio.TaskGroup() as tasks,
        ):
            parts = build_parts(
                folders=folders,
                preferences=preferences,
                sites=sites,
                extensions=extensions,
                dialogs=dialogs,
                folder_rule=folder_rule,
                known_hosts=known_hosts,
                questions=questions,
                manager=manager,
                windows=windows,
                tasks=tasks,
                drags=find_drag_watch(),
                authorization_key=record.authorization_key,
            )
            brandings, launched = Brandings(folders, sites), LaunchedSessions()
            desktop = DesktopParts(parts, brandings, launched, TransferTexts())
            links = Links(
                starting=parts.starting, ladder=parts.ladder, asker=dialogs, windows=windows, tasks=tasks
            )
            ui = build_ui(
                UiParts(
                    port=window_socket.getsockname()[1],
                    version=__version__,
                    pages_address=pages,
                    desktop_address=record.desktop,
                    manager=manager,
                    sites=sites,
                    brandings=brandings,
                    extensions=extensions,
                    preferences=preferences,
                    folders=folders,
                    sessions=sessions,
                    control=Control(record.key, stopping.set),
                    more_routes=[*picking_routes(desk), *link_routes(links), launched.route()],
                )
            )
            face = build_pages_face(parts, page_socket.getsockname()[1])
            listeners = [Listener(face, page_socket), Listener(ui, window_socket)]
            if desktop_socket is not None:
                port = desktop_socket.getsockname()[1]
                listeners.append(Listener(build_desktop_face(desktop, port), desktop_socket, crowded=CROWDED))
            serving = [tasks.create_task(each.run(), name=f"serve {each.sock}") for each in listeners]
            for listener in listeners:
                await listener.started.wait()
            below = range(PAGE_PORTS.start, page_socket.getsockname()[1])
            answer_promptly()
            tidying = tasks.create_task(collect_when_quiet(), name="garbage collection")
            warnings = await asyncio.to_thread(describe_holders, below)
            desktop_port = desktop_socket.getsockname()[1] if desktop_socket is not None else None
            warnings += await asyncio.to_thread(describe_desktop, desktop_port)
            for warning in warnings:
                log.warning("%s", warning)
            ready(Running(record, windows, warnings))
            await stopping.wait()
            links.close()
            for task in (*serving, tidying):
                task.cancel()
    finally:
        sites.close()
        for sock in (page_socket, window_socket, desktop_socket):
            if sock is not None:
                sock.close()


def _address(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def build_parts(
    *,
    folders: Folders,
    preferences: PreferencesStore,
    sites: Sites,
    extensions: Extensions,
    dialogs: AnyDialogs,
    folder_rule: FolderRule,
    known_hosts: KnownHosts,
    questions: HostKeyQuestions,
    manager: TransferManager,
    windows: Windows,
    tasks: asyncio.TaskGroup,
    drags: DragWatch,
    authorization_key: str,
) -> Parts:
    """Join what the faces for pages work with; `tasks` owns the open questions."""
    ladder = Ladder(sites, dialogs, tasks)
    places = Places(sites, preferences)
    choosing = Choosing(ladder, sites, dialogs, folder_rule)
    local_key = LocalKey(authorization_key, choosing, preferences)
    login_guard = LoginGuard()
    starting = Starting(
        sites=sites,
        ladder=ladder,
        places=places,
        logins=Logins(ladder, dialogs, manager, login_guard),
        local_key=local_key,
        manager=manager,
        known_hosts=known_hosts,
        preferences=preferences,
        folders=folders,
    )
    return Parts(
        preferences=preferences,
        sites=sites,
        extensions=extensions,
        pairing=Pairing(extensions, ladder, sites),
        ladder=ladder,
        choosing=choosing,
        dropping=Dropping(
            ladder, choosing, DropProof(drags), DropSearch(ladder, choosing, sites, preferences, folder_rule)
        ),
        showing=Showing(ladder, windows),
        reading=Reading(places),
        probing=Probing(ladder, starting, questions, login_guard, folders),
        login_guard=login_guard,
        starting=starting,
        manager=manager,
        local_key=local_key,
    )


def build_pages_face(parts: Parts, port: int) -> web.Application:
    """The application pages talk to, behind the gate."""
    app = web.Application(
        middlewares=Gate(port, extensions=parts.extensions, paced=READ_ROUTES).middlewares(),
        client_max_size=BODY_LIMIT,
    )
    app[PARTS] = parts
    app[INFO_TEXTS] = InfoTexts()
    app.cleanup_ctx.extend((_watch_logins, _keep_texts_ready))
    app.on_cleanup.append(_stop_watching_drags)
    app.add_routes([*connect_routes(), *extension_routes(), *script_routes()])
    return app


async def _watch_logins(app: web.Application) -> AsyncIterator[None]:
    """Have failed transfers count as wrong logins for as long as pages are served."""
    parts = app[PARTS]
    async with beside(parts.login_guard.watch(parts.manager), "watch logins"):
        yield


async def _keep_texts_ready(app: web.Application) -> AsyncIterator[None]:
    """Have the answers of `activity` made ahead for as long as pages are served."""
    with app[PARTS].manager.subscribe() as changes:
        async with beside(app[INFO_TEXTS].keep_ready(changes), "texts for activity"):
            yield


async def _stop_watching_drags(app: web.Application) -> None:
    await app[PARTS].dropping.close()
