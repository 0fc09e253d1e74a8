"""Identities: the key that a peer is known by, and the file that keeps it."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .._addresses import Endpoint
from .._errors import IdentityError
from .certificate import (
    certificate_body,
    identification_statement,
    introduction_statement,
    registration_statement,
    signed_certificate,
)
from .keys import generate_private_key, pem_of, private_key_of
from .peer_id import PeerId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_FILE_BYTES = 16_384  # an identity has 119; of a file chosen by mistake no more is read
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Identity:
    """An Ed25519 key, and the certificate that shows others its public half.

    Make one with :meth:`generate`, keep it with :meth:`save` and use it again with :meth:`load`.
    Identities are equal if their keys are; the private key is not shown by ``repr()``.

    Attributes:
        peer_id: who the holder of the key is to others.
        certificate: the certificate, in DER; it is always the same one for the same key.
    """

    _private_key: Ed25519PrivateKey = attrs.field(repr=False, eq=False)
    peer_id: PeerId = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._make_peer_id(), takes_self=True)
    )
    certificate: bytes = attrs.field(
        init=False,
        repr=False,
        default=attrs.Factory(lambda self: self._make_certificate(), takes_self=True),
    )

    def _make_peer_id(self) -> PeerId:
        return PeerId.of_public_key(self._private_key.public_key().public_bytes_raw())

    def _make_certificate(self) -> bytes:
        body = certificate_body(self._private_key.public_key().public_bytes_raw())
        return signed_certificate(body, self._private_key.sign(body))

    @classmethod
    def generate(cls) -> Identity:
        """A new identity, which no other peer has. Takes well below a millisecond."""
        return cls(generate_private_key())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Identity:
        """The identity in a file.

        Args:
            path: the file, an unencrypted Ed25519 key as PKCS #8 in PEM.

        Raises:
            IdentityError: there is none, or others than its owner may read or write it.
        """
        with _explained(path, "read", "name another file, or make a new identity"):
            # Opening a named pipe must not wait for a program that writes to it.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                _check_status(path, os.fstat(descriptor))
                data = os.read(descriptor, _MAX_FILE_BYTES)
            finally:
                os.close(descriptor)
        return cls(_private_key_of(path, data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the identity to a new file, which only its owner may read.

        The file is there with all of its contents, or not at all.

        Args:
            path: the file, which must not exist yet.

        Raises:
            IdentityError: the file exists already, or cannot be written.
        """
        with (
            _explained(path, "written", "name a new file, in a directory that you may write to"),
            # Others may not read it (its mode is 0600) from the beginning on.
            tempfile.NamedTemporaryFile(dir=Path(path).parent, prefix=".identity-") as file,
        ):
            file.write(self.private_key_pem())
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)  # unlike a renaming, it leaves a file that is there alone

    def sign_registration(self, challenge: bytes, broker: Endpoint, uid: str) -> bytes:
        """The proof to a broker that this identity registers.

        Args:
            challenge: what the broker sent on this connection.
            broker: the endpoint that this side has connected to.
            uid: what to register under.
        """
        return self._private_key.sign(registration_statement(challenge, broker, uid))

    def sign_identification(self, challenge: bytes, broker: Endpoint) -> bytes:
        """The proof to a broker who this is.

        Args:
            challenge: what the broker sent on this connection.
            broker: the endpoint that this side has connected to.
        """
        return self._private_key.sign(identification_statement(challenge, broker))

    def sign_introduction(self, search: bytes, uid: str) -> bytes:
        """The proof to a receiver that this identity asks for it.

        Args:
            search: what this side has drawn for the connection.
            uid: the receiver's.
        """
        return self._private_key.sign(introduction_statement(search, uid))

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The private key, for TLS; keep it secret."""
        return self._private_key

    def certificate_pem(self) -> bytes:
        """The certificate in PEM, for TLS."""
        return ssl.DER_cert_to_PEM_cert(self.certificate).encode("ascii")

    def private_key_pem(self) -> bytes:
        """The private key as PKCS #8 in PEM, unencrypted, for TLS: keep it secret."""
        return pem_of(self._private_key)


def _check_status(path: str | os.PathLike[str], status: os.stat_result) -> None:
    name = os.fspath(path)
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"the identity {name} is not a regular file: name another one")
    if status.st_mode & _OTHERS:
        raise IdentityError(
            f"the identity {name} may be read or written by others than its owner (its mode is "
            f"{stat.S_IMODE(status.st_mode):04o}): run chmod 600 {name}, and make a new one if "
            "others may have read it"
        )


def _private_key_of(path: str | os.PathLike[str], data: bytes) -> Ed25519PrivateKey:
    name = os.fspath(path)
    try:
        key = private_key_of(data)
    except TypeError as error:  # which is how cryptography says so
        raise IdentityError(
            f"the identity {name} is encrypted, and there is no way to ask for its password: "
            f"decrypt it with openssl pkey -in {name} -out FILE"
        ) from error
    except ValueError as error:
        raise IdentityError(
            f"the file {name} does not hold an identity: name another one, or move it away and "
            "make a new one"
        ) from error
    if key is None:
        raise IdentityError(
            f"the key in {name} is not an Ed25519 key: name another file, or move it away and "
            "make a new identity"
        )
    return key


@contextmanager
def _explained(path: str | os.PathLike[str], done: str, advice: str) -> Generator[None]:
    """Say what is wrong with the file, if something is."""
    name = os.fspath(path)
    try:
        yield
    except OSError as error:
        raise IdentityError(
            f"the identity {name} cannot be {done} ({error.strerror}): {advice}"
        ) from error
