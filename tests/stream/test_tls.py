"""TLS between two identities, without a socket: each engine gets what the other one gives."""

import datetime as dt
import itertools
import os
import ssl
import tempfile

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings, strategies as st
from OpenSSL import SSL

from trio_p2p._errors import NotAdmittedError, RemoteProtocolError, WrongPeerError
from trio_p2p._stream.tls import RECORD_BYTES, TLSEngine, make_context

from ..kit.tls_pair import CLIENT, SERVER, STRANGER, Pair, connected, engine


def decrypt(receiver: TLSEngine, room: int = 4 * RECORD_BYTES) -> bytes:
    buffer = memoryview(bytearray(room))
    return bytes(buffer[: receiver.decrypt_into(buffer)])


@pytest.mark.parametrize("good", [b"", b"what came before is good"])
def test_failure_holds_no_buffer(good: bytes) -> None:
    pair = connected()
    if good:
        pair.server.feed(pair.client.encrypt([good]))
    pair.server.feed(b"the relay's last words come in clear")
    memory = bytearray(RECORD_BYTES)
    with memoryview(memory) as buffer:
        if good:
            assert pair.server.decrypt_into(buffer) == len(good)
        with pytest.raises(RemoteProtocolError) as failure:
            pair.server.decrypt_into(buffer)
    del memory[len(good) :]  # to resize what somebody holds raises BufferError
    assert memory == good
    assert isinstance(failure.value.__cause__, SSL.Error)


def test_both_sides_get_what_the_other_one_encrypts() -> None:
    pair = connected()
    pair.server.feed(pair.client.encrypt([b"to the ", memoryview(b"server")]))
    pair.client.feed(pair.server.encrypt([b"to the client"]))
    assert decrypt(pair.server) == b"to the server"
    assert decrypt(pair.client) == b"to the client"


def test_a_client_sends_data_along_with_the_end_of_its_handshake() -> None:
    pair = Pair()
    pair.client.handshake()
    pair.to_server()
    pair.server.handshake()
    pair.to_client()
    assert pair.client.handshake()
    pair.server.feed(pair.client.encrypt([b"early"]))
    assert pair.server.handshake()
    assert decrypt(pair.server) == b"early"


def test_small_pieces_share_a_record() -> None:
    pair = connected()
    together = pair.client.encrypt([b"x" * 10, b"y" * 10])
    assert len(together) == len(pair.client.encrypt([b"z" * 20]))


def test_large_pieces_arrive_in_as_many_goes_as_the_buffer_allows() -> None:
    pair = connected()
    data = os.urandom(10 * RECORD_BYTES)
    pair.server.feed(pair.client.encrypt([b"header", data]))
    received = b""
    while pair.server.pending:
        received += decrypt(pair.server, 2 * RECORD_BYTES)
    assert received == b"header" + data


def test_bytes_may_come_one_at_a_time() -> None:
    pair = connected()
    ciphertext = pair.client.encrypt([b"slow"])
    received = []
    for byte in ciphertext:
        pair.server.feed(bytes([byte]))
        received.append(decrypt(pair.server))
    assert b"".join(received) == b"slow" == received[-1]


def test_only_tls_1_3_is_spoken() -> None:
    old = SSL.Context(SSL.TLS_METHOD)
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    pair = Pair(client=TLSEngine(old, server_side=False, peer_certificate=SERVER.certificate))
    pair.client.handshake()
    pair.to_server()
    with pytest.raises(RemoteProtocolError, match="unsupported protocol"):
        pair.server.handshake()


def test_tickets_of_the_server_are_short_and_no_data() -> None:
    pair = connected()
    assert len(pair.server.take_outgoing()) < 512
    pair = connected()
    pair.to_client()
    pair.client.feed(pair.server.encrypt([b"data"]))
    assert decrypt(pair.client) == b"data"


def test_a_client_refuses_another_server_and_the_server_learns_of_it() -> None:
    pair = Pair(server=engine(STRANGER, CLIENT, server_side=True))
    with pytest.raises(WrongPeerError, match="could not prove"):
        pair.shake_hands()
    pair.to_server()
    with pytest.raises(NotAdmittedError, match="expects another peer"):
        pair.server.handshake()


def test_a_server_refuses_another_client_and_the_client_learns_of_it() -> None:
    pair = Pair(client=engine(STRANGER, SERVER, server_side=False))
    with pytest.raises(WrongPeerError, match="could not prove"):
        pair.shake_hands()
    pair.to_client()
    for _ in range(2):  # it stays so
        with pytest.raises(NotAdmittedError, match="expects another peer"):
            decrypt(pair.client)


def test_a_client_without_a_certificate_is_refused() -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    pair = Pair(client=TLSEngine(context, server_side=False, peer_certificate=SERVER.certificate))
    with pytest.raises(WrongPeerError):
        pair.shake_hands()
    pair.to_client()
    with pytest.raises(NotAdmittedError):
        decrypt(pair.client)


@attrs.frozen
class Impostor:
    """Shows a certificate without having its key, or any other one."""

    certificate: bytes
    private_key: Ed25519PrivateKey


def issue(
    subject: Ed25519PrivateKey, issuer: Ed25519PrivateKey, *, name: str = "p", year: int = 2000
) -> Impostor:
    """A certificate, whose key can vouch for others, unlike an identity's."""
    start = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "p")]))
        .public_key(subject.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(issuer, None)
    )
    return Impostor(certificate.public_bytes(Encoding.DER), subject)


def impostor_engine(impostor: Impostor) -> TLSEngine:
    context = make_context(impostor)  # type: ignore[arg-type]
    return TLSEngine(context, server_side=True, peer_certificate=CLIENT.certificate)


def expecting(certificate: bytes) -> TLSEngine:
    return TLSEngine(make_context(CLIENT), server_side=False, peer_certificate=certificate)


def test_a_certificate_that_the_expected_one_vouches_for_is_not_the_expected_one() -> None:
    expected, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    root = issue(expected, expected)
    pair = Pair(expecting(root.certificate), impostor_engine(issue(other, expected, name="q")))
    with pytest.raises(WrongPeerError, match="could not prove"):
        pair.shake_hands()


@pytest.mark.parametrize("year", [1971, 2001, 2100])
def test_a_wrong_clock_refuses_nobody(year: int) -> None:
    key = Ed25519PrivateKey.generate()
    peer = issue(key, key, year=year)
    pair = Pair(expecting(peer.certificate), impostor_engine(peer))
    pair.shake_hands()


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(100),
    "a record of something": b"\x16\x03\x01\x00\x05hello",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("server_side", [False, True])
def test_garbage_is_no_handshake(data: bytes, server_side: bool) -> None:
    one = engine(SERVER, CLIENT, server_side=server_side)
    one.feed(data)
    with pytest.raises(RemoteProtocolError):
        one.handshake()


def test_what_comes_before_garbage_is_good() -> None:
    pair = connected()
    pair.server.feed(pair.client.encrypt([b"good"]) + b"words in clear, or others'")
    assert decrypt(pair.server) == b"good"
    for _ in range(2):  # it stays so
        with pytest.raises(RemoteProtocolError):
            decrypt(pair.server)


def test_what_was_changed_on_the_way_is_refused() -> None:
    pair = connected()
    ciphertext = bytearray(pair.client.encrypt([b"data"]))
    ciphertext[-1] ^= 1
    pair.server.feed(bytes(ciphertext))
    with pytest.raises(RemoteProtocolError):
        decrypt(pair.server)
    assert pair.server.has_outgoing  # an alert


def test_the_peer_can_end_what_it_sends() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as file:
        file.write(CLIENT.certificate_pem() + CLIENT.private_key_pem())
        file.flush()
        context.load_cert_chain(file.name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    server = engine(SERVER, CLIENT, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    server.feed(outgoing.read())
    server.handshake()
    incoming.write(server.take_outgoing())
    client.do_handshake()
    client.write(b"the last")
    with pytest.raises(ssl.SSLWantReadError):
        client.unwrap()
    server.feed(outgoing.read())
    assert server.handshake()
    assert decrypt(server) == b"the last"
    assert server.is_ended


def test_nothing_is_encrypted_before_the_handshake_has_ended() -> None:
    with pytest.raises(RemoteProtocolError):
        Pair().server.encrypt([b"early"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 3 * RECORD_BYTES), min_size=1, max_size=5),
    st.lists(st.integers(500, 2 * RECORD_BYTES), min_size=1),
    st.integers(500, 2 * RECORD_BYTES),
)
def test_whatever_has_come_is_pending_until_it_is_decrypted(
    pieces: list[int], cuts: list[int], room: int
) -> None:
    pair = connected()
    sent = [os.urandom(size) for size in pieces]
    ciphertext = pair.client.encrypt(sent)
    received = b""
    for size in itertools.cycle(cuts):
        pair.server.feed(ciphertext[:size])
        ciphertext = ciphertext[size:]
        while pair.server.pending:
            received += decrypt(pair.server, room)
        if not ciphertext:
            break
    assert received == b"".join(sent)
