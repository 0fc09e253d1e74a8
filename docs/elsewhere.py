"""Links to the names of Trio and of the standard library, without their inventories.

sphinx.ext.intersphinx would fetch these with every build, and fail where there is no network.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

TRIO = "https://trio.readthedocs.io/en/stable/"
PYTHON = "https://docs.python.org/3/library/"
ED25519 = "https://cryptography.io/en/latest/hazmat/primitives/asymmetric/ed25519/"
# Where Trio's documentation has what is not about input and output.
CORE = (
    "BusyResourceError", "CancelScope", "Cancelled", "Event", "Nursery", "TaskStatus",
    "abc.Instrument", "fail_after", "lowlevel", "move_on_after", "run",
)  # fmt: skip
# Types without a page of their own, and how they are spelt where they have one.
MODULES = {
    "AbstractAsyncContextManager": "contextlib.AbstractAsyncContextManager",
    "AddressFamily": "socket.AddressFamily",
    "AsyncGenerator": "collections.abc.AsyncGenerator",
    "Awaitable": "collections.abc.Awaitable",
    "Callable": "collections.abc.Callable",
    "IPv4Address": "ipaddress.IPv4Address",
    "IPv6Address": "ipaddress.IPv6Address",
    "Iterable": "collections.abc.Iterable",
    "Path": "pathlib.Path",
    "Sequence": "collections.abc.Sequence",
}
ANCHORS = {"socket.AddressFamily": "socket.html#socket.AF_INET"}
PAGES = (
    "collections.abc",
    "contextlib",
    "ipaddress",
    "logging",
    "os",
    "pathlib",
    "socket",
    "ssl",
    "tracemalloc",
)


def url_of(name: str) -> str | None:
    """Where a name is documented; None for one of ours."""
    if name.startswith("trio."):
        is_core = name.removeprefix("trio.").startswith(CORE)
        return f"{TRIO}{'reference-core' if is_core else 'reference-io'}.html#{name}"
    if name == "Ed25519PrivateKey":
        return ED25519
    name = MODULES.get(name, name)
    if name in ANCHORS:
        return PYTHON + ANCHORS[name]
    for page in PAGES:
        if name == page:
            return f"{PYTHON}{page}.html"
        if name.startswith(f"{page}."):
            return f"{PYTHON}{page}.html#{name}"
    return None


def resolve(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Link a name that is documented elsewhere."""
    target = str(node.get("reftarget", ""))
    url = url_of(target) if node.get("refdomain") == "py" else None
    if url is None:
        return None
    return nodes.reference("", "", content, internal=False, refuri=url, reftitle=target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx ask for what it does not find."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
