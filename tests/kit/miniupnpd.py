"""A real router software, miniupnpd, on the router of a lab's site: it maps ports when asked to."""

import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from trio_p2p._lab.networks import WAN, LinkEnd, apply_nat, become_router, connect

from .lab import KernelNetwork, Nat, Site, popen

# Debian keeps it where the PATH of a normal user does not look.
PROGRAM = shutil.which("miniupnpd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")

PATIENCE = 60.0

# It maps nothing where the outer address is from a documentation network, as in the rest of the
# lab: to it those are reserved.
EXTERNAL = IPv4Address("11.22.33.44")
OTHER_EXTERNAL = IPv4Address("11.22.33.45")

# It wants its chains to be there.
_CHAINS = """
table inet filter {
    chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
    chain postrouting { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd; }
    chain forward { type filter hook forward priority filter; jump miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
    chain miniupnpd { }
}
"""
# It ends when the standard input does, be it by the death of who started it.
_BOUND_TO_INPUT = ("sh", "-c", '"$@" & cat > /dev/null; kill -9 $!; wait', "sh")
_LAN = "lan"
_CONFIGURATION = f"""
ext_ifname={WAN}
listening_ip={_LAN}
enable_natpmp={{enable_natpmp}}
enable_upnp=yes
ipv6_disable=yes
min_lifetime=1
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class MappingNetwork(KernelNetwork):
    """A network with one site, whose router runs miniupnpd where it is told to."""

    def __init__(self, external: IPv4Address = EXTERNAL, nat: Nat | None = None) -> None:
        if PROGRAM is None:
            pytest.skip("miniupnpd is missing: install Debian's package miniupnpd-nftables")
        super().__init__()
        router = self._add_namespace("router that maps")
        host = self._add_namespace("host behind it")
        become_router(router)
        self._attach(router, external, OTHER_EXTERNAL)
        gateway, address = IPv4Address("192.168.77.1"), IPv4Address("192.168.77.2")
        to_router = (f"default via {gateway}",)
        connect(
            LinkEnd(router, _LAN, IPv4Interface((gateway, 24))),
            LinkEnd(host, _LAN, IPv4Interface((address, 24)), to_router),
        )
        nat = nat or Nat()
        apply_nat(router, nat, wan=WAN)
        self.site = Site(host, address, external, router, nat)
        self.gateway = gateway

    def change_external_address(self) -> None:
        """Give the router another outer address."""
        self.site.router.ip(
            f"address add {OTHER_EXTERNAL}/32 dev {WAN}",
            f"address del {EXTERNAL}/32 dev {WAN}",
            f"address add {EXTERNAL}/32 dev lo",  # still the next hop of the internet's route
        )

    @contextmanager
    def mapping(self, *, is_upnp_only: bool = False) -> Generator[None]:
        """Run miniupnpd; it begins without mappings, and leaves none."""
        assert PROGRAM is not None
        router = self.site.router
        router.command("nft", "-f", "-", stdin=_CHAINS)
        with tempfile.TemporaryDirectory() as folder:
            configuration = Path(folder, "miniupnpd.conf")
            enable_natpmp = "no" if is_upnp_only else "yes"
            configuration.write_text(_CONFIGURATION.format(enable_natpmp=enable_natpmp))
            arguments = ("-d", "-f", str(configuration), "-P", str(Path(folder, "pid")))
            with popen(router, *_BOUND_TO_INPUT, PROGRAM, *arguments) as process:
                assert process.stdin is not None
                assert process.stderr is not None
                for line in process.stderr:
                    if ("HTTP listening" if is_upnp_only else "Listening for NAT-PMP/PCP") in line:
                        break
                try:
                    yield
                finally:
                    process.stdin.close()
                    process.stderr.read()  # until it is closed, as it has ended
        router.command("nft", "delete", "table", "inet", "filter")

    def mappings(self) -> list[str]:
        """The mappings that the router has, as nft shows them."""
        chain = ("inet", "filter", "prerouting_miniupnpd")
        shown = self.site.router.command("nft", "list", "chain", *chain)
        return [line.strip() for line in shown.splitlines() if "dnat" in line]

    def wait_mapped(self, count: int) -> None:
        """Wait until the router has so many mappings."""
        end = time.monotonic() + PATIENCE
        while len(self.mappings()) != count:
            assert time.monotonic() < end, self.mappings()
            time.sleep(0.02)
