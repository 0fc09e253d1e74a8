"""The examples of the documentation are code, and use what there is."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import trio

import trio_p2p

ROOT = Path(__file__).parents[1]
# What variables of these names are in all examples.
CLASSES = {
    "peer": trio_p2p.Peer,
    "connection": trio_p2p.P2PConnection,
    "stream": trio_p2p.P2PStream,
    "news": trio_p2p.P2PStream,
    "listener": trio_p2p.P2PListener,
    "identity": trio_p2p.Identity,
    "trio_p2p": trio_p2p,
    "trio": trio,
}
# These are called by other functions, which their arguments are for.
CALLERS = {"start", "start_soon", "partial"}


def examples() -> Iterator[tuple[str, str]]:
    """Where each example is, and its text."""
    page = (ROOT / "docs" / "quickstart.rst").read_text("utf-8")
    # An indented block behind a paragraph that ends with two colons.
    for found in re.finditer(r"::\n\n((?:   .*\n|\n)+)", page):
        line = page[: found.start()].count("\n") + 3
        if not page[: found.start()].endswith("console"):
            yield f"quickstart.rst:{line}", dedent(found[1])
    readme = (ROOT / "README.md").read_text("utf-8")
    for found in re.finditer(r"```python\n(.*?)```", readme, re.DOTALL):
        line = readme[: found.start()].count("\n") + 2
        yield f"README.md:{line}", found[1]


EXAMPLES = [pytest.param(text, id=name) for name, text in examples()]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("text", EXAMPLES)
def test_example_is_code(text: str) -> None:
    compile(text, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("text", EXAMPLES)
def test_example_uses_what_there_is(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in CLASSES:
                assert hasattr(CLASSES[owner], name), f"{owner}.{name}"
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if (
                owner in CLASSES and owner != "trio"
            ):
                check_call(getattr(CLASSES[owner], name), node, is_method=owner != "trio_p2p")
            case ast.Call(func=ast.Attribute(attr=name), args=[function, *arguments]) if (
                name in CALLERS
            ):
                check_passed(function, arguments, node.keywords)


def check_passed(
    function: ast.expr, arguments: list[ast.expr], keywords: list[ast.keyword]
) -> None:
    """Check a call of a function that is passed to another one."""
    match function:
        case ast.Attribute(value=ast.Name(id=owner)) if owner in CLASSES:
            check_call(
                getattr(CLASSES[owner], function.attr),
                ast.Call(function, arguments, keywords),
                is_method=owner != "trio_p2p",
            )


def check_call(function: object, call: ast.Call, *, is_method: bool) -> None:
    """Check that a function takes the arguments of a call."""
    assert callable(function)
    arguments: list[ast.expr | None] = [*[None] * is_method, *call.args]
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if isinstance(function, type):
        return
    inspect.signature(function).bind(*arguments, **keywords)
