"""A real web server, nginx, on a host of a lab."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p._lab.networks import Host

from .lab import popen, wait_listening

# Debian keeps it where the PATH of a normal user does not look.
PROGRAM = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
PORT = 8080

# One process, as to give up privileges is not possible in a user namespace.
_CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ text/html html; image/svg+xml svg; application/json json; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def serving_files(host: Host, root: Path) -> Generator[None]:
    """Serve the files in a folder at ``PORT`` of the host's loopback."""
    if PROGRAM is None:
        pytest.skip("nginx is missing: install Debian's package nginx-light")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "nginx.conf"
        file.write_text(_CONFIGURATION.format(directory=directory, port=PORT, root=root))
        argv = (PROGRAM, "-e", "stderr", "-p", directory, "-c", str(file))
        with popen(host.host, *argv) as process:
            wait_listening(host.host, [PORT], process)
            yield
