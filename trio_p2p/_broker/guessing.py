"""Which introductions would make both peers guess ports, and how to keep them from it. Pure.

Guessing is a thousand SYNs towards an address that many may share. No source may have peers do that
again and again.
"""

from __future__ import annotations

import attrs

from .._addresses import Endpoint
from .._wire.offer import Offer


def would_guess(sender: Endpoint, one: Offer, other: Offer) -> bool:
    """Whether one peer guesses ports that the other one's NAT gives at random.

    The rule is that of the peers' strategy.

    Args:
        sender: by whose version of IP they meet.
        one: of one peer.
        other: of the other one.
    """
    is_one_moving = one.nat.is_symmetric
    if is_one_moving == other.nat.is_symmetric:
        return False
    moving, fixed = (one, other) if is_one_moving else (other, one)
    return (
        sender.address.version == 4
        and moving.port_guessing
        and fixed.port_guessing
        and not moving.nat.is_sequential
        and fixed.nat.mapping is not None
        and not fixed.nat.lets_other_ports_in
    )


def without_guessing(offer: Offer) -> Offer:
    """The same offer of a peer that does not take part in guessing."""
    return attrs.evolve(offer, port_guessing=False)
