"""Identities for those who use Python's own ``ssl``, which loads keys from files only."""

import ssl
import tempfile

from trio_p2p import Identity


def load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Have a context prove an identity."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.certificate_pem() + identity.private_key_pem())
        file.flush()
        context.load_cert_chain(file.name)
