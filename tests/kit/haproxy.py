"""A real proxy, HAProxy, on a host of a lab: it says where clients come from."""

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p._lab.networks import Host

from .lab import popen

# Debian keeps it where the PATH of a normal user does not look.
PROGRAM = shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")

PATIENCE = 60.0
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
            deadline = time.monotonic() + PATIENCE
            while len(_listening(host) & set(ports)) < len(ports):
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline, "haproxy does not listen"
                time.sleep(0.02)
            yield


def _listening(host: Host) -> set[int]:
    lines = host.host.call(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(each[1].partition(":")[2], 16) for each in fields if each[3] == "0A"}
