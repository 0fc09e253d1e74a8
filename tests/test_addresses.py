"""Addresses: which of them are public, and that IPv6's clothes do not matter."""

import re
from ipaddress import ip_address
from typing import Any

import pytest

from trio_p2p import Endpoint
from trio_p2p._addresses import Vantage, endpoint_of, is_public, site_of


@pytest.mark.parametrize(
    "text",
    [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.254",
        "169.254.1.1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
    ],
)
def test_addresses_behind_nats(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "203.0.113.1",
        "198.51.100.1",
        "2001:db8::1",
        "2a00::1",
        "fec0::1",
    ],
)
def test_addresses_of_the_internet(text: str) -> None:
    assert is_public(ip_address(text))


def test_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() -> None:
    assert endpoint_of(("::ffff:192.0.2.1", 7, 0, 0)) == endpoint_of(("192.0.2.1", 7))
    assert isinstance(endpoint_of(("192.0.2.1", 7)), Endpoint)


@pytest.mark.parametrize(
    ("local", "observed", "broker", "allowed"),
    [
        # On one host, in one private network, and over the internet with and without a NAT.
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", {"127.0.0.2", "203.0.113.9"}),
        ("10.0.0.5", "10.0.0.5", "10.9.9.9", {"10.1.1.1", "192.168.1.1", "203.0.113.9"}),
        ("192.168.1.2", "203.0.113.1", "198.51.100.1", {"203.0.113.9"}),
        ("203.0.113.1", "203.0.113.1", "198.51.100.1", {"203.0.113.9"}),
        # The broker behind a proxy, or behind a NAT of its own.
        ("192.168.1.2", "172.17.0.1", "198.51.100.1", {"203.0.113.9"}),
        ("10.0.0.5", "172.17.0.1", "10.9.9.9", {"203.0.113.9"}),
        # It does not say, or lies: it knows our address from our offer.
        ("10.0.0.5", None, "10.9.9.9", {"203.0.113.9"}),
        ("10.0.0.5", "10.0.0.5", "198.51.100.1", {"203.0.113.9"}),
        ("fd00::5", "fd00::5", "fd00::1", {"fd00:1::9", "2001:db8::9"}),
        ("fd00::5", "fd00::6", "fd00::1", {"2001:db8::9"}),
    ],
)
def test_what_a_broker_names_is_dialled_where_it_may_be_known(
    local: str, observed: str | None, broker: str, allowed: set[str]
) -> None:
    seen = None if observed is None else ip_address(observed)
    vantage = Vantage(ip_address(local), seen, ip_address(broker))
    all_ = {
        4: ["127.0.0.2", "10.1.1.1", "192.168.1.1", "203.0.113.9", "169.254.1.1", "224.0.0.1"],
        6: ["::1", "fd00:1::9", "2001:db8::9", "fe80::1", "::ffff:127.0.0.1", "ff02::1"],
    }[ip_address(local).version]
    assert {t for t in all_ if vantage.may_dial_untrusted(Endpoint(ip_address(t), 1024))} == allowed
    assert not any(vantage.may_dial_untrusted(Endpoint(ip_address(t), 1023)) for t in all_)


@pytest.mark.parametrize(
    ("text", "site"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")],
)
def test_one_site_has_one_ipv4_address_or_one_ipv6_network(text: str, site: str) -> None:
    assert site_of(ip_address(text)) == ip_address(site)


def test_an_endpoint_takes_the_text_of_an_address() -> None:
    assert Endpoint("192.0.2.1", 80) == Endpoint(ip_address("192.0.2.1"), 80)
    assert str(Endpoint("2001:db8::1", 80)) == "[2001:db8::1]:80"


@pytest.mark.parametrize(
    ("address", "port", "sentence"),
    [
        ("broker.example.org", 80, "'broker.example.org' is no IP address: give its text, like"),
        (1, 80, "1 is no IP address: give its text, like '192.0.2.1', or an ipaddress object"),
        (b"\xc0\x00\x02\x01", 80, r"b'\xc0\x00\x02\x01' is no IP address: give its text"),
        (None, 80, "None is no IP address: give its text"),
        ("192.0.2.1", "80", "'80' is no port: give a number from 0 to 65535"),
        ("192.0.2.1", True, "True is no port: give a number from 0 to 65535"),
        ("192.0.2.1", 65536, "65536 is no port: give a number from 0 to 65535"),
        ("192.0.2.1", -1, "-1 is no port: give a number from 0 to 65535"),
    ],
)
def test_what_makes_no_endpoint_gets_a_sentence(address: Any, port: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Endpoint(address, port)
