"""The messages of NAT-PMP: what is sent, what counts as an answer, and that nothing else does."""

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given, strategies as st

from trio_p2p._errors import RemoteProtocolError
from trio_p2p._portmap.nat_pmp import (
    EXTERNAL_ADDRESS_REQUEST,
    AddressResponse,
    MapRequest,
    MapResponse,
    NatPmpResult,
    name_of,
    read_address_response_untrusted,
    read_map_response_untrusted,
)

REQUEST = MapRequest(4000, 600, 5000)
ADDRESS_RESPONSE = bytes.fromhex("00800000000000070b16212c")
MAP_RESPONSE = bytes.fromhex("00820000000000070fa0138800000258")
FAILURES = [2, 3, 4, 5, 6, 0x0200]


def test_requests() -> None:
    assert EXTERNAL_ADDRESS_REQUEST.hex() == "0000"
    assert REQUEST.encode().hex() == "000200000fa0138800000258"
    assert MapRequest(4000, 0).encode().hex() == "000200000fa0000000000000"


def test_address_response() -> None:
    expected = AddressResponse(NatPmpResult.SUCCESS, 7, IPv4Address("11.22.33.44"))
    assert read_address_response_untrusted(ADDRESS_RESPONSE) == expected


def test_map_response() -> None:
    expected = MapResponse(NatPmpResult.SUCCESS, 7, 5000, 600)
    assert read_map_response_untrusted(MAP_RESPONSE, REQUEST) == expected


def test_response_to_a_request_to_delete() -> None:
    data = bytes.fromhex("00820000000000070fa0000000000000")
    expected = MapResponse(NatPmpResult.SUCCESS, 7)
    assert read_map_response_untrusted(data, MapRequest(4000, 0)) == expected


@pytest.mark.parametrize("result", FAILURES)
def test_result_codes(result: int) -> None:
    code = f"{result:04x}"
    for end in ("", "00000000"):
        data = bytes.fromhex(f"0080{code}00000007{end}")
        assert read_address_response_untrusted(data) == AddressResponse(result, 7)
        data = bytes.fromhex(f"0082{code}00000007{end}")
        assert read_map_response_untrusted(data, REQUEST) == MapResponse(result, 7)


def test_result_codes_have_names() -> None:
    assert name_of(4) == "OUT_OF_RESOURCES"
    assert name_of(6) == "result code 6"


@pytest.mark.parametrize(
    "data", ["0080000100000007", "0280000100000000" + "00" * 16], ids=["NAT-PMP", "PCP"]
)
def test_routers_that_speak_another_version(data: str) -> None:
    version = NatPmpResult.UNSUPPORTED_VERSION
    assert read_address_response_untrusted(bytes.fromhex(data)) == AddressResponse(version)
    assert read_map_response_untrusted(bytes.fromhex(data), REQUEST) == MapResponse(version)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("0080000000000007", id="no address"),
        pytest.param("00800000000000070b16212c00", id="too long"),
        pytest.param("008000000000000700000000", id="zeros"),
        pytest.param("00800000", id="truncated"),
        pytest.param("00000000000000070b16212c", id="a request"),
        pytest.param("01800000000000070b16212c", id="another version"),
        pytest.param(MAP_RESPONSE.hex(), id="a mapping"),
    ],
)
def test_what_is_no_address_response(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_address_response_untrusted(bytes.fromhex(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("00820000000000070fa01388", id="truncated"),
        pytest.param("00820000000000070fa013880000025800", id="too long"),
        pytest.param("00820000000000070fa1138800000258", id="another internal port"),
        pytest.param("00820000000000070fa0000000000258", id="no external port"),
        pytest.param("00820000000000070fa0138800000000", id="no lifetime"),
        pytest.param("00810000000000070fa0138800000258", id="UDP"),
        pytest.param("00020000000000070fa0138800000258", id="a request"),
        pytest.param(ADDRESS_RESPONSE.hex(), id="an address"),
    ],
)
def test_what_is_no_response_to_the_request(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_map_response_untrusted(bytes.fromhex(data), REQUEST)


@given(st.binary(max_size=24))
def test_any_bytes_give_one_error_only(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        read_address_response_untrusted(data)
    with suppress(RemoteProtocolError):
        read_map_response_untrusted(data, REQUEST)


@given(st.integers(1, 65535), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_any_response_is_read_as_it_was_meant(port: int, lifetime: int, epoch: int) -> None:
    data = bytes.fromhex(f"00820000{epoch:08x}0fa0{port:04x}{lifetime:08x}")
    expected = MapResponse(NatPmpResult.SUCCESS, epoch, port, lifetime)
    assert read_map_response_untrusted(data, REQUEST) == expected
