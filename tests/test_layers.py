"""Imports only go down, and what is called pure or sans-IO is."""

import ast
import copy
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from .kit.floors import FLOORS

PACKAGE = Path(__file__).parent.parent / "trio_p2p"

MAX_ROOMS = 26  # files and folders that stand in the package itself
# The same as FLOORS inside of folders.
INNER_FLOORS = {
    "_connect": [
        ["connector"],
        ["direct", "path_finder", "relayed"],
        ["reserve", "rounds"],
        ["secured"],
        ["failures", "path_record", "patience", "pool", "reports"],
    ],
    "_control": [
        ["controls"],
        ["control"],
        ["fresh_link"],
        ["broker_link"],
        ["dialogue"],
        ["claims", "guesses", "handover", "patience", "reachability"],
        ["registered_name", "reports", "watches"],
    ],
    "_files": [
        ["giving", "taking"],
        ["giver", "taker"],
        ["given_tree", "taken_tree"],
        ["partial_file"],
        ["attributes", "checksum", "folder", "intake", "listing", "order", "tally"],
        ["failures", "messages"],
        ["names"],
    ],
    "_listen": [
        ["serving"],
        ["listener"],
        ["names"],
        ["registration"],
        ["introductions"],
        ["acceptor"],
        ["incoming_introduction", "sessions"],
        ["probation", "puncher"],
        ["guessing", "service", "slots"],
    ],
    "_nat": [
        ["local_network", "network_survey"],
        ["survey_cache"],
        ["survey"],
        ["callback_probes", "hairpin", "probe"],
        ["behaviour", "classification", "findings"],
    ],
    "_peer": [
        ["opening"],
        ["peer"],
        ["calls", "statistics"],
    ],
    "_portmap": [
        ["port_mapping", "router_report"],
        ["routers"],
        ["mappers", "upnp"],
        ["udp_exchange"],
        ["nat_pmp", "pcp"],
        ["attempts", "timers"],
    ],
    "_stream": [
        ["open_connections"],
        ["p2p_connection"],
        ["owned_connection"],
        ["handling", "tracer"],
        ["p2p_stream"],
        ["owned_stream"],
        ["streams"],
        ["carrier"],
        ["receivers"],
        ["giving_up", "multiplexer", "path_worker"],
        ["path_reader", "path_writer", "stream_intake"],
        ["handshake", "session_sink", "stream_parser", "stream_table"],
        ["path", "session", "substream"],
        ["farewells", "receiving_stream"],
        [
            "content",
            "decryption",
            "encryption",
            "inbox",
            "incoming",
            "leg",
            "outgoing",
            "stream_frames",
        ],
        ["byte_queue", "connection", "connection_statistics", "credit", "frames"],
        [
            "last_words",
            "limits",
            "sink",
            "sleeper",
            "spare_memory",
            "states",
            "stream_path",
            "stream_states",
        ],
        ["steps", "tls", "turn"],
    ],
    "testing": [
        ["_plugin", "_public"],
        ["_pairs", "_script"],
        ["_network"],
        ["_memory_broker"],
        ["_memory_host"],
        ["_on_host", "_packet_seen", "_places"],
        ["_agenda", "_host", "_order"],
        ["_internet"],
    ],
    "testing._host": [
        ["system"],
        ["views"],
        ["tcp_socket"],
        ["readiness", "stack"],
        ["tcp"],
        ["incoming", "states"],
        ["outgoing", "segments"],
    ],
    "testing._internet": [
        ["internet"],
        ["realms", "ways"],
        ["kinds", "nat"],
        ["sessions"],
        ["behaviour", "packets"],
    ],
    "_traversal": [
        ["race"],
        ["introduction", "port_guessing"],
        ["punch", "shared_port", "strategy"],
        ["candidates", "checked_connection", "nomination", "punch_schedule", "syn_budget"],
        ["check"],
        ["proofs"],
    ],
}
PURE = [
    "trio_p2p._addresses",
    "trio_p2p._attempt",
    "trio_p2p._broker.access_lists",
    "trio_p2p._broker.admission",
    "trio_p2p._broker.budget",
    "trio_p2p._broker.connection",
    "trio_p2p._broker.counts",
    "trio_p2p._broker.farewell",
    "trio_p2p._broker.figures",
    "trio_p2p._broker.guessing",
    "trio_p2p._broker.history",
    "trio_p2p._broker.introductions",
    "trio_p2p._broker.ledger",
    "trio_p2p._broker.limits",
    "trio_p2p._broker.observer",
    "trio_p2p._broker.own_endpoints",
    "trio_p2p._broker.pending",
    "trio_p2p._broker.prober",
    "trio_p2p._broker.proxy_header",
    "trio_p2p._broker.paces",
    "trio_p2p._broker.parties",
    "trio_p2p._broker.quota",
    "trio_p2p._broker.rates",
    "trio_p2p._broker.refusals",
    "trio_p2p._broker.registrations",
    "trio_p2p._broker.registry",
    "trio_p2p._broker.shares",
    "trio_p2p._broker.source_limits",
    "trio_p2p._broker.told",
    "trio_p2p._broker.watches",
    "trio_p2p._broker_client.place",
    "trio_p2p._commands.services",
    "trio_p2p._commands.status.access",
    "trio_p2p._connect.path_record",
    "trio_p2p._control.guesses",
    "trio_p2p._control.reports",
    "trio_p2p._doctor.advice",
    "trio_p2p._doctor.page",
    "trio_p2p._doctor.prospects",
    "trio_p2p._commands.amounts",
    "trio_p2p._commands.codes.words",
    "trio_p2p._errors",
    "trio_p2p._files.failures",
    "trio_p2p._files.intake",
    "trio_p2p._files.listing",
    "trio_p2p._files.messages",
    "trio_p2p._files.names",
    "trio_p2p._files.order",
    "trio_p2p._files.tally",
    "trio_p2p._identity.access_token",
    "trio_p2p._identity.certificate",
    "trio_p2p._identity.key_pin",
    "trio_p2p._identity.keys",
    "trio_p2p._identity.peer_id",
    "trio_p2p._listen.slots",
    "trio_p2p._nat.behaviour",
    "trio_p2p._nat.classification",
    "trio_p2p._nat.findings",
    "trio_p2p._portmap.attempts",
    "trio_p2p._portmap.nat_pmp",
    "trio_p2p._portmap.pcp",
    "trio_p2p._portmap.timers",
    "trio_p2p._stream.byte_queue",
    "trio_p2p._stream.connection_statistics",
    "trio_p2p._stream.content",
    "trio_p2p._stream.credit",
    "trio_p2p._stream.farewells",
    "trio_p2p._stream.frames",
    "trio_p2p._stream.inbox",
    "trio_p2p._stream.giving_up",
    "trio_p2p._stream.incoming",
    "trio_p2p._stream.last_words",
    "trio_p2p._stream.leg",
    "trio_p2p._stream.limits",
    "trio_p2p._stream.multiplexer",
    "trio_p2p._stream.outgoing",
    "trio_p2p._stream.receiving_stream",
    "trio_p2p._stream.session",
    "trio_p2p._stream.session_sink",
    "trio_p2p._stream.sink",
    "trio_p2p._stream.states",
    "trio_p2p._stream.stream_frames",
    "trio_p2p._stream.stream_intake",
    "trio_p2p._stream.stream_parser",
    "trio_p2p._stream.stream_path",
    "trio_p2p._stream.stream_states",
    "trio_p2p._stream.stream_table",
    "trio_p2p._stream.substream",
    "trio_p2p._traversal.candidates",
    "trio_p2p._traversal.check",
    "trio_p2p._traversal.proofs",
    "trio_p2p._traversal.punch_schedule",
    "trio_p2p._traversal.strategy",
    "trio_p2p._traversal.syn_budget",
    "trio_p2p._wire.checks",
    "trio_p2p._wire.codec",
    "trio_p2p._wire.fields",
    "trio_p2p._wire.introducing",
    "trio_p2p._wire.message_codec",
    "trio_p2p._wire.messages",
    "trio_p2p._wire.offer",
    "trio_p2p._wire.operating",
    "trio_p2p._wire.probing",
    "trio_p2p._wire.relaying",
    "trio_p2p._wire.uids",
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


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_for_types else self.generic_visit(node)


def imports_of(module: str) -> Iterator[str]:
    """Every module that a module imports when it runs, wherever in its text."""
    is_package = MODULES[module].name == "__init__.py"
    for node in ast.walk(WithoutTypes().visit(copy.deepcopy(tree_of(module)))):
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


def place_of(module: str, floors: list[list[str]], folder: str) -> tuple[int, str]:
    """The line on which a module stands, and its entry there."""
    for line, entries in enumerate(floors):
        for entry in entries:
            name = entry if entry == folder else f"{folder}.{entry}"
            if module == name or (entry != folder and module.startswith(f"{name}.")):
                return line, entry
    raise AssertionError(f"{module} stands on no floor: give it one")


def check_imports_go_down(module: str, floors: list[list[str]], folder: str) -> None:
    line, entry = place_of(module, floors, folder)
    for imported in own_imports_of(module):
        if imported.startswith(folder):
            imported_line, imported_entry = place_of(imported, floors, folder)
            assert imported_line > line or imported_entry == entry, f"{module} imports {imported}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_go_down(module: str) -> None:
    assert own_imports_of(module) <= set(MODULES)
    check_imports_go_down(module, FLOORS, "trio_p2p")


@pytest.mark.parametrize("folder", INNER_FLOORS)
def test_imports_only_go_down_inside_of_a_folder(folder: str) -> None:
    package = f"trio_p2p.{folder}"
    for module in MODULES:
        if module.startswith(f"{package}."):
            check_imports_go_down(module, INNER_FLOORS[folder], package)


def test_every_floor_names_what_is_there() -> None:
    there = {module.split(".")[1] for module in MODULES if module != "trio_p2p"}
    assert {entry for floor in FLOORS for entry in floor} == there | {"trio_p2p"}
    for folder, floors in INNER_FLOORS.items():
        package = f"trio_p2p.{folder}."
        below = {name.removeprefix(package) for name in MODULES if name.startswith(package)}
        there = {name.partition(".")[0] for name in below}
        assert {entry for floor in floors for entry in floor} == there


def test_the_house_has_few_rooms() -> None:
    assert sum(map(len, FLOORS)) <= MAX_ROOMS


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
    if module == "trio_p2p._addresses":
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


# Programs and the lab are on this host, and on no other.
ON_THIS_HOST = ("trio_p2p._commands", "trio_p2p._lab")
# What only the seam to the operating system calls, by the last parts of its dotted name.
CALLS_OF_THE_SYSTEM = {
    *(
        "socket.socket",
        "socket.from_stdlib_socket",
        "socket.getaddrinfo",
        "socket.create_connection",
    ),
    *("lowlevel.wait_readable", "lowlevel.wait_writable", "lowlevel.notify_closing"),
    *("os.pipe", "os.pipe2", "os.splice", "os.readv", "os.writev", "os.sendfile"),
    *("fcntl.fcntl", "resource.getrlimit", "resource.setrlimit", "time.clock_gettime"),
    *("trio.open_tcp_stream", "trio.open_tcp_listeners", "trio.serve_tcp"),
}


def dotted_name_of(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name):
            return f"{dotted_name_of(value)}.{name}"
        case _:
            return ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_system_is_called_through_the_seam(module: str) -> None:
    if module.startswith(ON_THIS_HOST) or module == "trio_p2p._net.system":
        return
    called = {
        ".".join(dotted_name_of(node.func).split(".")[-2:])
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
    }
    if module == "trio_p2p._net.netlink":  # the seam's own
        called -= {"lowlevel.wait_readable"}
    assert not called & CALLS_OF_THE_SYSTEM


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_socket_layer_knows_setsockopt_and_errno(module: str) -> None:
    if module.startswith(("trio_p2p._net.", "trio_p2p.testing._host.", *ON_THIS_HOST)):
        return
    used = {node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}
    assert not used & {"setsockopt", "getsockopt", "errno"}
    assert "errno" not in imports_of(module)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_wall_clock_is_not_read(module: str) -> None:
    if module.startswith(("trio_p2p._commands", "trio_p2p._net.calendar", "trio_p2p._net.system")):
        return
    assert not {"time", "datetime"} & set(imports_of(module))
