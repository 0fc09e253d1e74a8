"""A program that has a port mapped, in a process of its own, until its standard input ends.

It says in lines of JSON where the port is mapped. That it is a process is for UPnP: there worker
threads use the network, which in the tests' own process may sit in any namespace.
"""

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

import trio

from trio_p2p._portmap import timers as mapping_timers
from trio_p2p._portmap.attempts import MappingProtocol, PortMappingError
from trio_p2p._portmap.port_mapping import PortMapping, open_port_mapping
from trio_p2p._portmap.router_report import report_on_router


def say(message: object) -> None:
    print(json.dumps(message), flush=True)


async def say_changes(mapping: PortMapping) -> None:
    external = mapping.external
    while True:
        say([external and str(external), mapping.protocol, mapping.lifetime])
        external = await mapping.wait_changed(external)


async def keep_mapped(port: int, lifetime: int, protocols: Sequence[MappingProtocol]) -> None:
    try:
        async with (
            open_port_mapping(port, lifetime=lifetime, protocols=protocols) as mapping,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(say_changes, mapping)
            await trio.lowlevel.wait_readable(sys.stdin)
            nursery.cancel_scope.cancel(reason="the input has ended")
    except PortMappingError as error:
        say([[attempt.protocol, attempt.outcome, attempt.detail] for attempt in error.attempts])


async def report(protocols: Sequence[MappingProtocol]) -> None:
    for offer in await report_on_router(protocols):
        failure = None if offer.failure is None else offer.failure.outcome
        say([offer.protocol, offer.external_address and str(offer.external_address), failure])


async def main(command: str, *arguments: Any) -> None:
    match command:
        case "keep":
            await keep_mapped(*arguments)
        case "report":
            await report(*arguments)


if __name__ == "__main__":
    # What a shell runs in the background begins with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    mapping_timers.MIN_RENEWAL_PAUSE = 0.2  # for short lifetimes
    mapping_timers.MAX_RECOVERY_DELAY = 0.2
    trio.run(main, *json.loads(sys.argv[1]))
