"""What kind of addresses a host name leads to."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return embedded or address


def describe_nearness(addresses: tuple[str, ...]) -> str:
    """A sentence about addresses that are not on the public internet, "" when all are public."""
    for text in addresses:
        address = _meant(ipaddress.ip_address(text.split("%", 1)[0]))
        if address.is_loopback:
            return f"{text} is this computer itself."
        if address.is_link_local:
            return f"{text} is an address of this local link only."
        if address.is_multicast or not address.is_global or getattr(address, "is_site_local", False):
            return f"{text} is a private address, in a network you are connected to."
    return ""
