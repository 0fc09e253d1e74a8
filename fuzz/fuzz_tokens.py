"""Feeds hostile bytes to all that reads access tokens: a broker's, a peer's, and a user's text.

``nox -s fuzz`` runs it; the arguments are libFuzzer's.

The first byte of an input says what the rest is: a token as it comes, what a key of the operator
has signed, or the text that a user gives.
"""

import sys

import atheris
from fuzzing import run

with atheris.instrument_imports(include=["trio_p2p"]):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from trio_p2p._broker.admission import AccessRules, Admission
    from trio_p2p._broker.refusals import RefusalError
    from trio_p2p._errors import LocalProtocolError, RemoteProtocolError
    from trio_p2p._identity.access_token import (
        MAX_PATTERN_BYTES,
        MAX_TOKEN_BYTES,
        MIN_TOKEN_BYTES,
        AccessToken,
        Use,
        check_token_untrusted,
        parse_token,
        read_token_untrusted,
        token_text,
    )
    from trio_p2p._identity.peer_id import PeerId
    from trio_p2p._wire.messages import RefusalCode

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
KEYS = tuple(key.public_key().public_bytes_raw() for key in (OTHER_KEY, KEY))
NOW = 1_800_000_000
CONTEXT = b"trio_p2p access token\0"
AS_IT_COMES, SIGNED, AS_TEXT = range(3)


def feed(data: bytes) -> None:
    """Run one input; whatever it raises is a bug."""
    kind, rest = (data[0] % 3 if data else AS_IT_COMES), data[1:]
    if kind == AS_TEXT:
        feed_text(rest.decode("utf-8", errors="surrogateescape"))
    elif kind == SIGNED:
        feed_token(rest + KEY.sign(CONTEXT + rest), is_signed=True)
    else:
        feed_token(rest, is_signed=False)


def feed_text(text: str) -> None:
    problem, data = "", b""
    try:
        data = parse_token(text)
    except LocalProtocolError as error:
        problem = str(error)
    if problem:
        # It may be a secret. Less of it may stand in the sentence by chance.
        assert len(text) < MIN_TOKEN_BYTES or text[MIN_TOKEN_BYTES // 2 :] not in problem
        return
    assert token_text(data) == text
    feed_token(data, is_signed=False)


def feed_token(data: bytes, *, is_signed: bool) -> None:
    try:
        token = read_token_untrusted(data)
    except RemoteProtocolError as error:
        str(error)  # the log
        assert admit(data) is None
        return
    assert MIN_TOKEN_BYTES <= len(data) <= MAX_TOKEN_BYTES
    assert data.startswith(token.body())  # its one form
    assert parse_token(token_text(data)) == data
    repr(token)
    token.covers("alice")
    assert token.uses
    if not is_signed:
        # None of what a fuzzer makes up is signed, but for the seeds.
        assert admit(data) in (None, token)
        return
    assert check_token_untrusted(data, KEYS) == token
    assert admit(data) == (token if token.expires_at > NOW else None)


def admit(data: bytes) -> AccessToken | None:
    """What a closed broker makes of a token that a client greets with."""
    admission = Admission(lambda: NOW, AccessRules(is_closed=True, keys=KEYS))
    try:
        return admission.token_of_untrusted(data)
    except RefusalError as refusal:
        refused = refusal.refused
    assert refused.code is RefusalCode.NOT_ADMITTED
    return None


def seeds() -> list[bytes]:
    """Inputs to begin with: tokens of each kind, whole, as text, and cut off."""
    peer_id = PeerId(bytes(range(23)))
    tokens = [
        AccessToken(bytes(8), frozenset({use}), NOW + end, bound, pattern)
        for use in Use
        for end in (-1, 1)
        for bound in (None, peer_id)
        for pattern in (None, "team-*", "[!a]?é", "x" * MAX_PATTERN_BYTES)
    ]
    found = [b""]
    for token in tokens:
        found += [
            bytes([AS_IT_COMES]) + token.sign(KEY),
            bytes([SIGNED]) + token.body(),
            bytes([AS_TEXT]) + token_text(token.sign(OTHER_KEY)).encode(),
        ]
    return [*found, *(each[:-1] for each in found if each), *(each + b"\0" for each in found)]


if __name__ == "__main__":
    sys.exit(run(feed, seeds()))
