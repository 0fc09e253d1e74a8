"""The lab behaves as its names say, and so do Linux NATs: the facts that the library rests on."""

import errno
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from trio_p2p._lab.networks import INTERNET
from trio_p2p.testing._internet.packets import ACK, SYN

from ..kit.lab import (
    Answer,
    KernelNetwork,
    Nat,
    NatKind,
    Network,
    SymmetricKind,
    UserspaceNetwork,
    capturing,
    popen,
    run,
    running,
    start,
)
from ..kit.lab.sockets import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    Endpoint,
    dial,
    dial_ends_with,
    endpoint_of,
    ends_with,
    exchange,
    make_listener,
    make_socket,
    offender,
    start_connecting,
    wait_connected,
)

pytestmark = pytest.mark.once

REPOSITORY = Path(__file__).parents[2]
RETRANSMITTED_SECONDS = 1.5  # the first time after 1 s


# What the NATs do


def test_nat_keeps_port_and_hides_address(network: Network) -> None:
    host, site = network.add_host(), network.add_site(Nat())
    with make_listener(host) as listener, make_socket(site) as dialler:
        start_connecting(dialler, endpoint_of(host, listener))
        accepted, remote = listener.accept()
        accepted.close()
        assert remote == endpoint_of(site, dialler)
        assert site.public_address != site.host_address


def test_firewall_shows_address(network: Network) -> None:
    host, site = network.add_host(), network.add_site(Nat(NatKind.PUBLIC))
    with make_listener(host) as listener, make_socket(site) as dialler:
        start_connecting(dialler, endpoint_of(host, listener))
        accepted, remote = listener.accept()
        accepted.close()
        assert remote == dialler.getsockname()


NOBODY, KNOWN_ADDRESS, ANYBODY = range(3)


@pytest.mark.parametrize(
    ("kind", "admitted"),
    [
        (NatKind.PUBLIC, NOBODY),
        (NatKind.MASQUERADE, NOBODY),
        (SymmetricKind.SEQUENTIAL, NOBODY),
        (SymmetricKind.RANDOM, NOBODY),
        (NatKind.ADDRESS_DEPENDENT_FILTERING, KNOWN_ADDRESS),
        (NatKind.ENDPOINT_INDEPENDENT_FILTERING, ANYBODY),
    ],
)
def test_filtering_lets_in(
    kernel_network: KernelNetwork, kind: NatKind | SymmetricKind, admitted: int
) -> None:
    known, stranger = kernel_network.add_host(), kernel_network.add_host()
    site = kernel_network.add_site(Nat(kind, Answer.RST))
    with (
        make_listener(site) as listener,
        make_listener(known) as contact,
        make_socket(site, listener.getsockname()[1]) as dialler,
    ):
        target = endpoint_of(site, listener)
        assert dial(known, target) == errno.ECONNREFUSED
        assert dial(stranger, target) == errno.ECONNREFUSED
        start_connecting(dialler, endpoint_of(known, contact))
        accepted, mapped = contact.accept()
        accepted.close()
        assert (dial(known, mapped) == 0) is (admitted >= KNOWN_ADDRESS)
        assert (dial(stranger, mapped) == 0) is (admitted == ANYBODY)


@pytest.mark.parametrize("kind", SymmetricKind)
def test_symmetric_nat_gives_each_connection_a_port(
    kernel_network: KernelNetwork, kind: SymmetricKind
) -> None:
    host, site = kernel_network.add_host(), kernel_network.add_site(Nat(kind))
    port, ports = 0, list[int]()
    with ExitStack() as stack:
        for _ in range(4):
            listener = stack.enter_context(make_listener(host))
            dialler = stack.enter_context(make_socket(site, port))
            port = dialler.getsockname()[1]
            start_connecting(dialler, endpoint_of(host, listener))
            accepted, remote = listener.accept()
            stack.enter_context(accepted)
            ports.append(remote[1])
    assert len({*ports, port}) == 5
    is_sequential = ports == list(range(ports[0], ports[0] + 4))
    assert is_sequential is (kind is SymmetricKind.SEQUENTIAL)


@pytest.mark.parametrize("kind", [*NatKind, *SymmetricKind])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer.DROP, errno.ETIMEDOUT),
        (Answer.RST, errno.ECONNREFUSED),
        (Answer.ICMP, errno.EHOSTUNREACH),
    ],
)
def test_answer_to_unsolicited_syn(
    kernel_network: KernelNetwork, kind: NatKind | SymmetricKind, answer: Answer, outcome: int
) -> None:
    host, site = kernel_network.add_host(), kernel_network.add_site(Nat(kind, answer))
    with make_listener(site) as listener:
        assert dial_ends_with(host, endpoint_of(site, listener), outcome)


# What the internet does


def test_time_to_live(network: Network) -> None:
    site, other = network.add_site(Nat()), network.add_site(Nat(answer=Answer.RST))
    target = str(other.public_address), 1
    assert offender(site, target, 1) == site.host_address - 1
    assert offender(site, target, 2) == INTERNET
    with make_socket(site) as dialler:
        assert wait_connected(start_connecting(dialler, target, ttl=3)) == errno.ECONNREFUSED


def test_unknown_address_is_unreachable(network: Network) -> None:
    site = network.add_site(Nat())
    assert dial(site, ("203.0.113.250", 1)) == errno.ENETUNREACH


def test_round_trip_takes_as_long_as_set(userspace_network: UserspaceNetwork) -> None:
    host, site = userspace_network.add_host(), userspace_network.add_site(Nat())
    nearer, other = (userspace_network.add_site(Nat()) for _ in range(2))
    userspace_network.set_round_trip(host, site, 0.060)
    userspace_network.set_round_trip(host, other, 0.060)
    userspace_network.set_round_trip(host, nearer, 0.020)
    with make_listener(host) as listener:
        for dialling, one_way in [(site, 0.030), (nearer, 0.010)]:
            assert dial(dialling, endpoint_of(host, listener)) == 0
            for ends in [(dialling, host), (host, dialling)]:
                assert set(userspace_network.take_fates(*ends)) == {one_way}
    with make_socket(other) as dialler:
        start_connecting(dialler, endpoint_of(host, dialler), ttl=2)
        assert wait_connected(dialler) == errno.EHOSTUNREACH
    # What ended in the middle has been there and back.
    assert userspace_network.take_fates(other, host) == [0.030]
    assert not userspace_network.take_fates(host, other)


def test_internet_carries_much(userspace_network: UserspaceNetwork) -> None:
    host, site = userspace_network.add_host(), userspace_network.add_site(Nat())
    sent = os.urandom(3_000_000)

    async def serve(task_status: trio.TaskStatus[Endpoint]) -> None:
        [listener] = await trio.open_tcp_listeners(0, host=str(host.host_address))
        task_status.started(listener.socket.getsockname())
        async with listener, await listener.accept() as stream:
            await stream.send_all(sent)

    async def receive(endpoint: Endpoint) -> bytes:
        async with await trio.open_tcp_stream(*endpoint) as stream:
            return b"".join([piece async for piece in stream])

    with running(host.host, serve) as endpoint:
        assert run(site.host, receive, endpoint) == sent


# The facts that the library rests on


@pytest.mark.parametrize(
    ("nat", "outcome"),
    [
        (Nat(), errno.ETIMEDOUT),
        (Nat(NatKind.ADDRESS_DEPENDENT_FILTERING), errno.ETIMEDOUT),
        (Nat(NatKind.ENDPOINT_INDEPENDENT_FILTERING), errno.ETIMEDOUT),
        (Nat(NatKind.PUBLIC, drops_invalid=True), errno.ETIMEDOUT),
        (Nat(NatKind.PUBLIC), 0),
        (Nat(is_liberal=True), 0),
    ],
)
def test_connect_close_then_listen(kernel_network: KernelNetwork, nat: Nat, outcome: int) -> None:
    receiver, sender = kernel_network.add_site(nat), kernel_network.add_site(Nat())
    with make_socket(sender) as dialler:
        with capturing(sender.router) as capture, make_socket(receiver) as puncher:
            target = endpoint_of(receiver, puncher)
            start_connecting(puncher, endpoint_of(sender, dialler))
            capture.wait_for_syn()  # else it may come when the dialler's NAT lets it in
        with make_listener(receiver, target[1]):
            # Linux counts its initial sequence numbers up every 64 ns: in the first milliseconds
            # the listener's would be in the window of the punch's, and pass.
            time.sleep(0.050)
            start_connecting(dialler, target)
            seconds = RETRANSMITTED_SECONDS if outcome else ANSWER_SECONDS
            assert wait_connected(dialler, seconds) == outcome


@pytest.mark.parametrize("answer", Answer)
@pytest.mark.parametrize("kind", NatKind)
@pytest.mark.parametrize("drops_invalid", [False, True])
def test_held_guarded_syn_connects(
    kernel_network: KernelNetwork, kind: NatKind, answer: Answer, drops_invalid: bool
) -> None:
    nat = Nat(kind, answer, drops_invalid=drops_invalid)
    receiver, sender = kernel_network.add_site(nat), kernel_network.add_site(nat)
    with make_socket(receiver) as puncher, make_socket(sender) as dialler:
        target = endpoint_of(receiver, puncher)
        with make_listener(receiver, target[1]) as listener:
            listener.setblocking(False)
            start_connecting(puncher, endpoint_of(sender, dialler), ttl=2, min_ttl=2)
            assert ends_with(puncher, errno.ETIMEDOUT)
            start_connecting(dialler, target)
            assert wait_connected(dialler) == 0
            assert wait_connected(puncher) == 0
            exchange(puncher, dialler)
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer.DROP, errno.ETIMEDOUT),
        (Answer.RST, errno.ECONNREFUSED),
        (Answer.ICMP, errno.EHOSTUNREACH),
    ],
)
def test_held_syn_with_full_ttl_needs_silence(
    userspace_network: UserspaceNetwork, answer: Answer, outcome: int
) -> None:
    # With a delay, as an ICMP error that arrives while connect() still runs is reported, but leaves
    # the socket in SYN_SENT.
    receiver, sender = (userspace_network.add_site(Nat(answer=answer)) for _ in range(2))
    userspace_network.set_round_trip(receiver, sender, 0.020)
    with make_socket(receiver) as puncher, make_socket(sender) as dialler:
        target = endpoint_of(receiver, puncher)
        start_connecting(puncher, endpoint_of(sender, dialler))
        assert ends_with(puncher, outcome)
        start_connecting(dialler, target)
        if answer is Answer.DROP:
            assert wait_connected(dialler) == 0
        else:
            assert wait_connected(dialler, SILENCE_SECONDS) != 0


def test_time_exceeded_ends_a_syn_without_guard(network: Network) -> None:
    receiver, sender = network.add_site(Nat()), network.add_site(Nat())
    with make_socket(receiver) as puncher:
        start_connecting(puncher, (str(sender.public_address), 1), ttl=2)
        assert wait_connected(puncher) == errno.EHOSTUNREACH


def test_guarded_syn_costs_no_round_trip(userspace_network: UserspaceNetwork) -> None:
    receiver, sender = (userspace_network.add_site(Nat(answer=Answer.RST)) for _ in range(2))
    userspace_network.set_round_trip(receiver, sender, 0.040)
    with make_socket(receiver) as puncher, make_socket(sender) as dialler:
        start_connecting(puncher, endpoint_of(sender, dialler), ttl=2, min_ttl=2)
        with capturing(sender) as capture:
            start_connecting(dialler, endpoint_of(receiver, puncher))
            assert wait_connected(dialler) == 0
            packets = capture.read()
        assert [packet.segment.flags for packet in packets if packet.segment] == [
            SYN,
            SYN | ACK,
            ACK,
        ]
        exchange(puncher, dialler)


# Programs in the lab


def test_programs_run_concurrently_and_give_results(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_host()
    sites = [kernel_network.add_site(Nat()) for _ in range(3)]

    async def echo(task_status: trio.TaskStatus[Endpoint]) -> None:
        [listener] = await trio.open_tcp_listeners(0, host=str(host.host_address))
        task_status.started(listener.socket.getsockname())
        await trio.serve_listeners(send_back, [listener])

    async def send_back(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def ask(endpoint: Endpoint, question: bytes) -> bytes:
        async with await trio.open_tcp_stream(*endpoint) as stream:
            await stream.send_all(question)
            return bytes(await stream.receive_some())

    with running(host.host, echo) as endpoint:
        questions = [b"0", b"1", b"2"]
        answers = [
            start(site.host, ask, endpoint, question)
            for site, question in zip(sites, questions, strict=True)
        ]
        assert [answer.result() for answer in answers] == questions


def test_failure_of_a_program_ends_the_block(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_host()

    async def fail(when: str, task_status: trio.TaskStatus[None]) -> None:
        if when == "late":
            task_status.started()
        raise RuntimeError(when)

    for when in ["early", "late"]:
        with pytest.raises(RuntimeError, match=when), running(host.host, fail, when):
            pass


def test_tools_run_in_the_namespace(kernel_network: KernelNetwork) -> None:
    site = kernel_network.add_site(Nat())
    address = f"inet {site.host_address}/24"
    assert address in site.host.command("ip", "address")
    with popen(site.host, "ip", "address") as process:
        assert address in process.communicate()[0]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        site.host.command("ip", "link", "show", "nothing")
    assert "does not exist" in caught.value.__notes__[0]


# Labs and the machine


def test_labs_stand_side_by_side(kernel_network: KernelNetwork) -> None:
    with KernelNetwork() as other_network:
        hosts = [kernel_network.add_host(), other_network.add_host()]
        assert hosts[0].host_address == hosts[1].host_address
        sites = [made.add_site(Nat()) for made in (kernel_network, other_network)]
        with make_listener(hosts[0]) as listener:
            target = endpoint_of(hosts[0], listener)
            assert [dial(site, target) for site in sites] == [0, errno.ECONNREFUSED]


@pytest.mark.usefixtures("userspace_network", "kernel_network")
@pytest.mark.parametrize("make", [KernelNetwork, UserspaceNetwork])
def test_closed_lab_leaves_nothing_behind(make: Callable[[], Network]) -> None:
    before = what_a_lab_might_leave()
    with make() as network:
        network.add_host()
        network.add_site(Nat())
        assert what_a_lab_might_leave() != before
    assert what_a_lab_might_leave() == before


def what_a_lab_might_leave() -> list[list[str]]:
    named = Path("/run/netns")
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    interfaces = [name for _, name in socket.if_nameindex()]
    descriptors = [str(path) for path in Path("/proc/self/fd").iterdir()]
    names = [path.name for path in named.iterdir()] if named.exists() else []
    return [sorted(found) for found in ("".join(children).split(), interfaces, descriptors, names)]


@pytest.mark.usefixtures("userspace_network")
def test_killed_lab_leaves_no_process_behind() -> None:
    script = """
import sys
from tests.kit.lab import Nat, UserspaceNetwork
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed
enter_user_namespace_if_needed()
with UserspaceNetwork() as network:
    network.add_site(Nat())
    print("ready", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        # The router holds the same pipe, which therefore ends only with both of them.
        process.kill()
        readable, _, _ = select.select([process.stdout], [], [], ANSWER_SECONDS)
        assert readable
        assert process.stdout.read() == b""


@pytest.mark.nat
def test_lab_needs_no_privileges() -> None:
    script = """
import socket
from trio_p2p._lab.namespaces import NamespacesUnavailableError, enter_user_namespace_if_needed
from trio_p2p._lab.networks import KernelNetwork, Nat
try:
    enter_user_namespace_if_needed()
    with KernelNetwork() as network:
        host = network.add_host()
        listener = host.host.call(socket.create_server, (str(host.host_address), 0))
        for site in [network.add_site(Nat()) for _ in range(2)]:
            with site.host.call(socket.create_connection, listener.getsockname()):
                print(listener.accept()[1][0])
except NamespacesUnavailableError as error:
    print("unavailable:", error)
"""
    # Root keeps its user, and with it access to this checkout, but loses what it could do. The one
    # capability left is what the kernel asks of root, and of nobody else, to map its user.
    drop = ["setpriv", "--bounding-set=-all,+setfcap"] if os.geteuid() == 0 else []
    finished = subprocess.run(
        [*drop, sys.executable, "-W", "error", "-c", script],
        cwd=REPOSITORY,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    if finished.stdout.startswith("unavailable:"):
        pytest.skip(finished.stdout)
    assert finished.stdout.split() == ["203.0.113.1", "203.0.113.2"]
