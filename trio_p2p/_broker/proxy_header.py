"""The header of the PROXY protocol: where a client of a proxy comes from. Sans-IO.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, versions 1 and 2. A proxy sends it
before anything else on each connection. Others must not be believed: they could choose any address.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

from .._addresses import Endpoint, IPAddress
from .._errors import RemoteProtocolError

MAX_LINE_BYTES: Final = 107  # of version 1, its end included
# Of version 2 behind its first 16 bytes: 36 of addresses, and what else the proxy has to say.
MAX_REST_BYTES: Final = 4096

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIRST_BYTES = len(_SIGNATURE)  # fewer than any header has
_LINE = re.compile(
    rb"PROXY TCP(?P<version>[46]) (?P<source>[0-9A-Fa-f.:]{2,39}) "
    rb"(?P<target>[0-9A-Fa-f.:]{2,39}) (?P<source_port>[0-9]{1,5}) (?P<target_port>[0-9]{1,5})"
)
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_UNSPECIFIED = 0x00  # family and transport
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}  # TCP over IPv4, and over IPv6


@attrs.frozen
class Proxied:
    """What a header says.

    Attributes:
        source: where the client comes from.
        target: where it has come to.
    """

    source: Endpoint
    target: Endpoint


class ProxyHeader:
    """Reads one header, and no byte behind it.

    Attributes:
        wanted: how many bytes to feed next; 0 if the header is complete.
        proxied: then what it says; None if the proxy speaks for itself.
    """

    def __init__(self) -> None:
        self.wanted: int = _FIRST_BYTES
        self.proxied: Proxied | None = None
        self._data = b""

    def feed_untrusted(self, data: bytes) -> None:
        """Take the next bytes.

        Args:
            data: as many as are wanted.

        Raises:
            RemoteProtocolError: this is no header.
        """
        assert len(data) == self.wanted
        self._data += data
        if self._data[:_FIRST_BYTES] == _SIGNATURE:
            self._read_binary()
        elif self._data.startswith(b"PROXY "):
            self._read_line()
        else:
            raise RemoteProtocolError("what came from a proxy does not begin with a PROXY header")

    def _read_binary(self) -> None:
        data = self._data
        if len(data) < _FIRST_BYTES + 4:
            self.wanted = _FIRST_BYTES + 4 - len(data)
            return
        command, family = data[12], data[13]
        length = int.from_bytes(data[14:16], "big")
        if command not in (_LOCAL, _PROXY):
            raise RemoteProtocolError("a PROXY header of another version, or with no known command")
        if length > MAX_REST_BYTES:
            raise RemoteProtocolError(f"a PROXY header of more than {MAX_REST_BYTES} bytes")
        self.wanted = _FIRST_BYTES + 4 + length - len(data)
        if self.wanted or command == _LOCAL or family == _UNSPECIFIED:
            return
        size = _ADDRESS_BYTES.get(family)
        if size is None or length < 2 * size + 4:
            raise RemoteProtocolError("a PROXY header that is not of a TCP connection")
        packed, ports = data[16 : 16 + 2 * size], data[16 + 2 * size :]
        self.proxied = Proxied(
            _endpoint(ip_address(packed[:size]), int.from_bytes(ports[:2], "big")),
            _endpoint(ip_address(packed[size:]), int.from_bytes(ports[2:4], "big")),
        )

    def _read_line(self) -> None:
        self.wanted = 0 if self._data.endswith(b"\r\n") else 1
        if self.wanted:
            if len(self._data) >= MAX_LINE_BYTES:
                raise RemoteProtocolError(
                    f"the line of a PROXY header has more than {MAX_LINE_BYTES} bytes"
                )
            return
        line = self._data[:-2]
        if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
            return
        found = _LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError("the line of a PROXY header is not in order")
        version = int(found["version"])
        self.proxied = Proxied(
            _endpoint(_address(found["source"], version), int(found["source_port"])),
            _endpoint(_address(found["target"], version), int(found["target_port"])),
        )


def _address(text: bytes, version: int) -> IPAddress:
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise RemoteProtocolError(f"a PROXY header without an IPv{version} address")
    return address


def _endpoint(address: IPAddress, port: int) -> Endpoint:
    if not 0 < port < 65536:
        raise RemoteProtocolError("a PROXY header without a port")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Endpoint(address, port)
