"""``trio-p2p forward`` through two NATs, with programs that people use: wrk, a browser, ssh."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import attrs
import pytest

from trio_p2p._lab.networks import Host, Site

from ..kit import nginx, sshd
from ..kit.browser import find_browser, open_page
from ..kit.commands import MEBIBYTE, SECONDS, command
from ..kit.lab import KernelNetwork, Nat, popen

pytestmark = pytest.mark.once

LOCAL_PORT = 9000
PAGE = """<!DOCTYPE html>
<title>loading</title>
<p id="text"></p>
<script>
  async function load() {
    const texts = await Promise.all([...Array(50).keys()].map(
      async n => (await fetch(`data.json?${n}`)).text()));
    document.getElementById("text").textContent = new Set(texts).size + " " + texts[0];
    document.title = "loaded";
  }
  load();
</script>
"""


@attrs.frozen
class Ends:
    """The two hosts behind NATs."""

    broker: Host
    exposing: Site
    forwarding: Site


@pytest.fixture
def ends(kernel_network: KernelNetwork) -> Ends:
    return Ends(
        kernel_network.add_host(),
        kernel_network.add_site(Nat()),
        kernel_network.add_site(Nat()),
    )


@contextmanager
def joined(ends: Ends, uid: str, port: int) -> Iterator[None]:
    """A port of one host leads to a port of the other one, directly."""
    host = str(ends.broker.host_address)
    broker_argv = command("trio-p2p-broker", "--host", host, "--port", "0", "--log-level=warning")
    with popen(ends.broker.host, *broker_argv) as broker:
        assert broker.stderr is not None
        way = ["--no-relay", "--broker", broker.stderr.readline().split()[-1]]
        expose_argv = command("trio-p2p", "expose", uid, f"127.0.0.1:{port}", *way)
        forward_argv = command("trio-p2p", "forward", str(LOCAL_PORT), uid, *way)
        with popen(ends.exposing.host, *expose_argv) as expose:
            assert expose.stderr is not None
            assert "exposing" in expose.stderr.readline()
            with popen(ends.forwarding.host, *forward_argv) as forward:
                assert forward.stderr is not None
                assert "is at 127.0.0.1" in forward.stderr.readline()
                yield
                for tool in (forward, expose):
                    tool.terminate()
                    assert tool.communicate(timeout=SECONDS) == ("", "")
                    assert tool.returncode == 143


def test_load_tool(ends: Ends, uid: str, tmp_path: Path) -> None:
    """Two hundred connections at once, and no error."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing: install Debian's package wrk")
    (tmp_path / "index.html").write_text(PAGE)
    url = f"http://127.0.0.1:{LOCAL_PORT}/"
    with nginx.serving_files(ends.exposing, tmp_path), joined(ends, uid, nginx.PORT):
        options = ("--connections=200", "--threads=2", "--duration=3s", "--timeout=60s")
        shown = ends.forwarding.host.command("wrk", *options, url)
    assert "Socket errors" not in shown, shown
    assert "Non-2xx" not in shown, shown
    found = re.search(r"(\d+) requests in", shown)
    assert found is not None, shown
    assert int(found[1]) >= 200


def test_browser(ends: Ends, uid: str, tmp_path: Path) -> None:
    find_browser()
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "data.json").write_text('"from the other side"')

    def load() -> str | None:
        url = f"http://127.0.0.1:{LOCAL_PORT}/index.html"
        with open_page(url, 800, 600, is_dark=False) as page:
            page.wait_for_function(
                "document.title == 'loaded'", polling=100, timeout=SECONDS * 1000
            )
            return page.text_content("#text")

    with nginx.serving_files(ends.exposing, tmp_path), joined(ends, uid, nginx.PORT):
        assert ends.forwarding.host.call(load) == '1 "from the other side"'


def test_ssh(ends: Ends, uid: str, tmp_path: Path) -> None:
    """What a shell says and reads, its errors, and its exit status."""
    text = os.urandom(MEBIBYTE // 2).hex()
    line = "sha256sum; echo wrong >&2; exit 3"
    with sshd.serving_shells(ends.exposing, tmp_path), joined(ends, uid, sshd.PORT):
        argv = sshd.ssh(tmp_path, LOCAL_PORT, line)
        with popen(ends.forwarding.host, *argv) as client:
            output, errors = client.communicate(text, timeout=SECONDS)
    assert (client.returncode, errors) == (3, "wrong\n")
    assert output.split()[0] == sha256(text.encode()).hexdigest()
