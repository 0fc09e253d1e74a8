"""The public surface: these names and no others, all of them documented."""

import ast
import enum
import inspect
import itertools
import json
import operator
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import attrs
import pytest

import trio_p2p

NAMES = {
    "AccessDeniedError",
    "AccessFiles",
    "Attempt",
    "AttemptFailedError",
    "BrokerLimits",
    "BrokerLostError",
    "BrokerUnreachableError",
    "BusyError",
    "Endpoint",
    "Identity",
    "IdentityError",
    "IntroductionError",
    "LocalProtocolError",
    "NotAdmittedError",
    "Outcome",
    "P2PConnection",
    "P2PConnectionStatistics",
    "P2PError",
    "P2PListener",
    "P2PListenerStatistics",
    "P2PStream",
    "Peer",
    "PathKind",
    "PathLostError",
    "PeerId",
    "PeerStatistics",
    "ProtocolError",
    "Registrations",
    "RelayError",
    "RelayLimits",
    "RemoteProtocolError",
    "Route",
    "SessionLostError",
    "StreamAbortedError",
    "StreamPath",
    "Survey",
    "TLSFiles",
    "Technique",
    "Tracer",
    "UIDTakenError",
    "UnknownProtocolError",
    "UnknownUIDError",
    "UnsupportedVersionError",
    "WrongPeerError",
    "open_p2p_listener",
    "open_p2p_stream",
    "open_peer",
    "serve_broker",
    "serve_p2p",
}
# Documented with what returns them.
ALSO_PUBLIC = {"P2PConnectionStatistics", "P2PListenerStatistics", "PeerStatistics"}

# Prints which modules there are after each of some steps.
PROGRAM = """
import json, sys

steps = []

def note():
    steps.append(list(sys.modules))

import trio_p2p
note()
trio_p2p.open_peer
note()
trio_p2p.serve_broker
note()
identity = trio_p2p.Identity.generate()
note()
import trio_p2p._stream.tls
note()
print(json.dumps(steps))
"""


def public(names: Iterable[str]) -> set[str]:
    """Those that are neither private, nor pytest's, nor the kit that its plugin has imported."""
    return {name for name in names if name[0] not in "_@"} - {"testing"}


def test_these_names_and_no_others() -> None:
    assert public(dir(trio_p2p)) == NAMES


def test_star_gives_these_names() -> None:
    names: dict[str, object] = {}
    exec("from trio_p2p import *", names)
    assert public(names) == NAMES


def test_names_wait_until_one_is_asked_for() -> None:
    """A program that needs no peer does not load one; and no key, no cryptography."""
    printed = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True)
    before, with_peer, with_broker, with_key, with_path = map(set, json.loads(printed.stdout))
    heavy = {"OpenSSL", "cryptography", "cryptography.x509"}
    assert not before & {*heavy, "attrs", "msgpack", "trio", "trio_p2p._public"}
    assert "trio_p2p._peer.opening" in with_peer
    assert not with_peer & {*heavy, "trio_p2p._broker"}
    assert "trio_p2p._broker.serve" in with_broker
    assert not with_broker & heavy
    assert with_key & heavy == {"cryptography"}
    assert with_path >= heavy


def test_other_names_are_not_there() -> None:
    assert not hasattr(trio_p2p, "nonsense")
    assert not hasattr(trio_p2p, "__nonsense__")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_name_says_where_it_is_imported_from(name: str) -> None:
    value = getattr(trio_p2p, name)
    assert (value.__module__, value.__name__) == ("trio_p2p", name)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_name_is_documented(name: str) -> None:
    value = getattr(trio_p2p, name)
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        for member_name, member in vars(value).items():
            if not member_name.startswith("_") and callable(member):
                assert inspect.getdoc(getattr(value, member_name)), f"{name}.{member_name}"


def described_members(name: str) -> set[str]:
    """The members of an enum that have a docstring behind them in the source."""
    [tree] = [
        node
        for path in Path(trio_p2p.__file__).parent.rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {
        assigned.targets[0].id
        for assigned, text in itertools.pairwise(tree.body)
        if isinstance(assigned, ast.Assign)
        and isinstance(assigned.targets[0], ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_attribute_is_described(name: str) -> None:
    value = getattr(trio_p2p, name)
    documentation = inspect.getdoc(value) or ""
    described = set(re.findall(r"^ {4}(\w+): \S", documentation, re.MULTILINE))
    if attrs.has(value):
        public = {each.name for each in attrs.fields(value) if not each.name.startswith("_")}
        assert public <= described
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        assert described_members(name) == set(value.__members__)


@pytest.mark.parametrize("name", sorted(NAMES - ALSO_PUBLIC))
def test_name_is_in_the_reference(name: str) -> None:
    reference = Path(__file__).parent.parent.joinpath("docs", "reference.rst").read_text("utf-8")
    assert f":: {name}" in reference


def test_arguments_after_the_essential_ones_are_by_keyword() -> None:
    essential = {
        "open_p2p_listener": ["uid", "broker"],
        "open_p2p_stream": ["uid", "broker"],
        "open_peer": ["broker"],
        "serve_broker": ["port"],
        "serve_p2p": ["handler", "uid", "broker"],
        "P2PConnection.open_stream": ["self"],
        "P2PConnection.serve": ["self", "handler"],
        "Peer.connect": ["self", "uid"],
        "Peer.listen": ["self", "uid"],
        "Peer.listen_raw": ["self", "uid"],
        "Peer.open_raw_stream": ["self", "uid"],
        "Peer.open_stream": ["self", "uid"],
        "Peer.serve": ["self", "uid", "handler"],
    }
    for name, expected in essential.items():
        function = operator.attrgetter(name)(trio_p2p)
        parameters = inspect.signature(function).parameters.values()
        positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        assert positional == expected
        assert "timeout" not in {p.name for p in parameters}
        if "serve" in name:
            last = "handler_nursery" if "Connection" in name else "task_status"
            assert [p.name for p in parameters][-1] == last


def test_values_are_frozen() -> None:
    values: list[type[object]] = [
        trio_p2p.AccessFiles,
        trio_p2p.Attempt,
        trio_p2p.Endpoint,
        trio_p2p.Identity,
        trio_p2p.P2PConnectionStatistics,
        trio_p2p.P2PListenerStatistics,
        trio_p2p.PeerId,
        trio_p2p.PeerStatistics,
        trio_p2p.BrokerLimits,
        trio_p2p.RelayLimits,
        trio_p2p.StreamPath,
        trio_p2p.Survey,
        trio_p2p.TLSFiles,
    ]
    for cls in values:
        value: object = object.__new__(cls)
        with pytest.raises(AttributeError):
            setattr(value, next(iter(inspect.signature(cls).parameters)), None)


def test_enums_are_text() -> None:
    for cls in (trio_p2p.Technique, trio_p2p.Outcome, trio_p2p.PathKind):
        assert issubclass(cls, enum.StrEnum)
    assert list(trio_p2p.Technique) == ["fast", "classic", "relay"]
    assert list(trio_p2p.PathKind) == ["direct", "relay"]


def test_package_is_typed() -> None:
    assert Path(trio_p2p.__file__).with_name("py.typed").is_file()
