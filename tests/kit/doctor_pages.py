"""What ``trio-p2p doctor`` prints in several networks, for tests and for the documentation.

``python -m tests.kit.doctor_pages`` writes the pages that the documentation shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from trio_p2p._lab.namespaces import enter_user_namespace_if_needed

from .commands import SECONDS, command
from .lab import KINDS, NatBehaviour, UserspaceHost, UserspaceNetwork, popen
from .probed_broker import ProbedBroker, probed_broker

FOLDER = Path(__file__).parents[2] / "docs" / "doctor"

# Innermost first.
NETWORKS: Mapping[str, tuple[NatBehaviour | None, ...]] = {
    "public": (KINDS["public"],),
    "eim-eif": (KINDS["eim-eif"],),
    "masquerade": (KINDS["masquerade"],),
    "sequential": (KINDS["sequential"],),
    "random": (KINDS["random"],),
    "carrier": (KINDS["masquerade"], KINDS["random"]),
}

Ended = tuple[int, str, str]
"""Exit code, what was written to standard output, and to standard error."""


def doctor(site: UserspaceHost, broker: ProbedBroker, *options: str) -> Ended:
    """Run the command to its end."""
    argv = command("trio-p2p", "doctor", "--broker", str(broker.endpoint), *options)
    with popen(site.host, *argv) as process:
        output, errors = process.communicate(timeout=SECONDS)
        return process.returncode, output, errors


def run_everywhere(*options: str) -> dict[str, Ended]:
    """What comes of the command in each of the networks."""
    with ExitStack() as stack:
        network = stack.enter_context(UserspaceNetwork())
        broker = stack.enter_context(probed_broker(network))
        sites = [network.add_site(nat, *_present(outer)) for nat, *outer in NETWORKS.values()]
        pool = stack.enter_context(ThreadPoolExecutor(len(sites)))
        ended = pool.map(lambda site: doctor(site, broker, *options), sites)
        return dict(zip(NETWORKS, ended, strict=True))


def _present(nats: list[NatBehaviour | None]) -> list[NatBehaviour]:
    return [nat for nat in nats if nat is not None]


def main() -> None:
    """Write the pages."""
    enter_user_namespace_if_needed()
    FOLDER.mkdir(exist_ok=True)
    for name, (_, page, _) in run_everywhere().items():
        (FOLDER / f"{name}.txt").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
