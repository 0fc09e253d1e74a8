"""The messages of PCP: what is sent, what counts as an answer, and that nothing else does."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, strategies as st

from trio_p2p._addresses import Endpoint
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._portmap.pcp import (
    MAX_MESSAGE_BYTES,
    MapRequest,
    MapResponse,
    PcpResult,
    name_of,
    read_announcement_untrusted,
    read_map_response_untrusted,
)

NONCE = bytes(range(12))
CLIENT = IPv4Address("192.168.1.2")
EXTERNAL = Endpoint(IPv4Address("11.22.33.44"), 5000)
REQUEST = MapRequest(NONCE, CLIENT, 4000, 600)

MAPPED_CLIENT = "00000000000000000000ffffc0a80102"
MAPPED_EXTERNAL = "00000000000000000000ffff0b16212c"
MAPPED_NOTHING = "00000000000000000000ffff00000000"


def response(
    *,
    header: str = "02810000",  # version, response to MAP, reserved, success
    lifetime: str = "00000258",
    epoch: str = "00000007",
    nonce: str = NONCE.hex(),
    protocol: str = "06000000",
    ports: str = "0fa01388",
    external: str = MAPPED_EXTERNAL,
) -> bytes:
    reserved = "00" * 12
    return bytes.fromhex(header + lifetime + epoch + reserved + nonce + protocol + ports + external)


def test_request_that_suggests_nothing() -> None:
    assert REQUEST.encode().hex() == (
        "0201000000000258" + MAPPED_CLIENT + NONCE.hex() + "060000000fa00000" + MAPPED_NOTHING
    )


def test_request_that_suggests_an_endpoint() -> None:
    request = MapRequest(NONCE, CLIENT, 4000, 600, EXTERNAL)
    assert request.encode().hex() == (
        "0201000000000258" + MAPPED_CLIENT + NONCE.hex() + "060000000fa01388" + MAPPED_EXTERNAL
    )


def test_request_suggests_no_endpoint_of_the_other_family() -> None:
    suggested = Endpoint(IPv6Address("2001:db8::1"), 5000)
    assert MapRequest(NONCE, CLIENT, 4000, 600, suggested).encode() == REQUEST.encode()


def test_request_to_delete() -> None:
    assert MapRequest(NONCE, CLIENT, 4000, 0).encode()[4:8] == bytes(4)


def test_response() -> None:
    expected = MapResponse(PcpResult.SUCCESS, 600, 7, EXTERNAL)
    assert read_map_response_untrusted(response(), REQUEST) == expected


def test_response_with_options_that_nobody_asked_for() -> None:
    assert read_map_response_untrusted(response() + bytes(8), REQUEST).external == EXTERNAL


def test_response_with_an_ipv6_address() -> None:
    data = response(external="20010db8000000000000000000000001")
    external = Endpoint(IPv6Address("2001:db8::1"), 5000)
    assert read_map_response_untrusted(data, REQUEST).external == external


def test_response_to_a_request_to_delete() -> None:
    request = MapRequest(NONCE, CLIENT, 4000, 0)
    data = response(lifetime="00000000", ports="0fa00000", external=MAPPED_NOTHING)
    assert read_map_response_untrusted(data, request) == MapResponse(PcpResult.SUCCESS, 0, 7)


@pytest.mark.parametrize("result", [*list(PcpResult)[2:], 255])
def test_result_codes(result: int) -> None:
    data = response(header=f"028100{result:02x}", lifetime="0000001e")
    assert read_map_response_untrusted(data, REQUEST) == MapResponse(result, 30, 7)


def test_result_codes_have_the_names_of_the_rfc() -> None:
    assert name_of(8) == "NO_RESOURCES"
    assert name_of(255) == "result code 255"


def test_refusal_as_miniupnpd_sent_it() -> None:
    data = bytes.fromhex(
        "02810008"
        "0000001e"
        "00000000"
        "000000000000000000000000"
        "4e4e4e4e4e4e4e4e4e4e4e4e"
        "06000000"
        "13881388"
        "00000000000000000000ffffcb007101"
    )
    request = MapRequest(b"N" * 12, CLIENT, 5000, 7200)
    assert read_map_response_untrusted(data, request) == MapResponse(PcpResult.NO_RESOURCES, 30)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("0281000100000000" + "00000007" + "00" * 12, id="PCP"),
        pytest.param("0181000100000000" + "00000007" + "00" * 12, id="an older PCP"),
        pytest.param("0081000100000007", id="NAT-PMP"),
        pytest.param("00800001", id="a very short NAT-PMP"),
    ],
)
def test_routers_that_speak_another_version(data: str) -> None:
    answer = read_map_response_untrusted(bytes.fromhex(data), REQUEST)
    assert answer == MapResponse(PcpResult.UNSUPP_VERSION)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(response()[:-4], id="truncated"),
        pytest.param(response()[:24], id="header only"),
        pytest.param(response()[:-1], id="no multiple of four"),
        pytest.param(response() + bytes(MAX_MESSAGE_BYTES), id="huge"),
        pytest.param(response(header="02010000"), id="a request"),
        pytest.param(response(header="03810000"), id="a later version"),
        pytest.param(response(header="02800000"), id="an announcement"),
        pytest.param(response(nonce="00" * 12), id="another nonce"),
        pytest.param(response(header="02810002", nonce="00" * 12), id="error, another nonce"),
        pytest.param(response(protocol="11000000"), id="UDP"),
        pytest.param(response(ports="0fa11388"), id="another internal port"),
        pytest.param(response(ports="0fa00000"), id="no external port"),
        pytest.param(response(external=MAPPED_NOTHING), id="no external address"),
        pytest.param(response(external="00" * 16), id="no external IPv6 address"),
        pytest.param(response(lifetime="00000000"), id="no lifetime"),
    ],
)
def test_what_is_no_response_to_the_request(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_map_response_untrusted(data, REQUEST)


ANNOUNCEMENT = bytes.fromhex("028000000000000000000007" + "00" * 12)


def test_announcement() -> None:
    assert read_announcement_untrusted(ANNOUNCEMENT) == 7


@pytest.mark.parametrize(
    "data", [b"", ANNOUNCEMENT[:-4], response(), b"\x02\x80\0\x07" + ANNOUNCEMENT[4:]]
)
def test_what_is_no_announcement(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_announcement_untrusted(data)


@given(st.binary(max_size=80))
def test_any_bytes_give_one_error_only(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        read_map_response_untrusted(data, REQUEST)
    with suppress(RemoteProtocolError):
        read_announcement_untrusted(data)


@given(
    st.builds(
        Endpoint,
        st.ip_addresses().filter(lambda it: not it.is_unspecified and it.version == 4),
        st.integers(1, 65535),
    ),
    st.integers(1, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_any_response_is_read_as_it_was_meant(
    external: Endpoint, lifetime: int, epoch: int
) -> None:
    data = response(
        lifetime=f"{lifetime:08x}",
        epoch=f"{epoch:08x}",
        ports=f"0fa0{external.port:04x}",
        external="00000000000000000000ffff" + external.address.packed.hex(),
    )
    expected = MapResponse(PcpResult.SUCCESS, lifetime, epoch, external)
    assert read_map_response_untrusted(data, REQUEST) == expected


@given(st.integers(0, 59), st.integers(1, 255))
def test_a_response_with_one_byte_changed_is_never_misread(place: int, change: int) -> None:
    data = bytearray(response())
    data[place] ^= change
    try:
        answer = read_map_response_untrusted(bytes(data), REQUEST)
    except RemoteProtocolError:
        return
    # Whoever gets the version, the nonce, the protocol and the port wrong is not understood.
    assert place in range(2, 24) or place in range(37, 40) or place >= 42 or answer.result == 1
