"""Feeds hostile bytes to what reads the header of the PROXY protocol, versions 1 and 2.

A proxy is named by the operator, but what it passes on may have been made up by a client that the
proxy does not keep from that. ``nox -s fuzz`` runs it; the arguments are libFuzzer's.

An input is what comes over the connection: a header, and what the client says behind it.
"""

import sys
from ipaddress import IPv6Address, ip_address

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from trio_p2p._addresses import Endpoint
    from trio_p2p._broker.parties import network_of
    from trio_p2p._broker.proxy_header import (
        MAX_LINE_BYTES,
        MAX_REST_BYTES,
        Proxied,
        ProxyHeader,
    )
    from trio_p2p._errors import RemoteProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIRST_BYTES = 16  # of version 2
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UDP4, UNIX = 0x11, 0x21, 0x12, 0x31


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    header, taken = ProxyHeader(), 0
    while header.wanted:
        assert header.wanted > 0
        piece = data[taken : taken + header.wanted]
        if len(piece) < header.wanted:  # the connection ends, or the time is over
            return
        taken += len(piece)
        try:
            header.feed_untrusted(piece)
        except RemoteProtocolError as error:
            str(error)  # the log
            return
    assert taken <= max(MAX_LINE_BYTES, FIRST_BYTES + MAX_REST_BYTES)
    check_nothing_behind_it_was_taken(data[:taken])
    if header.proxied is not None:
        check(header.proxied)


def check_nothing_behind_it_was_taken(taken: bytes) -> None:
    if taken.startswith(SIGNATURE):
        assert len(taken) == FIRST_BYTES + int.from_bytes(taken[14:16], "big")
    else:
        assert taken.startswith(b"PROXY ")
        assert taken.index(b"\r\n") == len(taken) - 2


def check(proxied: Proxied) -> None:
    """What a header says can be used, and says the same in the forms of both versions."""
    for endpoint in (proxied.source, proxied.target):
        assert 0 < endpoint.port < 65536
        address = endpoint.address
        assert not isinstance(address, IPv6Address) or address.ipv4_mapped is None
        network_of(address)
    versions = {proxied.source.address.version, proxied.target.address.version}
    if len(versions) > 1:  # one was an IPv4 address in IPv6
        return
    for header in (line_of(proxied), binary_of(proxied)):
        assert read(header) == proxied


def read(data: bytes) -> Proxied | None:
    header = ProxyHeader()
    while header.wanted:
        piece, data = data[: header.wanted], data[header.wanted :]
        header.feed_untrusted(piece)
    assert not data
    return header.proxied


def line_of(proxied: Proxied) -> bytes:
    source, target = proxied.source, proxied.target
    version = source.address.version
    return (
        f"PROXY TCP{version} {source.address} {target.address} {source.port} {target.port}\r\n"
    ).encode()


def binary_of(proxied: Proxied, *, command: int = PROXY, rest: bytes = b"") -> bytes:
    source, target = proxied.source, proxied.target
    family = TCP4 if source.address.version == 4 else TCP6
    ports = source.port.to_bytes(2, "big") + target.port.to_bytes(2, "big")
    return binary(command, family, source.address.packed + target.address.packed + ports + rest)


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


def seeds() -> list[bytes]:
    """Inputs to begin with: headers of both versions, right and wrong, and what may follow."""
    pairs = [
        ("203.0.113.5", "198.51.100.7"),
        ("2001:db8::1", "::1"),
        ("::ffff:192.0.2.1", "2001:db8::1"),
        ("255.255.255.255", "0.0.0.0"),
    ]
    described = [
        Proxied(Endpoint(ip_address(source), 49152), Endpoint(ip_address(target), 65535))
        for source, target in pairs
    ]
    headers = [
        *map(line_of, described),
        *map(binary_of, described),
        *(binary_of(each, rest=b"\x04\0\3abc") for each in described),
        binary_of(described[0], command=LOCAL),
        binary_of(described[0], rest=bytes(MAX_REST_BYTES)),
        binary(PROXY, UDP4, bytes(12)),
        binary(PROXY, UNIX, bytes(216)),
        binary(PROXY, 0, b""),
        binary(LOCAL, 0, b""),
        binary(PROXY, TCP4, bytes(11)),
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ff:: ff:: 1 1\r\n",
        b"PROXY TCP4 203.0.113.5 198.51.100.7 0 65536\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        b"PROXY " + b"x" * MAX_LINE_BYTES,
        b"\x16\x03\x01\x02\x00",
    ]
    return [*headers, *(each + b"behind it" for each in headers), *(each[:-1] for each in headers)]


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
