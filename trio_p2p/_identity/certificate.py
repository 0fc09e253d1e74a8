"""What peers show of their identity: certificates and proofs, which travel through the broker.

The certificate of an identity has exactly one form, in which only the key and the signature
differ. So the side that gets one compares it with that form: no parser of X.509 sees hostile
bytes, and nothing that a certificate could otherwise say (names, extensions, dates) can mean
anything.

A certificate need not be trusted: it only carries the key. That the peer holds it is proven by the
registration's signature towards the broker and by TLS towards the other peer. Pure.
"""

from __future__ import annotations

from .._addresses import Endpoint
from .._errors import RemoteProtocolError
from .keys import is_signed_with
from .peer_id import PeerId

_PUBLIC_KEY_BYTES = 32
# The points of Ed25519 whose order divides eight, and their other encodings (as in libsodium's
# ge25519_has_small_order, but for the sign bit): under such a key one signature can fit any text.
_WEAK_KEYS = frozenset(
    bytes.fromhex(key)
    for key in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
_SIGNATURE_BYTES = 64
_HEADER_BYTES = 3  # a certificate begins with a tag and a length of two bytes
_REGISTRATION_CONTEXT = b"trio_p2p registration\0"
_IDENTIFICATION_CONTEXT = b"trio_p2p identification\0"
_INTRODUCTION_CONTEXT = b"trio_p2p introduction\0"


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = [len(content)] if len(content) < 0x80 else [0x81, len(content)]
    return bytes([tag, *length]) + content


_INTEGER, _BIT_STRING, _OBJECT, _UTF8, _TIME = 0x02, 0x03, 0x06, 0x0C, 0x17
_SEQUENCE, _SET, _VERSION = 0x30, 0x31, 0xA0
_ED25519 = _der(_SEQUENCE, _der(_OBJECT, b"\x2b\x65\x70"))  # 1.3.101.112, RFC 8410
_COMMON_NAME = _der(_OBJECT, b"\x55\x04\x03")  # 2.5.4.3
_NAME = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME, _der(_UTF8, b"p"))))
# TLS wants some dates. As long as can be, since a wrong clock must not refuse a peer: a later end
# would be written in another way.
_VALIDITY = _der(_SEQUENCE, _der(_TIME, b"000101000000Z"), _der(_TIME, b"491231235959Z"))


def certificate_body(public_key: bytes) -> bytes:
    """What the signature of a certificate is over (RFC 5280's ``TBSCertificate``).

    Args:
        public_key: the 32 bytes of the Ed25519 public key.
    """
    return _der(
        _SEQUENCE,
        _der(_VERSION, _der(_INTEGER, b"\x02")),  # which means version 3
        _der(_INTEGER, b"\x01"),  # the serial number
        _ED25519,
        _NAME,
        _VALIDITY,
        _NAME,
        _der(_SEQUENCE, _ED25519, _der(_BIT_STRING, b"\0", public_key)),
    )


def signed_certificate(body: bytes, signature: bytes) -> bytes:
    """The certificate, in DER.

    Args:
        body: what :func:`certificate_body` returned.
        signature: the 64 bytes of the Ed25519 signature over it.
    """
    return _der(_SEQUENCE, body, _ED25519, _der(_BIT_STRING, b"\0", signature))


# What stands before the key, between it and the signature, and so in every certificate.
_BODY_END = _HEADER_BYTES + len(certificate_body(bytes(_PUBLIC_KEY_BYTES)))
_FORM = signed_certificate(certificate_body(bytes(_PUBLIC_KEY_BYTES)), bytes(_SIGNATURE_BYTES))
_BEFORE_KEY = _FORM[: _BODY_END - _PUBLIC_KEY_BYTES]
_BEHIND_KEY = _FORM[_BODY_END:-_SIGNATURE_BYTES]


def public_key_of_untrusted(certificate: bytes) -> bytes:
    """The raw Ed25519 public key in a certificate.

    Args:
        certificate: what the other side sent, of any length.

    Raises:
        RemoteProtocolError: it has not the form of an identity's certificate.
    """
    public_key = certificate[_BODY_END - _PUBLIC_KEY_BYTES : _BODY_END]
    signature = certificate[-_SIGNATURE_BYTES:]
    if certificate != _BEFORE_KEY + public_key + _BEHIND_KEY + signature:
        raise RemoteProtocolError(
            "what was sent as the certificate of a peer is not one of this version: both sides "
            "need a trio_p2p that knows the same form"
        )
    if public_key[:-1] + bytes([public_key[-1] & 0x7F]) in _WEAK_KEYS:
        raise RemoteProtocolError("got a certificate with a key that every host can sign for")
    return public_key


def peer_id_of_untrusted(certificate: bytes) -> PeerId:
    """The peer id that belongs to the key in a certificate.

    Args:
        certificate: what the other side sent, of any length.

    Raises:
        RemoteProtocolError: it has not the form of an identity's certificate.
    """
    return PeerId.of_public_key(public_key_of_untrusted(certificate))


def registration_statement(challenge: bytes, broker: Endpoint, uid: str) -> bytes:
    """What a receiver signs to register: no other statement, and nothing in TLS, reads alike.

    Args:
        challenge: what the broker sent on this connection.
        broker: the endpoint that the receiver has connected to. Without it a hostile broker could
            pass on the challenge of an honest one, and register its client there.
        uid: what the receiver registers under.
    """
    return _REGISTRATION_CONTEXT + _bound_to(challenge, broker) + uid.encode()


def identification_statement(challenge: bytes, broker: Endpoint) -> bytes:
    """What a client signs to show a broker who it is.

    Args:
        challenge: what the broker sent on this connection.
        broker: the endpoint that the client has connected to.
    """
    return _IDENTIFICATION_CONTEXT + _bound_to(challenge, broker)


def introduction_statement(search: bytes, uid: str) -> bytes:
    """What a sender signs to show the receiver who asks for it.

    Args:
        search: what the sender has drawn for this connection, and for no other.
        uid: the receiver's.
    """
    return _INTRODUCTION_CONTEXT + _counted(search) + uid.encode()


def is_signed_untrusted(certificate: bytes, signature: bytes, statement: bytes) -> bool:
    """Whether the holder of a certificate's key has signed a statement.

    Args:
        certificate: what the other side sent, of any length.
        signature: what the other side sent, of any length.
        statement: from one of the functions above.

    Raises:
        RemoteProtocolError: the certificate has not the form of an identity's certificate.
    """
    return is_signed_with(public_key_of_untrusted(certificate), signature, statement)


def _bound_to(challenge: bytes, broker: Endpoint) -> bytes:
    """What makes a statement good for one connection to one broker."""
    endpoint = broker.address.packed + broker.port.to_bytes(2, "big")
    return _counted(challenge) + _counted(endpoint)


def _counted(part: bytes) -> bytes:
    return len(part).to_bytes(2, "big") + part
