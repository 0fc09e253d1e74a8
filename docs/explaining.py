"""Sphinx directives that draw what the first pages explain.

The punch is drawn as the NAT lab shows it: ``tests/scenarios`` holds the code to that.
"""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from drawings import FRAME, STROKE, Arrow, drawing, lanes, text_at
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

OVERVIEW_WIDTH, OVERVIEW_HEIGHT = 450, 190  # narrow enough for a phone

RECEIVER, ITS_NAT, OTHER_NAT, SENDER = "receiver", "its NAT", "sender's NAT", "sender"
PUNCH = [
    Arrow(RECEIVER, ITS_NAT, "SYN 1000, with a small TTL"),
    Arrow(ITS_NAT, ITS_NAT, "notes: hole, 1000"),
    Arrow(ITS_NAT, OTHER_NAT, "its TTL ends on the way", is_lost=True),
    Arrow(SENDER, OTHER_NAT, "SYN 5000"),
    Arrow(OTHER_NAT, ITS_NAT, "SYN 5000"),
    Arrow(ITS_NAT, RECEIVER, "SYN 5000 passes the hole"),
    Arrow(RECEIVER, ITS_NAT, "SYN-ACK 1000, same socket"),
    Arrow(ITS_NAT, OTHER_NAT, "SYN-ACK 1000: known, passes"),
    Arrow(OTHER_NAT, SENDER, "SYN-ACK: an ordinary answer"),
    Arrow(SENDER, RECEIVER, "ACK: connected, without the broker"),
]
NAIVE = [
    Arrow(RECEIVER, ITS_NAT, "SYN, sequence number 1000"),
    Arrow(ITS_NAT, ITS_NAT, "notes: hole, 1000"),
    Arrow(RECEIVER, RECEIVER, "closes, listens"),
    Arrow(SENDER, RECEIVER, "SYN 5000 passes the hole"),
    Arrow(RECEIVER, ITS_NAT, "SYN-ACK, sequence number 7000"),
    Arrow(ITS_NAT, SENDER, "7000 is not 1000: invalid", is_lost=True),
]
HOST, NAT, ASKED, STRANGER = "host", "its NAT", "a server", "a stranger"
FILTERING = [
    Arrow(HOST, NAT, "SYN from 192.168.1.7:40000"),
    Arrow(NAT, ASKED, "SYN from 203.0.113.5:40000"),
    Arrow(ASKED, HOST, "SYN-ACK to 203.0.113.5:40000: passes, always"),
    Arrow(STRANGER, NAT, "SYN to 203.0.113.5:40000", is_lost=True),
    Arrow(HOST, NAT, "SYN to the stranger"),
    Arrow(NAT, STRANGER, "SYN from 203.0.113.5:40000, or another port"),
    Arrow(STRANGER, HOST, "SYN to 203.0.113.5:40000: passes now"),
]
RELAY = "broker (relay)"
BROKER = "broker"
TRUST = [
    Arrow(RECEIVER, BROKER, "UID, peer id, a signature for this broker"),
    Arrow(SENDER, BROKER, "UID, its certificate"),
    Arrow(BROKER, SENDER, "the receiver's certificate and endpoint"),
    Arrow(BROKER, RECEIVER, "the sender's certificate and endpoint"),
    Arrow(SENDER, RECEIVER, "TLS 1.3: each proves its key, on every path"),
    Arrow(SENDER, SENDER, "is it expect= ?"),
    Arrow(RECEIVER, RECEIVER, "does admit= say yes?"),
    Arrow(SENDER, RECEIVER, "bytes of streams, encrypted for the receiver, relayed or not"),
]
MOVE = [
    Arrow(SENDER, RELAY, "bytes 0 to 99"),
    Arrow(RELAY, RECEIVER, "bytes 0 to 99"),
    Arrow(SENDER, RECEIVER, "direct path found: HELLO, path 2 of this session"),
    Arrow(RECEIVER, SENDER, "HELLO, I have 100"),
    Arrow(SENDER, RECEIVER, "bytes 100 to 199, direct"),
    Arrow(SENDER, SENDER, "changes its network"),
    Arrow(SENDER, RECEIVER, "bytes 200 to 299", is_lost=True),
    Arrow(SENDER, RELAY, "HELLO, path 3 of this session"),
    Arrow(RELAY, RECEIVER, "HELLO, path 3 of this session"),
    Arrow(RECEIVER, RELAY, "HELLO, I have 200"),
    Arrow(RELAY, SENDER, "HELLO, I have 200"),
    Arrow(SENDER, RELAY, "bytes 200 to 299, again"),
    Arrow(RELAY, RECEIVER, "bytes 200 to 299, again"),
]


class OverviewDirective(SphinxDirective):
    """Two peers, their NATs, the broker, and the direct connection."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        lines = [
            "both peers connect to the broker through their NATs",
            "the broker introduces them, and relays until they have a direct connection",
            "the direct connection is TCP from peer to peer, encrypted end to end",
        ]
        title = "Two peers behind NATs, introduced by a broker"
        return drawing(_overview(), OVERVIEW_WIDTH, OVERVIEW_HEIGHT, title, lines)


def _overview() -> Iterator[str]:
    boxes = {
        "broker": (175, 4, 100),
        "your program": (2, 130, 96),
        "NAT": (120, 130, 44),
        "NAT ": (286, 130, 44),
        "their program": (352, 130, 96),
    }
    for name, (x, y, width) in boxes.items():
        yield f'<rect x="{x}" y="{y}" width="{width}" height="30" rx="3" {FRAME}/>'
        yield text_at(x + width / 2, y + 19, name.strip(), "middle")
    dashes = 'stroke-dasharray="5 3"'
    yield f'<path d="M50 130Q80 40 175 24" {STROKE} {dashes}/>'
    yield f'<path d="M400 130Q370 40 275 24" {STROKE} {dashes}/>'
    yield text_at(78, 46, "1 registers", "end")
    yield text_at(372, 46, "2 asks for it", "start")
    yield text_at(225, 52, "3 introduces, relays", "middle")
    yield f'<path d="M98 145H120M164 145H286M330 145H352" {STROKE} stroke-width="2.5"/>'
    yield f'<g font-weight="bold">{text_at(225, 138, "4 direct TCP", "middle")}</g>'
    yield text_at(225, 162, "encrypted end to end", "middle")
    yield text_at(225, 184, "the streams stay when either side changes its network", "middle")


class PunchDirective(SphinxDirective):
    """A punch, packet by packet."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "The held, guarded SYN, packet by packet"
        return lanes([RECEIVER, ITS_NAT, OTHER_NAT, SENDER], PUNCH, title, 720)


class NaiveDirective(SphinxDirective):
    """The punch that never works behind a Linux NAT."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "Connect, close, then listen: why it fails behind a Linux NAT"
        return lanes([RECEIVER, ITS_NAT, SENDER], NAIVE, title, 720)


class MovesDirective(SphinxDirective):
    """A session that moves from path to path."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "A session moves from the relay to a direct path, and to another network"
        return lanes([SENDER, RELAY, RECEIVER], MOVE, title, 720)


class FilteringDirective(SphinxDirective):
    """Whom a NAT lets in."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "What a NAT lets in: answers to what went out"
        return lanes([HOST, NAT, ASKED, STRANGER], FILTERING, title, 720)


class TrustDirective(SphinxDirective):
    """Who proves what to whom."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "What the broker learns, and what the peers prove to each other"
        return lanes([SENDER, BROKER, RECEIVER], TRUST, title, 720)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("overview-drawing", OverviewDirective)
    app.add_directive("filtering-drawing", FilteringDirective)
    app.add_directive("trust-drawing", TrustDirective)
    app.add_directive("punch-drawing", PunchDirective)
    app.add_directive("naive-punch-drawing", NaiveDirective)
    app.add_directive("moves-drawing", MovesDirective)
    return {"parallel_read_safe": True}
