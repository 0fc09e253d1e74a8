"""The broker's certificate and key, which may be replaced while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs

from .._errors import LocalProtocolError
from .._identity.key_pin import pin_of_untrusted
from .._net.tls_carrier import PASSES_ENDS_OF_TCP


@attrs.frozen
class TLSFiles:
    """What a broker speaks TLS with.

    Attributes:
        certificate: the file with its certificate, and those between that and an authority, in PEM.
        key: the file with its private key, in PEM.
    """

    certificate: Path
    key: Path

    def read(self) -> ssl.SSLContext:
        """What speaks TLS as the files say.

        Raises:
            LocalProtocolError: they hold no certificate and its key.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 1  # for the connection after a lost one: cheaper, above all with RSA
        context.options |= PASSES_ENDS_OF_TCP
        try:
            context.load_cert_chain(self.certificate, self.key, _refuse_password)
        except OSError as error:  # of OpenSSL's, too
            reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise LocalProtocolError(
                f"{self.certificate} and {self.key} are no certificate and its key in PEM "
                f"({reason}): name the two files, which the broker has to be allowed to read"
            ) from error
        return context

    def pin(self) -> bytes | None:
        """What clients can pin the key by."""
        text = self.certificate.read_text("ascii", errors="replace")
        end = "-----END CERTIFICATE-----"
        first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]
        return pin_of_untrusted(ssl.PEM_cert_to_DER_cert(first))


class BrokerTLS:
    """What a broker speaks TLS with now.

    Args:
        files: the files, which are read at once; None to speak no TLS.

    Attributes:
        context: speaks TLS with clients that come from now on; None if there is none.

    Raises:
        LocalProtocolError: as :meth:`TLSFiles.read`.
    """

    def __init__(self, files: TLSFiles | None) -> None:
        self.context: ssl.SSLContext | None = None
        self.reload(files)

    def reload(self, files: TLSFiles | None) -> None:
        """Read the files again, perhaps others; what was read before stays if they are wrong.

        Connections that there are go on with what they have.

        Raises:
            LocalProtocolError: as :meth:`TLSFiles.read`.
        """
        self.context = None if files is None else files.read()


def _refuse_password() -> bytes:
    """OpenSSL would ask on the terminal for the password of a key that is encrypted."""
    return b""
