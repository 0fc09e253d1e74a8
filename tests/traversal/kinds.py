"""Two peers, and the kinds of NATs that they may be behind."""

from ipaddress import IPv4Address

from trio_p2p._addresses import Endpoint
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

EI, AD, APD = Behaviour
SENDER, RECEIVER = (Endpoint(IPv4Address(f"203.0.113.{n}"), 40_000) for n in (1, 2))
UNKNOWN = Nat()
OPEN = Nat(EI, EI, Allocation.PRESERVING)
ADDRESS = Nat(EI, AD, Allocation.PRESERVING)
PORT = Nat(EI, APD, Allocation.PRESERVING)
SEQUENTIAL = Nat(APD, APD, Allocation.SEQUENTIAL, 3)
RANDOM = Nat(APD, APD, Allocation.RANDOM)
