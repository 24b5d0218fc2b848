"""Which addresses are dialled. Messages choose hosts, and a host's owner chooses the address."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from AntiSSRF import IPAddressRanges
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.adapters.https.guard import AddressRefused, guarded_sockets, is_public

ORACLE = [ipaddress.ip_network(each) for each in IPAddressRanges.recommended_v1]
UNICAST = IPv6Network("2000::/3")

NEITHER = [
    # What ``ipaddress.is_global`` of Python 3.11 takes for public, and is not.
    *("224.0.0.1", "168.63.129.16", "192.88.99.1", "192.0.0.8", "ff02::1", "fec0::1"),
    *("2002:7f00:1::", "64:ff9b::7f00:1", "::127.0.0.1", "5f00::1", "3fff::1"),
    # This machine, this network, clouds' metadata, private and shared networks.
    *("0.0.0.0", "0.0.0.1", "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.170.2"),
    *("255.255.255.255", "240.0.0.1", "198.18.0.1", "203.0.113.1", "192.0.2.1"),
    *("::", "::1", "fe80::1", "fd00:ec2::254", "fc00::1", "2001:db8::1", "2001::1", "100::1"),
    *("fe80::1%eth0", "2620:4f:8000::1", "4000::1"),
    # IPv4 inside IPv6.
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"),
    *("::ffff:0.0.0.0", "0:0:0:0:0:ffff:127.0.0.1"),
    # Other spellings are no addresses here.
    *("2130706433", "0177.0.0.1", "0x7f000001", "127.1", "0", "", "localhost", "①②⑦.0.0.1"),
]

PUBLIC = [
    *("8.8.8.8", "93.184.215.14", "1.1.1.1", "172.32.0.1", "11.0.0.1", "169.253.255.255"),
    *("2606:4700::6810:84e5", "2a00:1450:4001:80b::200e", "::ffff:8.8.8.8"),
]

v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
edges = st.sampled_from(
    [
        type(each.network_address)(number)
        for each in ORACLE
        for number in (
            int(each.network_address) - 1,
            int(each.network_address),
            int(each.broadcast_address),
            int(each.broadcast_address) + 1,
        )
        if 0 <= number < 2**each.max_prefixlen
    ]
)


@pytest.mark.parametrize("address", NEITHER)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_dialled(address: str) -> None:
    assert is_public(address)


@settings(max_examples=2000)
@given(address=st.one_of(edges, v4, v6, v4.map(lambda low: IPv6Address(2**32 * 0xFFFF + int(low)))))
@example(address=IPv6Address("::ffff:127.0.0.1"))
def test_the_rule_is_that_of_antissrf_and_narrower_in_ipv6(
    address: IPv4Address | IPv6Address,
) -> None:
    # The oracle keeps its own list; how it unwraps mapped addresses is ours to say.
    plain = (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
    refused = any(plain in each for each in ORACLE if each.version == plain.version)
    outside = isinstance(plain, IPv6Address) and plain not in UNICAST
    assert is_public(str(address)) == (not refused and not outside)


def test_no_socket_is_made_for_a_refused_address() -> None:
    sockets = guarded_sockets(lambda address: address == "8.8.8.8")
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with pytest.raises(AddressRefused):
        sockets((*kind, ("127.0.0.1", 443)))
    made = sockets((*kind, ("8.8.8.8", 443)))
    assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
    made.close()


def test_two_refusals_read_alike_so_that_their_type_is_kept() -> None:
    assert str(AddressRefused()) == str(AddressRefused())
