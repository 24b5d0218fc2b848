"""Which addresses a connection may be opened to: public ones. Pure.

A message chooses the host, and whoever owns the host's name chooses the address. Without this rule
a message could make the worker read its own network, or the metadata service of its cloud.
``ipaddress.is_global`` is no such rule: it takes multicast, 6to4, NAT64 and Azure's WireServer for
public (Python 3.11).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from aiohttp import AddrInfoType

# The ranges are those of Microsoft AntiSSRF 1.0.0, ``IPAddressRanges.recommended_v1``, which a test
# compares with these. Its IPv6 ranges outside 2000::/3 need no list here, because nothing outside
# 2000::/3 is public.
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's WireServer
            "169.254.0.0/16",  # link-local: metadata services of clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

Rule = Callable[[str], bool]
"""Says whether a connection may be opened to an address."""


def is_public(address: str) -> bool:
    """Whether an address, in the form that ``getaddrinfo`` returns, is public. An address that
    carries an IPv4 address (``::ffff:a.b.c.d``) is judged by the latter. Anything that is no
    address is not public."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed in _UNICAST_6 and not any(parsed in each for each in _NOT_PUBLIC_6)
        parsed = parsed.ipv4_mapped
    return not any(parsed in each for each in _NOT_PUBLIC_4)


class AddressRefused(OSError):
    """The rule refuses the address. The message is always the same: connectors that try several
    addresses keep an error's type only if all of them read alike."""

    def __init__(self) -> None:
        super().__init__("the address is not public")


def guarded_sockets(rule: Rule) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory for ``aiohttp.TCPConnector``. It sees the very address that is then dialled:
    of names and literals, after each redirect, and at each try of several addresses. So it makes no
    difference what a name resolved to before."""

    def socket_for(dialled: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = dialled
        if not rule(str(address[0])):
            raise AddressRefused
        return socket.socket(family, kind, protocol)

    return socket_for
