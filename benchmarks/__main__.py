"""Runs the benchmarks and prints what they found; fails if a limit is exceeded."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from . import (
    attacks,
    call_path,
    charts,
    delay,
    files,
    floods,
    forwarding,
    hostile_streams,
    idle_circuits,
    idle_receivers,
    idle_streams,
    imports,
    introductions,
    libp2p_pairs,
    long_path,
    lossy_nats,
    many_receivers,
    relay,
    requests,
    slow_link,
    small_pieces,
    streams,
    tls_receivers,
)

BENCHMARKS = {
    "imports": imports.measure,
    "call_path": call_path.measure,
    "introductions": introductions.measure,
    "idle_receivers": idle_receivers.measure,
    "many_receivers": many_receivers.measure,
    "tls_receivers": tls_receivers.measure,
    "delay": delay.measure,
    "lossy_nats": lossy_nats.measure,
    "libp2p_pairs": libp2p_pairs.measure,
    "streams": streams.measure,
    "files": files.measure,
    "small_pieces": small_pieces.measure,
    "requests": requests.measure,
    "forwarding": forwarding.measure,
    "idle_streams": idle_streams.measure,
    "long_path": long_path.measure,
    "slow_link": slow_link.measure,
    "relay": relay.measure,
    "idle_circuits": idle_circuits.measure,
    "floods": floods.measure,
    "hostile_streams": hostile_streams.measure,
    "attacks": attacks.measure,
}
DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--save", action="store_true", help=f"write the results to {DOCS}")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    machine = _machine()
    print(f"On {machine}\n")
    is_within_limits = True
    for name in options.names or BENCHMARKS:
        table = BENCHMARKS[name]()
        print(table, end="\n\n", flush=True)
        is_within_limits &= not table.exceeded
        if options.save and table.rows:
            DOCS.mkdir(exist_ok=True)
            (DOCS / "machine.inc").write_text(f"{machine}\n")
            table.save(DOCS / f"{name}.csv")
            if table.chart is not None and charts.IS_AVAILABLE:
                charts.draw(table.chart, DOCS / f"{name}.svg")
    return 0 if is_within_limits else 1


def _machine() -> str:
    return (
        f"{platform.system()} {platform.release()} ({platform.machine()}, {os.cpu_count()} cores), "
        f"Python {platform.python_version()}, Trio {version('trio')}."
    )


if __name__ == "__main__":
    sys.exit(main())
