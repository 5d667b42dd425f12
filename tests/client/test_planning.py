"""From options to the plan of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connect_helper.client.planning import plan_for, upload_items
from connect_helper.client.settling import settle
from connect_helper.errors import InvalidRequest
from connect_helper.settings import HOME_VARIABLE, Folders
from connect_helper.spec.remote_address import parse_address


async def test_the_number_of_connections_reaches_the_session(tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    folders = Folders.from_environment({HOME_VARIABLE: str(tmp_path / "home")})
    folders.create()
    address = parse_address("ssh://ann@127.0.0.1/in")
    items = upload_items([(tmp_path / "film", "")], address)
    for number in (None, 1, 128):
        plan = await plan_for(
            address, items, settle({"password": "x", "connections": number}, "send"), folders
        )
        assert plan.connections == number


@pytest.mark.parametrize("number", [0, -1, 129, True, "4", 2.0])
def test_an_absurd_number_is_refused(number: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        settle({"connections": number}, "send")
    assert caught.value.field == "connections"
