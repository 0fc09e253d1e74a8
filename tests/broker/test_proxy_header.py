"""Headers of the PROXY protocol, of both versions, byte by byte and from hostile hands."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, strategies as st

from trio_p2p import Endpoint, RemoteProtocolError
from trio_p2p._addresses import IPAddress
from trio_p2p._broker.proxy_header import MAX_LINE_BYTES, MAX_REST_BYTES, Proxied, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = Endpoint(IPv4Address("203.0.113.5"), 49152)
PROXY = Endpoint(IPv4Address("198.51.100.7"), 4433)
CLIENT6 = Endpoint(IPv6Address("2001:db8::5"), 49152)
PROXY6 = Endpoint(IPv6Address("2001:db8::7"), 4433)


def read(data: bytes) -> tuple[ProxyHeader, bytes]:
    """What a header says, and what stands behind it."""
    header = ProxyHeader()
    while header.wanted:
        piece, data = data[: header.wanted], data[header.wanted :]
        if len(piece) < header.wanted:
            raise EOFError
        header.feed_untrusted(piece)
    return header, data


def binary(source: Endpoint, target: Endpoint, more: bytes = b"", *, command: int = 0x21) -> bytes:
    family = 0x11 if source.address.version == 4 else 0x21
    rest = source.address.packed + target.address.packed
    rest += source.port.to_bytes(2, "big") + target.port.to_bytes(2, "big") + more
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


HEADERS = {
    b"PROXY TCP4 203.0.113.5 198.51.100.7 49152 4433\r\n": Proxied(CLIENT, PROXY),
    b"PROXY TCP6 2001:db8::5 2001:DB8::7 49152 4433\r\n": Proxied(CLIENT6, PROXY6),
    b"PROXY TCP6 ::ffff:cb00:7105 ::ffff:c633:6407 49152 4433\r\n": Proxied(CLIENT, PROXY),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": None,
    binary(CLIENT, PROXY): Proxied(CLIENT, PROXY),
    binary(CLIENT6, PROXY6): Proxied(CLIENT6, PROXY6),
    binary(CLIENT, PROXY, b"\x04\x00\x01x" * 9): Proxied(CLIENT, PROXY),
    binary(CLIENT, PROXY, bytes(MAX_REST_BYTES - 12)): Proxied(CLIENT, PROXY),
    binary(CLIENT, PROXY, command=0x20): None,
    SIGNATURE + b"\x20\x00\x00\x00": None,
    SIGNATURE + b"\x21\x00\x00\x02xx": None,
}


@pytest.mark.parametrize(("data", "expected"), HEADERS.items())
@pytest.mark.parametrize("behind", [b"", b"\x16", b"\r\n", b"PROXY TCP4 "])
def test_headers(data: bytes, expected: Proxied | None, behind: bytes) -> None:
    header, rest = read(data + behind)
    assert header.proxied == expected
    assert rest == behind


@pytest.mark.parametrize("data", HEADERS)
def test_nothing_is_said_before_the_end(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(EOFError):
            read(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xc4\x36" + b"\x83" * 54,
        b"\x16\x03\x01" + bytes(200),
        b"proxy TCP4 203.0.113.5 198.51.100.7 49152 4433\r\n",
        b"PROXY  TCP4 203.0.113.5 198.51.100.7 49152 4433\r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 49152 4433 \r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 0 4433\r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 65536 4433\r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 -1 4433\r\n",
        b"PROXY TCP4 203.0.113.256 198.51.100.7 49152 4433\r\n",
        b"PROXY TCP4 2001:db8::5 198.51.100.7 49152 4433\r\n",
        b"PROXY TCP6 203.0.113.5 198.51.100.7 49152 4433\r\n",
        b"PROXY UDP4 203.0.113.5 198.51.100.7 49152 4433\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 49152 4433\n" + bytes(100),
        b"PROXY " + b"x" * (MAX_LINE_BYTES - 6),
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11" + (MAX_REST_BYTES + 1).to_bytes(2, "big"),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes(12),  # port 0
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(data)


_starts = st.sampled_from(
    [b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", SIGNATURE + b"\x21\x21"]
)


@given(st.builds(bytes.__add__, _starts, st.binary(max_size=300)))
@example(SIGNATURE + b"\x21\x11" + b"\x10\x00" + bytes(4096))
def test_hostile_bytes_raise_one_exception_and_take_no_more_than_they_may(data: bytes) -> None:
    header, taken = ProxyHeader(), 0
    with suppress(RemoteProtocolError, EOFError):
        while header.wanted:
            assert header.wanted <= MAX_REST_BYTES
            piece = data[taken : taken + header.wanted]
            if len(piece) < header.wanted:
                raise EOFError
            taken += len(piece)
            header.feed_untrusted(piece)
    assert taken <= 16 + MAX_REST_BYTES


_ports = st.integers(1, 65535)


@given(
    st.one_of(
        *(st.tuples(st.ip_addresses(v=version), st.ip_addresses(v=version)) for version in (4, 6))
    ),
    _ports,
    _ports,
)
def test_both_versions_say_the_same(
    addresses: tuple[IPAddress, IPAddress], source_port: int, target_port: int
) -> None:
    source, target = Endpoint(addresses[0], source_port), Endpoint(addresses[1], target_port)
    version = source.address.version
    line = f"PROXY TCP{version} {source.address} {target.address} {source_port} {target_port}\r\n"
    by_line, _ = read(line.encode())
    by_bytes, _ = read(binary(source, target))
    assert by_line.proxied is not None
    assert by_line.proxied == by_bytes.proxied
