"""Identities, their files, and what TLS makes of them."""

import os
import pickle
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from trio_p2p._errors import IdentityError
from trio_p2p._identity.certificate import peer_id_of_untrusted
from trio_p2p._identity.identity import Identity

RAW_KEY = bytes(range(32))


def identity_of(raw_key: bytes) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(raw_key))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def write_private(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def test_the_same_key_always_makes_the_same_identity() -> None:
    first, second = identity_of(RAW_KEY), identity_of(RAW_KEY)
    assert first == second
    assert hash(first) == hash(second)
    assert first.certificate == second.certificate
    assert str(first.peer_id) == "p2pkzdvvj2umnduyauf35o36k6kw462mujvra46te7s"


def test_every_generated_identity_is_another() -> None:
    first, second = Identity.generate(), Identity.generate()
    assert first != second
    assert first.peer_id != second.peer_id
    assert first.certificate != second.certificate


def test_an_identity_shows_its_peer_id_and_no_secret() -> None:
    identity = identity_of(RAW_KEY)
    assert repr(identity) == f"Identity(peer_id={identity.peer_id!r})"
    with pytest.raises(TypeError):
        pickle.dumps(identity)


def test_pem_is_the_same_certificate() -> None:
    identity = Identity.generate()
    pem = identity.certificate_pem().decode()
    assert ssl.PEM_cert_to_DER_cert(pem) == identity.certificate


def test_a_saved_identity_is_loaded(tmp_path: Path) -> None:
    identity = Identity.generate()
    path = tmp_path / "identity.pem"
    identity.save(path)
    assert Identity.load(path) == identity
    assert Identity.load(str(path)).certificate == identity.certificate
    assert mode_of(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_of_a_saved_identity_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity.generate().save(tmp_path / "identity.pem")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "identity.pem") == 0o600


def test_a_file_in_the_working_directory_can_be_named_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    identity = Identity.generate()
    identity.save("identity.pem")
    assert Identity.load("identity.pem") == identity


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_saving_overwrites_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "identity.pem"
    match kind:
        case "file":
            Identity.generate().save(path)
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "nothing")
    before = path.lstat()
    with pytest.raises(IdentityError, match=r"identity\.pem cannot be written.*name a new file"):
        Identity.generate().save(path)
    after = path.lstat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]


def test_saving_into_a_missing_directory_is_explained(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"cannot be written \(No such file or directory"):
        Identity.generate().save(tmp_path / "missing" / "identity.pem")


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o660, 0o610, 0o644, 0o777])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.pem"
    Identity.generate().save(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=rf"mode is {mode:04o}\): run chmod 600 \S+identity"):
        Identity.load(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_may_use_is_loaded(tmp_path: Path, mode: int) -> None:
    identity = Identity.generate()
    identity.save(tmp_path / "identity.pem")
    (tmp_path / "identity.pem").chmod(mode)
    assert Identity.load(tmp_path / "identity.pem") == identity


def test_of_a_link_the_file_that_it_leads_to_counts(tmp_path: Path) -> None:
    identity = Identity.generate()
    identity.save(tmp_path / "identity.pem")
    (tmp_path / "link").symlink_to(tmp_path / "identity.pem")
    assert Identity.load(tmp_path / "link") == identity
    (tmp_path / "identity.pem").chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load(tmp_path / "link")


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"cannot be read \(No such file or directory\): name"):
        Identity.load(tmp_path / "identity.pem")


def test_a_link_that_leads_nowhere_is_explained(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(IdentityError, match=r"cannot be read \(Too many levels of symbolic links"):
        Identity.load(tmp_path / "link")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_refused(tmp_path: Path, make: Callable[[Path, int], None]) -> None:
    make(tmp_path / "identity.pem", 0o700)
    with pytest.raises(IdentityError, match="not a regular file"):
        Identity.load(tmp_path / "identity.pem")


def pem(
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey,
    password: bytes | None = None,
) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(b"", "does not hold an identity", id="empty"),
        pytest.param(os.urandom(100_000), "does not hold an identity", id="garbage"),
        pytest.param(RAW_KEY, "does not hold an identity", id="a raw key"),
        pytest.param(
            identity_of(RAW_KEY).certificate_pem(), "does not hold an identity", id="certificate"
        ),
        pytest.param(
            identity_of(RAW_KEY).private_key_pem()[:-40], "does not hold an identity", id="cut off"
        ),
        pytest.param(
            b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "does not hold an identity",
            id="an empty key",
        ),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key", id="P-256"
        ),
        pytest.param(pem(x25519.X25519PrivateKey.generate()), "not an Ed25519 key", id="X25519"),
        pytest.param(
            pem(Ed25519PrivateKey.generate(), password=b"secret"),
            "is encrypted.*openssl pkey",
            id="encrypted",
        ),
    ],
)
def test_a_file_with_something_else_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = write_private(tmp_path / "identity.pem", data)
    with pytest.raises(IdentityError, match=rf"identity\.pem .*{sentence}"):
        Identity.load(path)


def shake_hands(
    client: Identity, server: Identity, directory: Path, *, expected: Identity
) -> bytes:
    """What certificate the client sees, which trusts no other than the expected server's."""
    contexts = []
    for identity, protocol, peer in (
        (client, ssl.PROTOCOL_TLS_CLIENT, expected),
        (server, ssl.PROTOCOL_TLS_SERVER, client),
    ):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=peer.certificate)
        chain = directory / f"{protocol.name}.pem"
        write_private(chain, identity.certificate_pem() + identity.private_key_pem())
        context.load_cert_chain(chain)
        contexts.append(context)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = contexts[0].wrap_bio(down, up)
    server_end = contexts[1].wrap_bio(up, down, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client_end.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server_end.do_handshake()
    client_end.do_handshake()
    server_end.do_handshake()
    certificate = client_end.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_tls_takes_an_identity_at_both_ends(tmp_path: Path) -> None:
    client, server = Identity.generate(), Identity.generate()
    certificate = shake_hands(client, server, tmp_path, expected=server)
    assert peer_id_of_untrusted(certificate) == server.peer_id


def test_tls_refuses_another_identity(tmp_path: Path) -> None:
    client, server = Identity.generate(), Identity.generate()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, server, tmp_path, expected=Identity.generate())
