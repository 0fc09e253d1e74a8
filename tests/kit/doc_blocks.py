"""The Python blocks of pages and docstrings, as functions of one module that can be run.

A block may use what readers know from the page by then; :data:`KNOWN` says what that is.
"""

import inspect
import operator
import re
import symtable
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import attrs

import trio_p2p

ROOT = Path(__file__).parents[2]
PAGES = ("quickstart.rst",)
# An indented block behind a paragraph that ends with two colons.
INDENTED = re.compile(r"(?<!console)::\n\n((?:(?:   |    ).*\n|\n)+)")
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
BROKER = "broker.example.org:4433"
EXPECTED = "p2p32t4j655kl2osh5b3iv5bkqbgopft6357773ikcz"

IMPORTS = """\
import functools
import math
import pathlib
from collections.abc import Awaitable, Callable

import trio

import trio_p2p
"""
KNOWN = {
    "broker": "str",
    "identity": "trio_p2p.Identity",
    "friends": "set[trio_p2p.PeerId]",
    "peer": "trio_p2p.Peer",
    "nursery": "trio.Nursery",
    "listener": "trio_p2p.P2PListener[trio_p2p.P2PStream]",
    "stream": "trio_p2p.P2PStream",
    "handler": "Callable[[trio_p2p.P2PStream], Awaitable[None]]",
    "me": "trio_p2p.Identity",
    "shutdown": "trio.Event",
    "greet": "Callable[[trio_p2p.P2PStream], Awaitable[None]]",
    "handle_mail": "Callable[[trio_p2p.P2PStream], Awaitable[None]]",
    "handle_files": "Callable[[trio_p2p.P2PStream], Awaitable[None]]",
}
"""What readers know by then, and its types."""


@attrs.frozen
class Block:
    """One block.

    Attributes:
        name: its page and line.
        text: its code.
    """

    name: str
    text: str

    @property
    def function(self) -> str:
        """The name of the function that it is made to."""
        return "block_" + re.sub(r"\W+", "_", self.name)

    @property
    def known(self) -> list[str]:
        """What it uses and does not make itself."""
        table = symtable.symtable(self._source_with(""), self.name, "exec")
        return [name for name in KNOWN if name in _globals_of(table)]

    @property
    def source(self) -> str:
        """A function of it, which takes what it knows."""
        return self._source_with("".join(f"    {name}: {KNOWN[name]},\n" for name in self.known))

    def _source_with(self, parameters: str) -> str:
        called = "\n    await main()" * ("async def main(" in self.text)
        body = indent(self.text, "    ").rstrip()
        return f"async def {self.function}(\n{parameters}) -> None:\n{body}{called}\n"


def _globals_of(table: symtable.SymbolTable) -> set[str]:
    """What a function, and those inside of it, take from their module."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names.union(*map(_globals_of, table.get_children()))


def blocks() -> Iterator[Block]:
    """All blocks of all pages, in order, and those of the docstrings of public names."""
    for page in PAGES:
        yield from _found(page, (ROOT / "docs" / page).read_text("utf-8"), INDENTED)
    readme = (ROOT / "README.md").read_text("utf-8")
    # Its first block is a whole program: examples/hello.py.
    yield from list(_found("README.md", readme, FENCED))[1:]
    for name in dir(trio_p2p):
        value = getattr(trio_p2p, name)
        members = vars(value) if inspect.isclass(value) else {}
        for each in (name, *(f"{name}.{member}" for member in members if member[0] != "_")):
            documented = operator.attrgetter(each)(trio_p2p)
            if getattr(documented, "__module__", "").startswith("trio_p2p"):
                yield from _found(each, (inspect.getdoc(documented) or "") + "\n", INDENTED)


def _found(place: str, text: str, pattern: re.Pattern[str]) -> Iterator[Block]:
    for found in pattern.finditer(text):
        line = text[: found.start()].count("\n") + 3
        yield Block(f"{place}:{line}", dedent(found[1]).strip() + "\n")


def module() -> str:
    """The source of a module that has a function for each block."""
    return "\n\n".join([IMPORTS, *(block.source for block in blocks())])
