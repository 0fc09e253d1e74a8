"""The broker's memory for each idle receiver, beside a bare Trio server's for an idle connection.

10,000 clients register and fall silent. On the bare server 10,000 clients send and receive as
much, and each has a task that waits in ``receive_some``.

Limit: one and a half times as much as the bare server.
"""

import ssl
from contextlib import ExitStack

from . import clients
from .servers import running_server
from .tables import Table

LIMIT = 1.5
COUNT = 10_000
WARM_UP = 50
DESCRIPTORS = COUNT + 500


def measure() -> Table:
    title = f"Resident memory per idle receiver, {COUNT:,} of them"
    columns = ("server", "KiB each", "ratio")
    if not clients.allow_descriptors(DESCRIPTORS):
        note = f"Not measured: needs {DESCRIPTORS:,} open files (ulimit -Hn)."
        return Table(title, columns, (), (note,))
    bare = bytes_each("bare registrar", COUNT)
    broker = bytes_each("broker", COUNT)
    ratio = broker / bare
    return Table(
        title,
        columns,
        (
            ("broker", f"{broker / 1024:.2f}", f"{ratio:.2f}"),
            ("bare Trio", f"{bare / 1024:.2f}", "1"),
        ),
        (f"Limit of the ratio: {LIMIT:g}.",),
        (f"{ratio:.2f} times the bare server",) if ratio > LIMIT else (),
    )


def bytes_each(server_name: str, count: int, tls: ssl.SSLContext | None = None) -> float:
    """A server's memory for each of so many clients that have registered, perhaps in TLS."""
    with ExitStack() as stack, running_server(server_name) as server:
        for number in range(WARM_UP):
            stack.enter_context(clients.connect_receiver(server.address, number, tls=tls))
        before = server.resident_bytes
        for number in range(WARM_UP, WARM_UP + count):
            stack.enter_context(clients.connect_receiver(server.address, number, tls=tls))
        return (server.resident_bytes - before) / count
