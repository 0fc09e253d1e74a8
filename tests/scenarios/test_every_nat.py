"""Every pair of kinds of NAT: direct wherever TCP can be, and the relay elsewhere.

Thirteen kinds are programs of the lab, and there are those that the kernel can be.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import attrs
import pytest
import trio

from trio_p2p import (
    IntroductionError,
    Outcome,
    P2PListener,
    P2PStream,
    PathKind,
    serve_broker,
    serve_p2p,
)

from ..kit.lab import (
    KINDS,
    Answer,
    Host,
    KernelNetwork,
    NamespacesUnavailableError,
    Nat,
    NatKind,
    Network,
    SymmetricKind,
    UserspaceNetwork,
    run,
    running,
)
from ..kit.loopback import TECHNIQUES, AttemptTracer, open_stream
from ..kit.soak import LITTLE_OR_MUCH

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0  # seconds until a pair that does not connect fails its test
GREETING = b"hello from behind a NAT"
# Of those that have to look at their NATs, and may have to guess, one of each sort: the others are
# for soaks.
TYPICAL = {
    "public",
    "eim-eif",
    "eim-adf",
    "eim-apdf",
    "masquerade-rst",
    "sequential-rst",
    "random",
}
SYMMETRIC = {"sequential", "sequential-rst", "random", "random-rst"}
AT_RANDOM = {"random", "random-rst"}
KERNEL_KINDS = {
    "firewall": Nat(NatKind.PUBLIC),
    "eim-eif": Nat(NatKind.ENDPOINT_INDEPENDENT_FILTERING),
    "eim-adf": Nat(NatKind.ADDRESS_DEPENDENT_FILTERING),
    "masquerade": Nat(),
    "masquerade-rst": Nat(answer=Answer.RST),
    "sequential": Nat(SymmetricKind.SEQUENTIAL),
    "sequential-rst": Nat(SymmetricKind.SEQUENTIAL, Answer.RST),
    "random": Nat(SymmetricKind.RANDOM),
    "random-rst": Nat(SymmetricKind.RANDOM, Answer.RST),
}
Broker = tuple[str, int]


@attrs.frozen
class Lab:
    """A broker that answers on two ports, a receiver behind each kind of NAT, and senders."""

    broker: Broker
    receivers: dict[str, P2PListener[P2PStream]]
    senders: dict[str, Host]

    def connect(self, sender: str, receiver: str, path: str) -> PathKind:
        """Open a stream, and have it echo; what carries it."""
        return run(self.senders[sender].host, _connect, receiver, self.broker, path)


@pytest.fixture(scope="module")
def userspace_lab(_namespaces: None) -> Iterator[Lab]:
    try:
        network = UserspaceNetwork(seed="every NAT")
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    with network, open_lab(network, KINDS, lambda kind: network.add_site(KINDS[kind])) as lab:
        yield lab


@pytest.fixture(scope="module")
def kernel_lab(_namespaces: None) -> Iterator[Lab]:
    with (
        KernelNetwork() as network,
        open_lab(network, KERNEL_KINDS, lambda kind: network.add_site(KERNEL_KINDS[kind])) as lab,
    ):
        yield lab


@contextmanager
def open_lab(
    network: Network, kinds: Iterable[str], add_site: Callable[[str], Host]
) -> Generator[Lab]:
    with ExitStack() as stack:
        host = network.add_host()
        serve = partial(serve_broker, 0, host=str(host.host_address), probe_port=0)
        [listener, *_] = stack.enter_context(running(host.host, serve))
        broker = (str(host.host_address), listener.socket.getsockname()[1])
        receivers: dict[str, P2PListener[P2PStream]] = {}
        for kind in kinds:
            serving = running(add_site(kind).host, serve_p2p, _echo, kind, broker)
            receivers[kind] = stack.enter_context(serving)
        yield Lab(broker, receivers, {kind: add_site(kind) for kind in kinds})


def is_tried(sender: str, receiver: str) -> bool:
    """Whether a pair is tried in every run."""
    both = {sender, receiver}
    return not both & SYMMETRIC or both <= TYPICAL


def is_hopeless(sender: str, receiver: str) -> bool:
    both = {sender, receiver}
    return both <= SYMMETRIC and bool(both & AT_RANDOM)


@pytest.fixture(autouse=True)
def _guess_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let receivers guess in each run, not once a minute: there are several between two sites."""
    monkeypatch.setattr("trio_p2p._control.guesses.GUESSING_INTERVAL", 0.0)


@LITTLE_OR_MUCH
@pytest.mark.parametrize("sender", KINDS)
def test_every_pair_connects(userspace_lab: Lab, sender: str, is_soak: bool) -> None:
    connect_to_each_receiver(userspace_lab, sender, is_soak=is_soak)


@LITTLE_OR_MUCH
@pytest.mark.parametrize("sender", KERNEL_KINDS)
def test_every_pair_of_the_kernels_nats_connects(
    kernel_lab: Lab, sender: str, is_soak: bool
) -> None:
    connect_to_each_receiver(kernel_lab, sender, is_soak=is_soak)


def connects_directly(lab: Lab, sender: str, receiver: str) -> bool:
    try:
        return lab.connect(sender, receiver, "direct") is PathKind.DIRECT
    except IntroductionError:
        return False


def connect_to_each_receiver(lab: Lab, sender: str, *, is_soak: bool) -> None:
    runs = 5 if is_soak else 1
    # Of which one has to do with a single introduction: other tests run beside this one unless it
    # is a soak, and a round does not wait for a machine that is busy.
    tries = 1 if is_soak else 3
    for receiver in [kind for kind in lab.receivers if is_soak or is_tried(sender, kind)] * runs:
        listener = lab.receivers[receiver]
        if is_hopeless(sender, receiver):
            assert lab.connect(sender, receiver, "any") is PathKind.RELAY
            continue
        if SYMMETRIC & {sender, receiver}:
            assert any(connects_directly(lab, sender, receiver) for _ in range(tries)), receiver
            continue

        def is_first_plan_enough(receiver: str, listener: P2PListener[P2PStream]) -> bool:
            before = listener.statistics().introductions
            assert lab.connect(sender, receiver, "direct") is PathKind.DIRECT
            return listener.statistics().introductions == before + 1

        assert any(is_first_plan_enough(receiver, listener) for _ in range(tries)), receiver


@LITTLE_OR_MUCH
@pytest.mark.parametrize(
    ("sender", "receiver"), [("eim-apdf", "random"), ("random-rst", "eim-apdf-rst")]
)
def test_ports_at_random_are_guessed(
    userspace_lab: Lab, sender: str, receiver: str, is_soak: bool
) -> None:
    missed, runs = 0, 100 if is_soak else 4
    for _ in range(runs):
        try:
            assert userspace_lab.connect(sender, receiver, "direct") is PathKind.DIRECT
        except IntroductionError:
            missed += 1
    assert missed <= 0.05 * runs


async def _connect(uid: str, broker: Broker, path: str) -> PathKind:
    tracer = AttemptTracer()
    with trio.fail_after(PATIENCE):
        async with open_stream(uid, broker, techniques=TECHNIQUES[path], tracer=tracer) as stream:
            await stream.send_all(GREETING)
            received = b""
            while len(received) < len(GREETING):
                received += await stream.receive_some()
            assert received == GREETING
            assert stream.path is not None
            connected = [
                (each.technique, each.local, each.remote)
                for each in tracer.attempts
                if each.outcome is Outcome.CONNECTED
            ]
            assert (stream.path.technique, stream.path.local, stream.path.remote) in connected
            return stream.path.kind


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)
