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
)
from trio_p2p._lab.programs import run as run, running as running, start as start

from .hosts import popen as popen
from .userspace import UserspaceNetwork as UserspaceNetwork
