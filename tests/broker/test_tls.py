"""The broker's certificate and key, in files."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p import LocalProtocolError, TLSFiles
from trio_p2p._broker.tls import BrokerTLS

from ..kit.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_pin_stays_with_the_key(authority: Authority) -> None:
    key = Ed25519PrivateKey.generate()
    first = authority.issue("broker.example.org", key=key, name="first").pin()
    again = authority.issue("broker.example.org", key=key, name="again").pin()
    other = authority.issue("broker.example.org", name="other").pin()
    assert first is not None
    assert len(first) == 32
    assert first == again != other


def test_files_are_read_again_and_mistakes_change_nothing(authority: Authority) -> None:
    files, others = (authority.issue("broker.example.org", name=name) for name in ("a", "b"))
    tls = BrokerTLS(files)
    before = tls.context
    assert before is not None
    for wrong in (
        TLSFiles(files.certificate, others.key),
        TLSFiles(files.key, files.certificate),
        TLSFiles(Path("/none"), files.key),
    ):
        with pytest.raises(LocalProtocolError, match="are no certificate and its key in PEM"):
            tls.reload(wrong)
        assert tls.context is before
    tls.reload(others)
    assert tls.context not in (None, before)
    tls.reload(None)
    assert tls.context is None
