"""What is said of an address before anything is sent to it (SEC-22)."""

from __future__ import annotations

import pytest

from connect_helper.api.addresses import describe_nearness
from connect_helper.errors import HostNotFound
from connect_helper.transports.resolving import resolve


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "this computer itself"),
        ("127.9.9.9", "this computer itself"),
        ("::1", "this computer itself"),
        ("::ffff:127.0.0.1", "this computer itself"),
        ("64:ff9b::7f00:1", "this computer itself"),
        ("2002:7f00:1::", "this computer itself"),
        ("169.254.169.254", "local link"),
        ("fe80::1%eth0", "local link"),
        ("10.0.0.1", "private address"),
        ("::ffff:10.0.0.1", "private address"),
        ("192.168.1.1", "private address"),
        ("fd00::1", "private address"),
        ("fec0::1", "private address"),
        ("224.0.0.1", "private address"),
        ("0.0.0.0", "private address"),
    ],
)
def test_what_is_not_on_the_public_internet_is_marked(address: str, said: str) -> None:
    assert said in describe_nearness(("8.8.8.8", address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::"])
def test_public_addresses_are_not(address: str) -> None:
    assert describe_nearness((address,)) == ""


async def test_a_name_that_leads_nowhere_is_said() -> None:
    with pytest.raises(HostNotFound, match=r"no-such-host\.invalid|resolving"):
        await resolve("no-such-host.invalid", 22)
