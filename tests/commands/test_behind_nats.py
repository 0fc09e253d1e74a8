"""The shell tools behind NATs."""

import os
import threading
from pathlib import Path

import pytest

from ..kit.commands import MEBIBYTE, SECONDS, command
from ..kit.lab import Answer, KernelNetwork, Nat, popen
from .reports import read_report

pytestmark = pytest.mark.once


@pytest.mark.parametrize("answer", [Answer.DROP, Answer.RST])
def test_behind_nats(
    kernel_network: KernelNetwork, answer: Answer, tmp_path: Path, uid: str
) -> None:
    public = kernel_network.add_host()
    sites = [kernel_network.add_site(Nat(answer=answer)) for _ in range(2)]
    texts = [os.urandom(MEBIBYTE // 2).hex() for _ in sites]
    file = tmp_path / "report.json"
    host = str(public.host_address)
    broker_argv = command("trio-p2p-broker", "--host", host, "--port", "0", "--log-level=warning")
    with popen(public.host, *broker_argv) as broker:
        assert broker.stderr is not None
        address = ["--broker", broker.stderr.readline().split()[-1]]
        assert "answering probes" in broker.stderr.readline()
        listen_argv = command("trio-p2p", "listen", uid, "-v", *address)
        options = [*address, "--no-relay", "--report", str(file)]
        connect_argv = command("trio-p2p", "connect", "-q", uid, *options)
        with popen(sites[0].host, *listen_argv) as receiver:
            assert receiver.stderr is not None
            for line in receiver.stderr:
                if "waiting for a peer" in line:
                    break
            with popen(sites[1].host, *connect_argv) as sender:
                replies: list[str] = []
                thread = threading.Thread(
                    target=lambda: replies.append(receiver.communicate(texts[0])[0])
                )
                thread.start()
                assert sender.communicate(texts[1], timeout=SECONDS) == (texts[0], "")
                thread.join(SECONDS)
                assert replies == [texts[1]]
                assert (receiver.returncode, sender.returncode) == (0, 0)
        broker.terminate()
        assert broker.communicate(timeout=SECONDS) == ("", "")
        assert broker.returncode == 0
    report = read_report(file)
    assert (report["path"], report["technique"]) == ("direct", "fast")
    [connected] = [one for one in report["attempts"] if one["outcome"] == "connected"]
    addresses = [connected[end].partition(":")[0] for end in ("local", "remote")]
    assert addresses == [str(sites[1].host_address), str(sites[0].public_address)]
