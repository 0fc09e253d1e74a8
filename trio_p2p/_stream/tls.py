"""TLS 1.3 between two peers that know each other's certificates, apart from any socket.

Neither peer has a name that an authority could vouch for. The broker gives each one the other's
certificate, and that very certificate is all that is trusted.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, cast

from .._errors import NotAdmittedError, P2PError, RemoteProtocolError, WrongPeerError

if TYPE_CHECKING:
    from .._identity import Identity

RECORD_BYTES: Final = 2**14  # of plaintext, at most (RFC 8446 5.1)
# By measurement (benchmarks/streams.py): what is encrypted is still in the cache when it is sent.
ENCRYPT_BYTES: Final = 2**17

# X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h, which the ssl module does not name. A peer whose
# clock is wrong has the right key nevertheless.
_NO_CHECK_TIME: Final = 0x200000
# The alerts that refuse our certificate (RFC 8446 6.2), as OpenSSL names them.
_REFUSING_ALERTS: Final = {
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
}
# What a peer without the certificate or its key is caught at.
_PROOF_MISSING: Final = {"BAD_SIGNATURE", "PEER_DID_NOT_RETURN_A_CERTIFICATE"}


def make_context(
    identity: Identity, peer_certificate: bytes, *, server_side: bool
) -> ssl.SSLContext:
    """What proves one identity, and trusts nothing but one certificate.

    Args:
        identity: ours.
        peer_certificate: the peer's, in DER.
        server_side: whether we are TLS's server.

    Raises:
        RemoteProtocolError: the peer's certificate is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # keys are compared, there are no names
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    if server_side:
        context.num_tickets = 0  # nothing is ever resumed from one
    try:
        context.load_verify_locations(cadata=peer_certificate)
    except ssl.SSLError as error:
        raise RemoteProtocolError("the peer's certificate is none that TLS can use") from error
    _load_identity(context, identity)
    return context


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    # Keys are loaded from files only. This one is in memory, so the key gets onto no disk.
    descriptor = os.memfd_create("identity")
    try:
        os.write(descriptor, identity.certificate_pem() + identity.private_key_pem())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


class TLSEngine:
    """One side of a TLS connection: bytes in, bytes out.

    Args:
        context: from :func:`make_context`.
        server_side: as for the context.
        peer_certificate: as for the context.
    """

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, peer_certificate: bytes
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._peer_certificate = peer_certificate
        # Into a buffer, that is.
        self._read = cast("Callable[[int, memoryview], int]", self._tls.read)
        self._error: P2PError | None = None
        self.has_failed = False  # whether all attempts to decrypt more are in vain
        self.is_ended = False  # whether the peer has said that it sends nothing more

    @property
    def pending(self) -> int:
        """How many bytes there are to decrypt, about; perhaps too few for any."""
        return self._incoming.pending + self._tls.pending()

    @property
    def has_outgoing(self) -> bool:
        """Whether there is something to send."""
        return bool(self._outgoing.pending)

    def feed(self, ciphertext: bytes | memoryview) -> None:
        """Take what came from the peer."""
        self._incoming.write(ciphertext)

    def take_outgoing(self) -> bytes:
        """Give what is to be sent to the peer."""
        return self._outgoing.read()

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
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _blame(error) from error
        if self._tls.getpeercert(binary_form=True) != self._peer_certificate:
            raise WrongPeerError("the peer proved to be another one than was introduced")
        return True

    def encrypt(self, pieces: Sequence[bytes | bytearray | memoryview]) -> bytes:
        """What is to be sent so that the peer gets the pieces; the handshake must have ended.

        Raises:
            P2PError: what came, and was decrypted, has ended TLS.
        """
        if self._error is not None:
            raise self._error
        write = self._tls.write
        if sum(map(len, pieces)) <= RECORD_BYTES:
            write(b"".join(pieces))
        else:  # a record more costs less than to join them
            for piece in pieces:
                write(piece)
        return self._outgoing.read()

    def decrypt_into(self, buffer: memoryview) -> int:
        """Decrypt what is there, as long as the buffer has room.

        Returns:
            How many bytes the buffer got.

        Raises:
            NotAdmittedError: the peer refused our certificate.
            RemoteProtocolError: what came is not from the peer, or not as it was.
        """
        if self._error is not None:
            raise self._error
        filled, size, read = 0, len(buffer), self._read
        while filled < size:
            try:
                count = read(size - filled, buffer[filled:])  # at most one record
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                # It would hold the buffer as long as somebody holds the error.
                error.__traceback__ = None
                self._error = _blame(error)
                self._error.__cause__ = error
                self.has_failed = True
                if not filled:
                    raise self._error from error
                break  # what came before it is good
            if not count:
                self.is_ended = True
                break
            filled += count
        return filled


def steps_of(pieces: Sequence[bytes | bytearray | memoryview]) -> Iterator[list[memoryview]]:
    """The pieces, split and grouped into what is best encrypted in one go."""
    total = sum(map(len, pieces))
    size = -(-total // max(1, total // ENCRYPT_BYTES))  # of all steps alike: none is tiny
    step: list[memoryview] = []
    room = size
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            step.append(rest[:room])
            rest = rest[room:]
            room -= len(step[-1])
            if not room:
                yield step
                step, room = [], size
    if step:
        yield step


def _blame(error: ssl.SSLError) -> P2PError:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError) or reason in _PROOF_MISSING:
        return WrongPeerError("whoever answered could not prove to be the introduced peer")
    if reason.partition("_ALERT_")[2] in _REFUSING_ALERTS:
        return NotAdmittedError("the peer refused our certificate: it expects somebody else")
    return RemoteProtocolError(f"the peer does not speak TLS as it should: {reason or error}")
