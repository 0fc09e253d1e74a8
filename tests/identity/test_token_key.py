"""The file with the key of access tokens."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trio_p2p import Identity, LocalProtocolError
from trio_p2p._identity.token_key import load_public_key


def test_a_private_and_a_public_key_are_the_same(tmp_path: Path) -> None:
    key = Identity.generate()
    key.save(tmp_path / "private.pem")
    public = key.private_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(pem)
    for name in ("private.pem", "public.pem"):
        assert load_public_key(tmp_path / name) == public.public_bytes_raw()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="make one with trio-p2p-broker token --key"):
        load_public_key(tmp_path / "none.pem")


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PUBLIC KEY-----\ngarbage\n-----END PUBLIC KEY-----\n"]
)
def test_no_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(LocalProtocolError, match="this is no key of tokens"):
        load_public_key(file)


def test_another_kind_of_key(tmp_path: Path) -> None:
    public = generate_private_key(SECP256R1()).public_key()
    file = tmp_path / "key.pem"
    file.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(LocalProtocolError, match="is not an Ed25519 key"):
        load_public_key(file)


def test_a_private_key_that_others_may_read(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    Identity.generate().save(file)
    file.chmod(0o644)
    with pytest.raises(LocalProtocolError, match="may be read or written by others"):
        load_public_key(file)
