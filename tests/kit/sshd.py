"""A real SSH server, of OpenSSH, on a host of a lab, and what logs in to it."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p._lab.networks import Host

from .lab import popen, wait_listening

# Debian keeps it where the PATH of a normal user does not look.
PROGRAM = shutil.which("sshd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
PORT = 2222

_CONFIGURATION = """
ListenAddress 127.0.0.1:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
# Where the server parts from its privileges it wants a folder that a fresh system lacks.
_AS_ROOT = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"',
)


def _real_user() -> int:
    """Who this is outside of the user namespace that the lab may have made."""
    return int(Path("/proc/self/uid_map").read_text().split()[1]) + os.getuid()


@contextmanager
def serving_shells(host: Host, directory: Path) -> Generator[None]:
    """Serve SSH at ``PORT`` of the host's loopback, to the owner of a key in a folder."""
    if PROGRAM is None:
        pytest.skip("sshd is missing: install Debian's package openssh-server")
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(argv, check=True)
    configuration = directory / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(directory=directory, port=PORT))
    user = _real_user()
    # The user who runs the tests, who is not root outside, is not root for the server.
    way = ("unshare", "--user", f"--map-user={user}", "--") if user else (*_AS_ROOT, "sh")
    with popen(host.host, *way, PROGRAM, "-D", "-e", "-f", str(configuration)) as process:
        wait_listening(host.host, [PORT], process)
        yield
        process.terminate()


def ssh(directory: Path, port: int, *command: str) -> list[str]:
    """What runs a command at the other end of a local port."""
    if shutil.which("ssh") is None:
        pytest.skip("ssh is missing: install Debian's package openssh-client")
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    options = {
        "IdentityFile": directory / "user",
        "UserKnownHostsFile": known,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    return [
        "ssh",
        "-F",
        "none",
        "-p",
        str(port),
        *(f"-o{name}={value}" for name, value in options.items()),
        f"{pwd.getpwuid(_real_user()).pw_name}@127.0.0.1",
        *command,
    ]
