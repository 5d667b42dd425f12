"""Asking about the key of a server seen for the first time, and keeping the answer."""

from __future__ import annotations

import asyncio

from connect_helper.picking.base import Asker, Question
from connect_helper.spec.names import display
from connect_helper.transfers import messages
from connect_helper.transfers.transfer import Transfer
from connect_helper.transports.host_keys import fingerprint
from connect_helper.transports.known_hosts import KnownHosts


class HostKeyQuestions:
    """First-use questions; an accepted key goes into our own known_hosts."""

    def __init__(self, asker: Asker, known_hosts: KnownHosts) -> None:
        self._asker = asker
        self._known_hosts = known_hosts

    async def host_key(self, transfer: Transfer, question: messages.Question) -> bool:
        """For a running session; the fingerprint shown is computed here, from the key itself."""
        caller = transfer.owner.origin
        return await self.ask(caller, question.host, question.port, question.key, fingerprint(question.key))

    async def ask(self, caller: str, host: str, port: int, key: str, shown: str) -> bool:
        """Ask whether `key` ("type base64", fingerprint `shown`) belongs to the server; keep a yes.

        Raises Unavailable when nobody can be asked.
        """
        answer = await self._asker.ask(
            Question(
                caller=caller,
                heading=f"Trust the server {display(host)}?",
                details=(
                    "This helper has not connected to this server before.",
                    f"{key.split(' ', 1)[0]} key fingerprint:",
                    shown,
                    "Compare it with what the server's operator tells you.",
                ),
                accept="Trust",
                refuse="Cancel",
            )
        )
        if answer.accepted:
            await asyncio.to_thread(self._known_hosts.add, host, port, key)
        return answer.accepted
