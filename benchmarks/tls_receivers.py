"""What receivers that speak TLS cost the broker: memory while idle, and CPU to come back.

2,000 clients register in TLS and fall silent. On the bare server as many clients send and receive
as much over ``trio.SSLStream``, each in a task. Then receivers connect, register and leave, one
after the other: with a new session, and resuming the last one, in turn.

Limits: 1.3 times the memory of the bare server; a resumed session costs no more than a new one,
but for what such figures vary by.
"""

import socket
import ssl
import time

from . import clients
from .idle_receivers import bytes_each
from .servers import ServerProcess, running_server
from .tables import Table
from .tls_certificates import make_client_context

COUNT = 2_000
MEMORY_LIMIT, CPU_LIMIT = 1.3, 1.05
RETURNS = 20  # in each of some rounds
ROUNDS = 15
SETTLING_TIME = 0.1  # seconds until the broker has forgotten a client
DESCRIPTORS = COUNT + 500
KEYS = {"ECDSA, P-256": "broker in TLS", "RSA, 2048 bits": "broker in TLS with RSA"}


def measure() -> Table:
    title = f"Receivers that speak TLS, {COUNT:,} of them"
    columns = ("server, and what is measured", "value", "beside", "ratio", "limit")
    if not clients.allow_descriptors(DESCRIPTORS):
        note = f"Not measured: needs {DESCRIPTORS:,} open files (ulimit -Hn)."
        return Table(title, columns, (), (note,))
    context = make_client_context()
    bare = bytes_each("bare registrar in TLS", COUNT, context) / 1024
    broker = bytes_each("broker in TLS", COUNT, context) / 1024
    measured = [("memory while idle, KiB, beside bare Trio", broker, bare, MEMORY_LIMIT)]
    for key, server in KEYS.items():
        new, resumed = _microseconds_to_return(server, context)
        name = f"CPU to come back, µs, session resumed, beside a new one: {key}"
        measured.append((name, resumed, new, CPU_LIMIT))
    return Table(
        title,
        columns,
        tuple(
            (name, f"{value:.1f}", f"{beside:.1f}", f"{value / beside:.2f}", f"{limit:g}")
            for name, value, beside, limit in measured
        ),
        ("CPU of the broker for all that it takes to connect, register and leave.",),
        tuple(
            f"{value / beside:.2f}: {name}"
            for name, value, beside, limit in measured
            if value > limit * beside
        ),
    )


def _microseconds_to_return(server_name: str, context: ssl.SSLContext) -> tuple[float, float]:
    """The broker's CPU time for a receiver that comes back, with a new session and without."""
    with running_server(server_name) as server:
        _return(server, context, resumes=True)  # all is loaded
        new = resumed = 0.0
        for _ in range(ROUNDS):
            new += _return(server, context, resumes=False)
            resumed += _return(server, context, resumes=True)
    return new / ROUNDS, resumed / ROUNDS


def _return(server: ServerProcess, context: ssl.SSLContext, *, resumes: bool) -> float:
    """Microseconds of the broker's CPU for each of some returns."""
    session: ssl.SSLSession | None = None
    before = server.cpu_seconds
    for number in range(RETURNS):
        with clients.connect_receiver(
            server.address, number, tls=context, session=session
        ) as client:
            session = _session_of(client) if resumes else None
    time.sleep(SETTLING_TIME)
    return 1e6 * (server.cpu_seconds - before) / RETURNS


def _session_of(client: socket.socket) -> ssl.SSLSession | None:
    assert isinstance(client, ssl.SSLSocket)
    return client.session
