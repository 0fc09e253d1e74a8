"""A lab with real NATs: hosts, routers and an internet, each in a network namespace of its own.

::

    broker's host ---- internet ---- router (Nat) ---- host of a site
                          |
                          +--------- router (Nat) ---- host of a site

The fixture `kernel_network` gives a lab where the internet is one more namespace; in the one of the
fixture `userspace_network` it is a process that delays packets as `set_round_trip(one, other,
seconds)` says. Both make hosts with `add_host()` and sites with `add_site(Nat(...))`. On them `run`,
`start` and `running` run Trio programs, `popen` and `Namespace.command` other programs, and
`Namespace.call` anything synchronous::

    def test_greeting(kernel_network: KernelNetwork) -> None:
        broker = kernel_network.add_host()
        site = kernel_network.add_site(Nat(NatKind.MASQUERADE, Answer.RST))
        with running(broker.host, serve, str(broker.host_address)) as endpoint:
            assert run(site.host, greet, endpoint) == b"hello"

Nothing has a name that others could see, so labs stand side by side and leave nothing behind.
"""

from trio_p2p._commands.namespaces import Namespace as Namespace
from trio_p2p._commands.namespaces import NamespacesUnavailableError as NamespacesUnavailableError
from trio_p2p._commands.networks import Answer as Answer
from trio_p2p._commands.networks import Host as Host
from trio_p2p._commands.networks import KernelNetwork as KernelNetwork
from trio_p2p._commands.networks import Nat as Nat
from trio_p2p._commands.networks import NatKind as NatKind
from trio_p2p._commands.networks import Network as Network
from trio_p2p._commands.networks import Site as Site

from .hosts import popen as popen
from .hosts import run as run
from .hosts import running as running
from .hosts import start as start
from .userspace import UserspaceNetwork as UserspaceNetwork
