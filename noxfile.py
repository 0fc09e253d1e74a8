"""Everything that is checked before a change goes in: ``nox`` runs the default sessions."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "docs", "trio_typing", "package", "portable", "tests"]

OLDEST_PYTHON = (3, 11)
PYPROJECT = nox.project.load_toml("pyproject.toml")
FUZZ_SECONDS = 60
# Most tests wait for a network most of the time.
AT_ONCE = ("--numprocesses=5", "--dist=worksteal", "--durations=25")
FIND_MARKER = """
from importlib.resources import files
marker = files("trio_p2p") / "py.typed"
assert marker.is_file(), f"{marker} is missing"
"""
MAX_WHEEL_BYTES = 650 * 1024  # not a limit of anything: a wheel that grows past it is looked at

SECONDS: dict[str, float] = {}
"""How long each session took that has ended, by its name."""


def timed(run: Callable[[nox.Session], None]) -> Callable[[nox.Session], None]:
    """Note how long a session takes, for the table that comes last."""

    @functools.wraps(run)
    def run_and_note(session: nox.Session) -> None:
        started_at = time.monotonic()
        try:
            run(session)
        finally:
            SECONDS[session.name] = time.monotonic() - started_at

    return run_and_note


@atexit.register
def print_times() -> None:
    """Print how long the sessions took, after all that they and nox have to say."""
    if len(SECONDS) < 2:
        return
    times = {**SECONDS, "all": sum(SECONDS.values())}
    width = max(map(len, times))
    print("", f"{'session':{width}}  seconds", sep="\n")
    for name, seconds in times.items():
        print(f"{name:{width}}  {seconds:7.1f}")


def find_interpreters() -> list[str]:
    """The versions, such as 3.12, of every supported interpreter that really runs here.

    A file named ``python3.12`` on the PATH may be a pyenv shim for a version that pyenv has not
    switched on, so each is tried. What pyenv has installed is found even so: it is appended to the
    PATH, where nox looks next.
    """
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True)
        installed = sorted(Path(root.stdout.strip(), "versions").glob("*/bin"))
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, installed)])
    found: set[tuple[int, int]] = set()
    for directory in dict.fromkeys(os.environ["PATH"].split(os.pathsep)):
        for path in sorted(Path(directory).glob("python3*")):
            named = re.fullmatch(r"python3\.(\d+)", path.name)
            if named is None:
                continue
            version = (3, int(named[1]))
            if version >= OLDEST_PYTHON and version not in found and runs(path):
                found.add(version)
    return [f"{major}.{minor}" for major, minor in sorted(found)]


def runs(interpreter: Path) -> bool:
    """Whether the interpreter starts at all."""
    try:
        tried = subprocess.run([interpreter, "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


INTERPRETERS = find_interpreters()


def install_groups(session: nox.Session, *groups: str) -> None:
    """Install the package as it stands here, and what the dependency groups name."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session(python=INTERPRETERS)
@timed
def tests(session: nox.Session) -> None:
    """Run the tests, on the first interpreter all and with coverage; arguments go to pytest."""
    install_groups(session, "test")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    if session.python != INTERPRETERS[0]:
        session.run("pytest", *AT_ONCE, "-m", "not once")
        return
    env = {"COVERAGE_FILE": str(Path(f".coverage.{session.python}").absolute())}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *AT_ONCE, env=env)
    session.notify("coverage")


@nox.session
@timed
def coverage(session: nox.Session) -> None:
    """Combine what the tests session and its processes covered, and hold it to the limit."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
@timed
def lint(session: nox.Session) -> None:
    """Run ruff and flake8-async."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # The first two do not see that a task_status is handed on, and the third one not that whoever
    # takes a function asks for an async one.
    ignored = "--ignore=ASYNC114,ASYNC128,ASYNC124,ASYNC9"
    session.run(
        "flake8", "--select=ASYNC", ignored, "trio_p2p", "tests", "benchmarks", "examples", "fuzz"
    )


@nox.session
@timed
def types(session: nox.Session) -> None:
    """Run mypy and pyright, also over the documentation; check that public types are complete."""
    install_groups(session, "types", "test", "bench", "requests")
    session.run("mypy")
    session.run("pytest", "tests/documentation/check_block_types.py")
    env = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", "--project", "pyproject.toml", env=env)
    session.run("pyright", "--verifytypes", "trio_p2p", "--ignoreexternal", env=env)


@nox.session
@timed
def trio_typing(session: nox.Session) -> None:
    """Show that applications still on trio-typing can use this, in an environment of its own."""
    session.install(".[trio-typing]", *nox.project.dependency_groups(PYPROJECT, "test"))
    session.run("pytest", "tests/trio_typing/check_trio_typing.py")


@nox.session
@timed
def docs(session: nox.Session) -> None:
    """Build the documentation, with warnings as errors, and look at it on two screens."""
    install_groups(session, "docs", "test")
    for builder in ("html", "man"):
        folder = f"docs/_build/{builder}"
        session.run("sphinx-build", "-b", builder, "-W", "--keep-going", "-q", "-E", "docs", folder)
    session.run("pytest", "tests/documentation/check_pages.py")


@nox.session
@timed
def portable(session: nox.Session) -> None:
    """Import every public name, and test what is pure: on any system that Python runs on."""
    install_groups(session, "unit")
    session.run("python", "-c", "from trio_p2p import *")
    arguments = ("-p", "tests.kit.elsewhere", "--noconftest", "--hypothesis-profile=ci")
    # Where the encoding of files is not UTF-8 anyway, as on Windows before Python 3.15.
    env = {"PYTHONUTF8": "1"}
    session.run("python", "-m", "pytest", *arguments, *(session.posargs or ["-q"]), env=env)


def build_wheel(session: nox.Session, folder: Path) -> Path:
    """Build the wheel whose bytes depend on nothing but the sources."""
    env = {"SOURCE_DATE_EPOCH": "1577836800"}  # the start of 2020: ZIP knows no year before 1980
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(folder), ".", env=env)
    [wheel] = folder.glob("*.whl")
    return wheel


@nox.session
@timed
def package(session: nox.Session) -> None:
    """Build the wheel, twice alike, install it, start both commands, and run the image's."""
    with tempfile.TemporaryDirectory() as folder:
        wheel, again = (build_wheel(session, Path(folder, name)) for name in ("one", "other"))
        if wheel.read_bytes() != again.read_bytes():
            session.error("two builds of the same sources differ")
        if wheel.stat().st_size > MAX_WHEEL_BYTES:
            session.error(f"the wheel has {wheel.stat().st_size} bytes: what is in it?")
        session.install(str(wheel))
        with session.chdir(folder):  # so that the installed package is found, not the one here
            session.run("python", "-c", FIND_MARKER)
            session.run("trio-p2p", "--help", silent=True)
            session.run("trio-p2p-broker", "--help", silent=True)
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"))
    session.run("pytest", "tests/deploy/check_image.py")


@nox.session
@timed
def bench(session: nox.Session) -> None:
    """Run the benchmarks; arguments after ``--`` go to them."""
    install_groups(session, "bench", "peers", "requests")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
@timed
def soak(session: nox.Session) -> None:
    """Much of what every run does a little of, but for :func:`nats`: takes an hour."""
    install_groups(session, "test")
    ignored = "--ignore=tests/scenarios/test_every_nat.py"
    session.run("pytest", "-m", "soak", ignored, "-o", "faulthandler_timeout=3600")


@nox.session
@timed
def nats(session: nox.Session) -> None:
    """Connect from behind every kind of NAT to every other one, five times: some minutes."""
    install_groups(session, "test")
    session.run("pytest", "-m", "soak", "tests/scenarios/test_every_nat.py")


@nox.session
@timed
def fuzz(session: nox.Session) -> None:
    """Feed hostile bytes to each parser for a minute; arguments after ``--`` go to libFuzzer."""
    install_groups(session, "fuzz")
    limit = session.posargs or [f"-max_total_time={FUZZ_SECONDS}"]
    for target in sorted(Path("fuzz").glob("fuzz_*.py")):
        session.run("python", str(target), *limit)
