"""The errors: one hierarchy, and texts that say what happened and what to do."""

import inspect
import pickle
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio

import trio_p2p
from trio_p2p import (
    AccessDeniedError,
    Attempt,
    AttemptFailedError,
    BrokerLostError,
    BrokerUnreachableError,
    BusyError,
    Endpoint,
    IdentityError,
    IntroductionError,
    LocalProtocolError,
    NotAdmittedError,
    Outcome,
    P2PError,
    PathLostError,
    PeerId,
    ProtocolError,
    RelayError,
    RemoteProtocolError,
    SessionLostError,
    StreamAbortedError,
    Technique,
    UIDTakenError,
    UnknownProtocolError,
    UnknownUIDError,
    UnsupportedVersionError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_stream,
    serve_broker,
)
from trio_p2p._broker_client.refusals import error_of
from trio_p2p._wire.messages import RefusalCode, Refused

from .kit.loopback import nobody_listening, open_listener, open_stream

HERE = Endpoint(IPv4Address("192.168.1.10"), 40000)
THERE = Endpoint(IPv6Address("2001:db8::5"), 49152)


def test_one_hierarchy() -> None:
    errors = {
        value
        for value in (getattr(trio_p2p, name) for name in dir(trio_p2p))
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    bases = {error: error.__bases__ for error in errors}
    assert bases == {
        P2PError: (Exception,),
        BrokerUnreachableError: (P2PError,),
        BrokerLostError: (P2PError,),
        AccessDeniedError: (P2PError,),
        BusyError: (P2PError,),
        UnknownUIDError: (P2PError,),
        UnknownProtocolError: (P2PError,),
        UIDTakenError: (P2PError,),
        IdentityError: (P2PError,),
        WrongPeerError: (P2PError,),
        StreamAbortedError: (P2PError,),
        NotAdmittedError: (StreamAbortedError,),
        PathLostError: (P2PError,),
        SessionLostError: (P2PError,),
        RelayError: (P2PError,),
        IntroductionError: (P2PError,),
        AttemptFailedError: (P2PError,),
        ProtocolError: (P2PError,),
        LocalProtocolError: (ProtocolError, ValueError),
        RemoteProtocolError: (ProtocolError,),
        UnsupportedVersionError: (ProtocolError,),
    }


BROKER = Endpoint(IPv4Address("198.51.100.4"), 4433)


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (RefusalCode.UNKNOWN_UID, UnknownUIDError, "check the UID's spelling, that the receiver"),
        (RefusalCode.UID_TAKEN, UIDTakenError, "choose another UID, or stop that receiver"),
        (RefusalCode.UNSUPPORTED_VERSION, UnsupportedVersionError, "update the older one"),
        (RefusalCode.PROTOCOL_VIOLATION, LocalProtocolError, "THE {REASON}"),
        (RefusalCode.UNSUPPORTED_TECHNIQUE, IntroductionError, "THE {REASON}"),
        (RefusalCode.UNSUPPORTED_STREAM, LocalProtocolError, "THE {REASON}"),
        (RefusalCode.RECEIVER_LOST, IntroductionError, "THE {REASON}"),
        (RefusalCode.RECEIVER_SILENT, IntroductionError, "THE {REASON}"),
        (RefusalCode.OTHER_IP_VERSION, IntroductionError, "THE {REASON}"),
        (RefusalCode.IDENTITY_NOT_PROVEN, IdentityError, "THE {REASON}"),
        (RefusalCode.RELAY_REFUSED, RelayError, "THE {REASON}"),
        (RefusalCode.NOT_ADMITTED, AccessDeniedError, "THE {REASON}"),
        (RefusalCode.PROOF_WANTED, BusyError, "try again in 2.5 seconds"),
        (RefusalCode.BUSY, BusyError, "try again in 2.5 seconds"),
    ],
)
def test_each_refusal_has_its_error(code: RefusalCode, kind: type[P2PError], advice: str) -> None:
    error = error_of(Refused(code, "THE {REASON}", retry_after=2500), BROKER, "alice")
    assert type(error) is kind
    assert advice in str(error)
    assert "the broker at 198.51.100.4:4433" in str(error)


def test_every_refusal_code_has_an_error() -> None:
    for code in RefusalCode:
        assert isinstance(error_of(Refused(code, ""), BROKER), P2PError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(RefusalCode.UNKNOWN_UID, UnknownUIDError), (RefusalCode.UID_TAKEN, UIDTakenError)],
)
def test_an_error_about_a_uid_names_it(
    code: RefusalCode, kind: type[UnknownUIDError | UIDTakenError]
) -> None:
    error = error_of(Refused(code, ""), BROKER, "alice")
    assert isinstance(error, kind)
    assert error.uid == "alice"
    assert "registered under 'alice' at the broker at 198.51.100.4:4433" in str(error)
    unasked = error_of(Refused(code, ""), BROKER)
    assert isinstance(unasked, kind)
    assert unasked.uid is None


@pytest.mark.parametrize(("milliseconds", "seconds"), [(2500, 2.5), (0, 0.0), (None, 1.0)])
def test_a_busy_broker_says_when_to_try_again(milliseconds: int | None, seconds: float) -> None:
    error = error_of(Refused(RefusalCode.BUSY, "full", 7, milliseconds), BROKER)
    assert isinstance(error, BusyError)
    assert error.retry_after == seconds


FAILED = Attempt(Technique.FAST, HERE, THERE, Outcome.REFUSED, 0.12345)

ALICE, MALLORY = (PeerId.of_public_key(bytes([number]) * 32) for number in range(2))


@pytest.mark.parametrize(
    "error",
    [
        P2PError("text"),
        UnknownUIDError("text", uid="alice"),
        UIDTakenError("text", uid="alice"),
        BusyError("text", retry_after=2.5),
        WrongPeerError("text", expected=ALICE, found=MALLORY),
        WrongPeerError("text"),
        IntroductionError("text", attempts=(FAILED,)),
        AttemptFailedError(FAILED),
        SessionLostError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_its_facts_when_it_is_pickled(error: P2PError) -> None:
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert repr(copy) == repr(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BrokerLostError("the broker is gone"), "BrokerLostError('the broker is gone')"),
        (UnknownUIDError("no", uid="alice"), "UnknownUIDError('no', uid='alice')"),
        (
            WrongPeerError("no", found=MALLORY),
            f"WrongPeerError('no', expected=None, found=PeerId('{MALLORY}'))",
        ),
    ],
)
def test_the_repr_of_an_error_shows_its_facts(error: P2PError, text: str) -> None:
    assert repr(error) == text


def test_attempt_says_what_happened() -> None:
    attempt = Attempt(Technique.FAST, HERE, THERE, Outcome.REFUSED, 0.12345)
    text = "fast 192.168.1.10:40000 → [2001:db8::5]:49152: refused after 0.123 s"
    assert str(attempt) == text
    error = AttemptFailedError(attempt)
    assert error.attempt is attempt
    assert str(error) == text


@pytest.mark.parametrize(
    ("local", "remote", "text"),
    [
        (None, THERE, "classic ? → [2001:db8::5]:49152: silent after 1.000 s"),
        (None, None, "classic: silent after 1.000 s"),
    ],
)
def test_attempt_that_did_not_get_far(
    local: Endpoint | None, remote: Endpoint | None, text: str
) -> None:
    assert str(Attempt(Technique.CLASSIC, local, remote, Outcome.SILENT, 1.0)) == text


async def test_broker_unreachable() -> None:
    with nobody_listening() as address, pytest.raises(BrokerUnreachableError) as caught:
        async with open_p2p_stream("alice", address):
            pytest.fail("connected to nobody")
    assert f"no broker answers at 127.0.0.1:{address[1]}" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "check its address, and that trio-p2p-broker runs there" in str(caught.value)
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert [type(error) for error in group.exceptions] == [ConnectionRefusedError]


@pytest.mark.parametrize("host", ["a..b", "nul\0", "x" * 300])
async def test_broker_without_an_address(host: str) -> None:
    with pytest.raises(BrokerUnreachableError) as caught:
        async with open_p2p_stream("alice", (host, 1)):
            pytest.fail("connected to nobody")
    assert "cannot be found" in str(caught.value)
    assert "check its name" in str(caught.value)


async def test_unknown_uid_and_taken_uid(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(
        lambda **options: serve_broker(0, host="127.0.0.1", **options)
    )
    address = listener.socket.getsockname()[:2]
    with pytest.raises(UnknownUIDError, match="check the UID's spelling") as unknown:
        async with open_p2p_stream("alice", address):
            pytest.fail("connected to nobody")
    assert unknown.value.uid == "alice"
    async with open_p2p_listener("alice", address):
        with pytest.raises(UIDTakenError, match="choose another UID, or stop that") as taken:
            async with open_p2p_listener("alice", address):
                raise AssertionError("it was taken")
    assert taken.value.uid == "alice"


async def test_failed_introduction_carries_each_cause(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(
        lambda **options: serve_broker(0, host="127.0.0.1", **options)
    )
    address = listener.socket.getsockname()[:2]
    async with open_listener("alice", address, techniques=["classic"]):
        with pytest.raises(IntroductionError) as caught:
            async with open_stream("alice", address, techniques=["fast"]):
                pytest.fail("connected by what the receiver does not want")
    assert "no direct connection to 'alice', which is registered, came of 1 attempts" in str(
        caught.value
    )
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    (cause,) = group.exceptions
    assert isinstance(cause, AttemptFailedError)
    assert cause.attempt.outcome is Outcome.NOT_INTRODUCED
    assert caught.value.attempts == (cause.attempt,)


async def test_an_unexpected_peer_is_named(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(
        lambda **options: serve_broker(0, host="127.0.0.1", **options)
    )
    address = listener.socket.getsockname()[:2]
    async with open_p2p_listener("alice", address) as registered:
        with pytest.raises(WrongPeerError) as caught:
            async with open_p2p_stream("alice", address, expect=ALICE):
                pytest.fail("connected to another peer than the expected one")
    assert (caught.value.expected, caught.value.found) == (ALICE, registered.peer_id)
    assert f"expected {ALICE}, but the certificate is that of {registered.peer_id}" in str(
        caught.value
    )
