"""The command lines that the documentation shows, and a host on which they can be run as they are.

It has a network of its own, so that ports are free, and an ``/etc`` of its own, where the
documentation's names are those of this host.
"""

import re
import shutil
import sysconfig
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from .commands import SECONDS, Tool

ROOT = Path(__file__).parents[2]
# The tutorial has a test of its own, which follows it from line to line.
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "docs").rglob("*.rst")
        if path.name != "tutorial.rst"
    ),
)
NAMES = "127.0.0.1 localhost broker.example.org broker2.example.org\n::1 localhost\n"
_ETC = ("group", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "ssl/openssl.cnf")


def documented_lines() -> Iterator[tuple[str, str]]:
    """Each command line, and the page that it is on."""
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for found in re.finditer(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for line in found[1].splitlines():
                yield page, _without_comment(line)
        for found in re.finditer(r"^ *\$ (.+)$", text, re.MULTILINE):
            yield page, _without_comment(found[1])


def _without_comment(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line)


def shown_behind(page: str, line: str) -> str:
    """What a page shows as the output of a command line."""
    text = (ROOT / page).read_text("utf-8")
    found = re.search(rf"^( *)\$ {re.escape(line)}\n((?:\1(?!\$ ).*\S.*\n)+)", text, re.MULTILINE)
    assert found is not None, line
    return re.sub(f"^{found[1]}", "", found[2], flags=re.MULTILINE)


class Host:
    """Where documented lines are run.

    Attributes:
        home: the directory where they are run, which is also the user's own.
        ran: the lines that were run.
    """

    def __init__(self, home: Path, etc: Path, process: int) -> None:
        self.home = home
        self.etc = etc
        self.ran: set[str] = set()
        self._process = process

    def run(
        self,
        line: str,
        *,
        more: str = "",
        instead: Mapping[str, str] | None = None,
        terminal: FileIO | None = None,
        undocumented: bool = False,
    ) -> Tool:
        """Start a command line.

        Args:
            line: as the documentation has it.
            more: more options, to be done sooner.
            instead: what another word stands for: codes are other ones each time.
            terminal: has the standard streams.
            undocumented: whether the documentation does not have it.
        """
        if not undocumented:
            assert line in {documented for _, documented in documented_lines()}, line
            self.ran.add(line)
        for word, other in (instead or {}).items():
            assert word in line
            line = line.replace(word, other)
        enter = ["nsenter", "--user", "--net", "--mount", "--preserve-credentials"]
        words = [*enter, f"--target={self._process}", "env", f"--chdir={self.home}"]
        words += [f"HOME={self.home}", f"PATH={sysconfig.get_path('scripts')}:{_PATH}"]
        argv = [*words, "bash", "-c", f"{line} {more}"]
        broker = "broker.example.org:4433"
        if terminal is None:
            return Tool(*argv, broker=broker)
        argv = ["setsid", "--ctty", *argv]
        return Tool(*argv, broker=broker, stdin=terminal, stdout=terminal, stderr=terminal)

    def done(self, line: str, *, undocumented: bool = False, more: str = "") -> str:
        """Run a command line to its good end; its standard output."""
        with self.run(line, undocumented=undocumented, more=more) as tool:
            code, output, errors = tool.end()
        assert code == 0, errors
        return output.decode()


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextmanager
def open_host(directory: Path) -> Generator[Host]:
    """A host that lasts as long as the block."""
    home, etc = directory / "home", directory / "etc"
    home.mkdir()
    for name in _ETC:
        source = Path("/etc", name)
        if source.exists():
            (etc / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, etc / name)
    (etc / "hosts").write_text(NAMES)
    (etc / "systemd/system").mkdir(parents=True)
    isolate = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-ec"]
    script = 'mount --bind "$0" /etc; ip link set lo up; echo ready; exec cat'
    with Tool(*isolate, script, str(etc)) as holder:
        ready = holder.output.readline()
        assert ready == b"ready\n", holder.errors.read()
        yield Host(home, etc, holder.process.pid)
        holder.input.close()
        holder.process.wait(SECONDS)
