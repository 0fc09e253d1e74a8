"""A lab with real NATs: hosts, routers and an internet, each in a network namespace of its own.

::

    broker's host ---- internet ---- router (Nat) ---- host of a site
                          |
                          +--------- router (Nat) ---- host of a site

The fixture `kernel_network` gives a lab where the internet is one more namespace. In that of the
fixture `userspace_network` it is a process, which delays packets as `set_round_trip` says. Both
make hosts with `add_host()` and sites with `add_site(Nat(...))`. On them `run`, `start` and
`running` run Trio programs, `popen` and `Namespace.command` others, `Namespace.call` functions::

    def test_greeting(kernel_network: KernelNetwork) -> None:
        broker = kernel_network.add_host()
        site = kernel_network.add_site(Nat(NatKind.MASQUERADE, Answer.RST))
        with running(broker.host, serve, str(broker.host_address)) as endpoint:
            assert run(site.host, greet, endpoint) == b"hello"

A `Nat` is the kernel's: what people have at home, but only some of all the behaviours there are.
In a `UserspaceNetwork` the process that is the internet can be any NAT, too: a `NatBehaviour` says
how it behaves, and `KINDS` has those that matter, by name. Such NATs stand before each other, and
before several hosts::

    site = network.add_site(KINDS["random"])
    stacked = network.add_site(KINDS["eim-apdf"], KINDS["masquerade"])  # innermost first
    carrier = network.add_carrier(NatBehaviour(hairpins=True))
    home = network.add_nat(NatBehaviour(refusal=Refusal.RST), behind=carrier)
    desktop, laptop = (network.add_host(behind=home) for _ in range(2))
    neighbour = network.add_site(KINDS["eim-eif"], behind=carrier)
    network.set_round_trip(desktop, neighbour, 0.020)
    network.set_jitter(desktop, site, 0.005)
    network.set_loss(laptop, None, 0.01)
    network.forget(site)

It says how long it has kept each packet, and which it has lost::

    assert set(network.take_fates(desktop, neighbour)) == {0.010}

What a host sends and receives can be captured, by any interface::

    with capturing(site) as capture:
        ...
        assert not [packet for packet in capture.read() if packet.is_outgoing]

Nothing has a name that others could see, so labs stand side by side and leave nothing behind.
"""

from trio_p2p._lab.namespaces import (
    Namespace as Namespace,
    NamespacesUnavailableError as NamespacesUnavailableError,
)
from trio_p2p._lab.networks import (
    Answer as Answer,
    Host as Host,
    KernelNetwork as KernelNetwork,
    Nat as Nat,
    NatKind as NatKind,
    Network as Network,
    Site as Site,
    SymmetricKind as SymmetricKind,
)
from trio_p2p._lab.programs import run as run, running as running, start as start
from trio_p2p.testing._internet.behaviour import (
    Allocation as Allocation,
    Dependence as Dependence,
    NatBehaviour as NatBehaviour,
    Refusal as Refusal,
)
from trio_p2p.testing._internet.kinds import KINDS as KINDS

from .capture import Capture as Capture, Captured as Captured, capturing as capturing
from .hosts import popen as popen, wait_listening as wait_listening
from .userspace import (
    Gateway as Gateway,
    UserspaceHost as UserspaceHost,
    UserspaceNetwork as UserspaceNetwork,
)
