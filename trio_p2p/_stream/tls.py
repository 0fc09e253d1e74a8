"""TLS 1.3 between two peers that know each other's certificates, apart from any socket.

Neither peer has a name that an authority could vouch for. The broker gives each one the other's
certificate, and that very certificate is all that is trusted.

OpenSSL is used as it comes with ``cryptography``, and by pyOpenSSL: with Python's own module each
byte is copied once more on its way out, and the key would have to be loaded from a file. Where many
bytes pass, OpenSSL's own functions are called: pyOpenSSL's copy each byte once more. Both take a
third as long to load as Trio. So this module is imported when the first context is made, and the
first path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL, crypto

from .._errors import NotAdmittedError, P2PError, RemoteProtocolError, WrongPeerError

if TYPE_CHECKING:
    from .._identity.identity import Identity

Context: TypeAlias = SSL.Context
"""What proves an identity in TLS, for any number of connections and in both roles."""

_lib, _ffi = Binding.lib, Binding.ffi

RECORD_BYTES: Final = 2**14  # of plaintext, at most (RFC 8446 5.1)
# By measurement (benchmarks/streams.py): to join more costs more than a record of its own.
JOINED_BYTES: Final = 2**10

# How many bytes a record has beside its plaintext, at least and at most (RFC 8446 5.2).
_MIN_OVERHEAD: Final = 5 + 1 + 16  # header, type and tag
_MAX_OVERHEAD: Final = 256 + 5
_MAX_RECORD_BYTES: Final = RECORD_BYTES + _MAX_OVERHEAD

# SSL_MODE_ENABLE_PARTIAL_WRITE of openssl/ssl.h, which pyOpenSSL sets and does not name: each call
# would encrypt one record only.
_ENABLE_PARTIAL_WRITE: Final = 1
# The alerts that refuse our certificate (RFC 8446 6.2), as OpenSSL names them.
_REFUSING_ALERTS: Final = {
    "access denied",
    "bad certificate",
    "certificate expired",
    "certificate required",
    "certificate revoked",
    "certificate unknown",
    "decrypt error",
    "unknown ca",
    "unsupported certificate",
}
# OpenSSL's errors for a peer that lacks the certificate or its key.
_PROOF_MISSING: Final = {
    "bad signature",
    "certificate verify failed",
    "peer did not return a certificate",
}


def make_context(identity: Identity) -> Context:
    """The context of an identity."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # nothing is ever resumed
    context.set_options(SSL.OP_NO_TICKET)  # so tickets are short, at least
    context.clear_mode(_ENABLE_PARTIAL_WRITE)
    context.use_certificate(load_der_x509_certificate(identity.certificate))
    context.use_privatekey(identity.private_key)
    return context


class TLSEngine:
    """One side of a TLS connection: bytes in, bytes out.

    Args:
        context: from :func:`make_context`.
        server_side: whether we are TLS's server.
        peer_certificate: the peer's, in DER: no other one is accepted.

    Attributes:
        pending: how many bytes there are to decrypt, at most; perhaps too few for any.
        is_ended: whether the peer has said that it sends nothing more.
    """

    def __init__(self, context: Context, *, server_side: bool, peer_certificate: bytes) -> None:
        self._tls = SSL.Connection(context, None)
        self._tls.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _expect(peer_certificate)
        )
        if server_side:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
        # pyOpenSSL copies what passes through it, and has no public way around that.
        self._ssl = self._tls._ssl  # pyright: ignore[reportPrivateUsage]
        self._outgoing = self._tls._from_ssl  # pyright: ignore[reportPrivateUsage]
        self._flight = b""
        self._incomplete = 0  # bytes of a record that has not come as a whole, at most
        self.pending = 0
        self._error: P2PError | None = None
        self.is_ended = False

    @property
    def has_failed(self) -> bool:
        """Whether all attempts to decrypt more are in vain."""
        return self._error is not None

    @property
    def has_outgoing(self) -> bool:
        """Whether TLS itself has something to send."""
        return bool(self._flight)

    def feed(self, ciphertext: bytes | memoryview) -> None:
        """Take what came from the peer."""
        if ciphertext:
            self._tls.bio_write(ciphertext)
            self.pending += self._incomplete + len(ciphertext)
            self._incomplete = 0

    def take_outgoing(self) -> bytes:
        """Give what TLS itself has to send to the peer."""
        flight, self._flight = self._flight, b""
        return flight

    def handshake(self) -> bool:
        """Do what the handshake can with what was fed; whether that ends it.

        If it fails, what is to be sent is the alert that tells the peer.

        Raises:
            WrongPeerError: the peer is not the certificate's.
            NotAdmittedError: the peer refuses our certificate.
            RemoteProtocolError: what came is not this handshake.
        """
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise _blame(error) from error
        finally:
            self._collect()
        return True

    def most_encrypted(self, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
        """How many bytes :meth:`encrypt_into` makes of the pieces, at most."""
        size = sum(map(len, pieces))
        records = size // RECORD_BYTES + len(pieces) + 1  # and one for TLS itself
        return len(self._flight) + size + records * _MAX_OVERHEAD

    def encrypt(self, pieces: Sequence[bytes | bytearray | memoryview]) -> bytes:
        """What is to be sent so that the peer gets the pieces; the handshake must have ended.

        Raises:
            P2PError: it has not, or what came, and was decrypted, has ended TLS.
        """
        self._write(pieces)
        return self.take_outgoing() + self._tls.bio_read(self.most_encrypted(pieces))

    def encrypt_into(
        self, pieces: Sequence[bytes | bytearray | memoryview], memory: bytearray
    ) -> int:
        """Like :meth:`encrypt`, without a copy.

        Args:
            pieces: what the peer is to get; more than nothing.
            memory: where to put what is to be sent; :meth:`most_encrypted` says how much it needs.

        Returns:
            How many bytes that are.

        Raises:
            P2PError: as :meth:`encrypt`.
        """
        self._write(pieces)
        flight = self.take_outgoing()
        memory[: len(flight)] = flight
        with _ffi.from_buffer(memory, require_writable=True) as start:
            room = len(memory) - len(flight)
            count: int = _lib.BIO_read(self._outgoing, start + len(flight), room)
        return len(flight) + count

    def _write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        if self._error is not None:
            raise self._error
        size = sum(map(len, pieces))
        try:
            for piece in [b"".join(pieces)] if size <= RECORD_BYTES else _joined(pieces):
                self._tls.send(piece)
        except SSL.Error as error:
            raise _blame(error) from error

    def decrypt_into(self, buffer: memoryview, *, is_one_record: bool = False) -> int:
        """Decrypt what is there, as long as the buffer has room.

        Args:
            buffer: where to put it.
            is_one_record: whether to decrypt no more than the rest of a record.

        Returns:
            How many bytes the buffer got.

        Raises:
            NotAdmittedError: the peer refused our certificate.
            RemoteProtocolError: what came is not from the peer, or not as it was.
        """
        if self._error is not None:
            raise self._error
        filled, size, pending = 0, len(buffer), self.pending
        try:
            with _ffi.from_buffer(buffer, require_writable=True) as start:
                while filled < size and pending > 0:
                    count = _lib.SSL_read(self._ssl, start + filled, size - filled)  # of one record
                    if count <= 0:  # the same again says why
                        count = self._tls.recv_into(buffer[filled:], RECORD_BYTES)
                    filled += count
                    pending -= count
                    if filled < size or not self._tls.pending():
                        pending -= _MIN_OVERHEAD  # that was all of the record
                    if is_one_record:
                        break
            self.pending = max(0, pending)
        except SSL.WantReadError:
            self._incomplete = min(pending, _MAX_RECORD_BYTES)
            self.pending = 0
        except SSL.ZeroReturnError:
            self.is_ended = True
            self.pending = 0
        except SSL.Error as error:
            # It would hold the buffer as long as the error is held.
            error.__traceback__ = None
            self._error = _blame(error)
            self._error.__cause__ = error
            self._collect()
            if not filled:
                raise self._error from error  # else what came before it is good
        return filled

    def _collect(self) -> None:
        """Take what TLS itself has to send."""
        with suppress(SSL.WantReadError):
            while True:
                self._flight += self._tls.bio_read(RECORD_BYTES)


def _expect(certificate: bytes) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """Whether a peer shows a certificate, and no other; clocks and authorities do not matter."""

    def is_expected(
        _connection: SSL.Connection, shown: crypto.X509, _error: int, _depth: int, _ok: int
    ) -> bool:
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, shown) == certificate

    return is_expected


def _joined(
    pieces: Sequence[bytes | bytearray | memoryview],
) -> Iterator[bytes | bytearray | memoryview]:
    """The pieces, the small ones joined; a record more costs less than to join large ones."""
    small: list[bytes | bytearray | memoryview] = []
    for piece in pieces:
        if not piece:
            continue
        if len(piece) <= JOINED_BYTES:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield piece
    if small:
        yield b"".join(small)


def _blame(error: SSL.Error) -> P2PError:
    # Its queue of errors, of which the last one is the cause; without any, TLS is not ready.
    reason = error.args[0][-1][2] if error.args else "the handshake has not ended"
    if reason in _PROOF_MISSING:
        return WrongPeerError(
            "the peer that answered could not prove to be the introduced one: open another stream"
        )
    if reason.partition(" alert ")[2] in _REFUSING_ALERTS:
        return NotAdmittedError(
            "the peer rejected this side's certificate: it expects another peer"
        )
    return RemoteProtocolError(f"the peer does not speak TLS as it should: {reason}")
