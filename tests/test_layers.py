"""Imports only go down, and what is called pure or sans-IO is."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trio_p2p"

# From the top down. A module may import from lower lines only, and from
# its own folder. Two folders on one line know nothing of each other.
LAYERS = [
    ["trio_p2p", "trio_p2p._commands"],
    ["trio_p2p._lab"],
    ["trio_p2p._receiver", "trio_p2p._sender"],
    [
        "trio_p2p._acceptor",
        "trio_p2p._any_ip",
        "trio_p2p._kept_links",
        "trio_p2p._pathfinder",
        "trio_p2p._registration",
        "trio_p2p._watching",
    ],
    ["trio_p2p._ipv6_presence"],
    [
        "trio_p2p._attempts",
        "trio_p2p._reachability",
        "trio_p2p._relaying",
        "trio_p2p._rounds",
        "trio_p2p._securing",
    ],
    ["trio_p2p._broker_link"],
    ["trio_p2p._race"],
    ["trio_p2p._introduction", "trio_p2p._surroundings"],
    ["trio_p2p._broker", "trio_p2p._errands", "trio_p2p._nat", "trio_p2p._stream"],
    ["trio_p2p._net"],
    ["trio_p2p._parameters"],
    ["trio_p2p._wire"],
    ["trio_p2p._identity"],
    ["trio_p2p._credentials"],
    ["trio_p2p._peer_id"],
    ["trio_p2p._errors"],
    ["trio_p2p._endpoint"],
]
PURE = [
    "trio_p2p._broker.call_quota",
    "trio_p2p._broker.connection",
    "trio_p2p._broker.introductions",
    "trio_p2p._broker.prober",
    "trio_p2p._broker.quota",
    "trio_p2p._broker.refusals",
    "trio_p2p._broker.registry",
    "trio_p2p._broker.watches",
    "trio_p2p._commands.diagnosis",
    "trio_p2p._credentials",
    "trio_p2p._endpoint",
    "trio_p2p._errors",
    "trio_p2p._nat.advice",
    "trio_p2p._nat.behaviour",
    "trio_p2p._nat.candidates",
    "trio_p2p._nat.check",
    "trio_p2p._nat.ladder",
    "trio_p2p._nat.classification",
    "trio_p2p._nat.findings",
    "trio_p2p._nat.mapping_attempts",
    "trio_p2p._nat.mapping_timers",
    "trio_p2p._nat.nat_pmp",
    "trio_p2p._nat.pcp",
    "trio_p2p._nat.plan",
    "trio_p2p._nat.prospects",
    "trio_p2p._parameters",
    "trio_p2p._peer_id",
    "trio_p2p._stream.byte_queue",
    "trio_p2p._stream.frames",
    "trio_p2p._stream.incoming",
    "trio_p2p._stream.last_words",
    "trio_p2p._stream.leg",
    "trio_p2p._stream.outgoing",
    "trio_p2p._stream.session",
    "trio_p2p._stream.sinks",
    "trio_p2p._stream.states",
    "trio_p2p._stream.stream_path",
    "trio_p2p._wire.checks",
    "trio_p2p._wire.codec",
    "trio_p2p._wire.fields",
    "trio_p2p._wire.messages",
    "trio_p2p._wire.offer",
    "trio_p2p._wire.probing",
]
IMPURE = {
    "asyncio",
    "ctypes",
    "datetime",
    "io",
    "logging",
    "os",
    "random",
    "secrets",
    "select",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "threading",
    "time",
    "trio",
    "uuid",
}
# The one use of the socket module in a pure one: the names of address families.
SOCKET_CONSTANTS = {"AF_INET", "AF_INET6", "AddressFamily"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """Every module that a module imports, wherever in its text."""
    is_package = MODULES[module].name == "__init__.py"
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            base = parents[: len(parents) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                named = f"{source}.{alias.name}"
                yield named if named in MODULES else source


@functools.cache
def own_imports_of(module: str) -> set[str]:
    return {name for name in imports_of(module) if name.partition(".")[0] == "trio_p2p"}


def place_of(module: str) -> tuple[int, str]:
    """The module's line in the layers, and its entry there."""
    for line, entries in enumerate(LAYERS):
        for entry in entries:
            if module == entry or (entry != "trio_p2p" and module.startswith(f"{entry}.")):
                return line, entry
    raise AssertionError(f"{module} has no place in the layers: give it one")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_go_down(module: str) -> None:
    line, entry = place_of(module)
    for imported in own_imports_of(module):
        assert imported in MODULES, imported
        imported_line, imported_entry = place_of(imported)
        assert imported_line > line or imported_entry == entry, f"{module} imports {imported}"


def test_no_module_imports_itself_over_others() -> None:
    @functools.cache  # a module needs to be gone through once
    def walk(module: str) -> None:
        assert module not in above, " → ".join([*above, module])
        above.append(module)
        for imported in own_imports_of(module):
            walk(imported)
        above.pop()

    above: list[str] = []
    for module in MODULES:
        walk(module)


@pytest.mark.parametrize("module", PURE)
def test_pure_module_imports_nothing_impure(module: str) -> None:
    impure = {name for name in imports_of(module) if name.partition(".")[0] in IMPURE}
    if module == "trio_p2p._endpoint":
        used = {
            node.attr
            for node in ast.walk(tree_of(module))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "socket"
        }
        assert used <= SOCKET_CONSTANTS
        impure -= {"socket"}
    assert not impure


@pytest.mark.parametrize("module", PURE)
def test_pure_module_imports_only_pure_ones_of_ours(module: str) -> None:
    assert own_imports_of(module) <= set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_pure_module_has_nothing_asynchronous(module: str) -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not any(isinstance(node, asynchronous) for node in ast.walk(tree_of(module)))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_that_calls_itself_pure_is_listed(module: str) -> None:
    docstring = ast.get_docstring(tree_of(module)) or ""
    if "Pure." in docstring or "Sans-IO" in docstring:
        assert module in PURE


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"trio_p2p"}))
def test_module_says_why_it_exists(module: str) -> None:
    tree = tree_of(module)
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_sockets_know_setsockopt_and_errno(module: str) -> None:
    if module.startswith(("trio_p2p._net.", "trio_p2p._commands", "trio_p2p._lab")):
        return
    used = {node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}
    assert not used & {"setsockopt", "getsockopt", "errno"}
    assert "errno" not in imports_of(module)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nobody_reads_the_wall_clock(module: str) -> None:
    if module.startswith("trio_p2p._commands"):
        return
    assert not {"time", "datetime"} & set(imports_of(module))
