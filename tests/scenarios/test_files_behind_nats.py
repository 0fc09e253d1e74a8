"""Files come through NATs, although paths break and programs are killed."""

import hashlib
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

from ..kit.commands import MEBIBYTE, SECONDS, command
from ..kit.files import bytes_in, wait_until
from ..kit.lab import KernelNetwork, Nat, Site, popen
from ..kit.soak import LITTLE_OR_MUCH

pytestmark = [pytest.mark.once, pytest.mark.slow]

UID = "files"
PHASES = 5  # of a transfer, with a misfortune between each two


class Gate:
    """Lets so many bytes through a site's router, and then no more until it is opened again.

    What goes to the broker passes always, so that its connections need not recover.
    """

    def __init__(self, site: Site, broker: str) -> None:
        self._router = site.router
        self._broker = broker
        hook = "type filter hook forward priority filter - 2"
        self._router.command(
            "nft", "-f", "-", stdin=f"table ip gate {{\nchain c {{\n{hook}\n}}\n}}\n"
        )

    def let_through(self, count: int) -> None:
        """Let so many bytes more through towards the internet."""
        self.open()
        rule = f'oifname "wan" ip daddr != {self._broker} quota over {count} bytes drop'
        self._router.command("nft", "-f", "-", stdin=f"add rule ip gate c {rule}\n")

    def open(self) -> None:
        """Let everything through."""
        self._router.command("nft", "flush", "chain", "ip", "gate", "c")


def forget_mappings(site: Site) -> None:
    """Let a NAT forget all its mappings, as if it had been switched off."""
    routes = site.router.command("ip", "route", "show", "dev", "wan").splitlines()
    routes.sort(key=lambda route: "via" in route)  # what leads to a gateway comes first
    site.router.ip(
        "link set wan down",
        "link set wan up",
        *(f"route replace {route} dev wan" for route in routes),
    )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_random(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for _ in range(count // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))


@LITTLE_OR_MUCH
def test_a_file_comes_although_its_path_breaks_twice_and_both_programs_are_killed(
    kernel_network: KernelNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_soak: bool,
) -> None:
    size, shown = (1024 * MEBIBYTE, "1.0 GiB") if is_soak else (64 * MEBIBYTE, "64.0 MiB")
    share = size // PHASES
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    write_random(source, size)
    public = kernel_network.add_host()
    giving, taking = (kernel_network.add_site(Nat()) for _ in range(2))
    host = str(public.host_address)
    gate = Gate(giving, host)
    broker_argv = command("trio-p2p-broker", "--host", host, "--port", "0", "--log-level=warning")
    with ExitStack() as stack:
        broker = stack.enter_context(popen(public.host, *broker_argv))
        assert broker.stderr is not None
        ways = ["--no-relay", "--broker", broker.stderr.readline().split()[-1]]

        def start_sender() -> Popen[str]:
            argv = command("trio-p2p", "send", "--uid", UID, *ways, str(source))
            sender = stack.enter_context(popen(giving.host, *argv))
            assert sender.stderr is not None
            assert "for the first peer" in sender.stderr.readline()
            assert "run: trio-p2p receive" in sender.stderr.readline()
            return sender

        def start_receiver() -> Popen[str]:
            argv = command("trio-p2p", "receive", UID, *ways, "--yes", "--into", str(target))
            return stack.enter_context(popen(taking.host, *argv))

        def wait_for_more() -> None:
            before = bytes_in(target)

            def is_so() -> bool:
                for program in (sender, receiver):
                    assert program.poll() is None, program.communicate()
                return bytes_in(target) >= before + share // 2

            wait_until(is_so)

        gate.let_through(share)
        sender, receiver = start_sender(), start_receiver()
        wait_for_more()
        forget_mappings(giving)
        gate.let_through(share)
        wait_for_more()
        receiver.kill()
        assert receiver.wait(SECONDS) == -signal.SIGKILL
        gate.let_through(share)
        receiver = start_receiver()
        wait_for_more()
        sender.kill()
        assert sender.wait(SECONDS) == -signal.SIGKILL
        gate.let_through(share)
        sender = start_sender()
        wait_for_more()
        forget_mappings(taking)
        assert not (target / "source").exists()
        gate.open()
        _, of_sender = sender.communicate(timeout=10 * SECONDS)
        _, of_receiver = receiver.communicate(timeout=SECONDS)
        assert (sender.returncode, receiver.returncode) == (0, 0), (of_sender, of_receiver)
    assert [path.name for path in target.iterdir()] == ["source"]
    assert digest_of(target / "source") == digest_of(source)
    assert "the connection broke: " in of_receiver  # as the sender was killed
    assert of_receiver.endswith(f"received 1 file, {shown}; their checksums are right\n")
