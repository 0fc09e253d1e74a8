"""A real proxy, HAProxy, on a host of a lab: it says where clients come from."""

import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p._lab.networks import Host

from .lab import popen, wait_listening

# Debian keeps it where the PATH of a normal user does not look.
PROGRAM = shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")

_CONFIGURATION = """
global
    maxconn 1000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
"""


@contextmanager
def proxying(
    host: Host, ports: Mapping[int, tuple[str, int]], *, option: str = "send-proxy-v2"
) -> Generator[None]:
    """Pass on connections to some ports of a host.

    Args:
        host: where the proxy runs.
        ports: for each port where to.
        option: what makes it say where a client comes from.
    """
    if PROGRAM is None:
        pytest.skip("haproxy is missing: install Debian's package haproxy")
    text = _CONFIGURATION
    for port, (address, target) in ports.items():
        text += f"listen port{port}\n    bind {host.host_address}:{port}\n"
        text += f"    server broker {address}:{target} {option}\n"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "haproxy.cfg"
        file.write_text(text)
        with popen(host.host, PROGRAM, "-db", "-f", str(file)) as process:
            wait_listening(host.host, ports, process)
            yield
