"""Sphinx directives that show how the package is built: its floors, and what imports what.

The floors are those of ``tests/kit/floors.py``, to which the layer test holds the package; what
imports what is read from the source.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from drawings import CHARACTER, FRAME, STROKE, drawing, text_at
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trio_p2p"
FLOORS = ROOT / "tests" / "kit" / "floors.py"
TOP = "trio_p2p"  # what stands for the package itself, which imports the public names
WIDTH, FLOOR_HEIGHT, ROOM_HEIGHT = 760, 50, 24
SWEEPS = 8  # until no line crosses fewer others

ROLE = re.compile(r":\w+:`~?([^`]+)`")  # a reference in a docstring

Place = tuple[str, int]  # a room on its floor, or the line to a room where it passes a floor


class FloorsDirective(SphinxDirective):
    """The rooms on their floors, and the imports between them."""

    def run(self) -> list[nodes.Node]:
        """Draw them."""
        self.env.note_dependency(str(FLOORS))
        for path in PACKAGE.rglob("*.py"):
            self.env.note_dependency(str(path))
        floors = read_floors()
        imports = without_implied(read_imports())
        house = House(floors, imports)
        lines = [
            f"{room} imports {', '.join(sorted(imports[room])) or 'no other room'}"
            for floor in floors
            for room in floor
        ]
        title = "The floors of the package, from the top down, and which room imports which"
        return drawing(house.parts(), WIDTH, FLOOR_HEIGHT * len(floors), title, lines)


class ModulesDirective(SphinxDirective):
    """Every module, and the first sentence of its docstring."""

    def run(self) -> list[nodes.Node]:
        """List them."""
        items = nodes.definition_list()
        for room in itertools.chain.from_iterable(read_floors()):
            folder = PACKAGE / room
            if not folder.is_dir():
                continue
            modules = nodes.bullet_list()
            for path in sorted(folder.glob("*.py")):
                docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
                if docstring is not None:
                    says = ROLE.sub(r"\1", docstring.partition("\n")[0]).replace("``", "")
                    line = nodes.paragraph(
                        "", "", nodes.literal("", path.name), nodes.Text(f": {says}")
                    )
                    modules += nodes.list_item("", line)
            term = nodes.term("", "", nodes.literal("", f"{room}/"))
            items += nodes.definition_list_item("", term, nodes.definition("", modules))
        return [items]


class House:
    """Where everything stands in the picture.

    Args:
        floors: the rooms of each, from the top down.
        imports: the rooms that each room imports.
    """

    def __init__(self, floors: list[list[str]], imports: dict[str, set[str]]) -> None:
        self._floor_of = {room: index for index, floor in enumerate(floors) for room in floor}
        self._rows: list[list[Place]] = [
            [(room, index) for room in floor] for index, floor in enumerate(floors)
        ]
        # Lines to one room run together, so that few pass a floor.
        self._lines: set[tuple[Place, Place]] = set()
        for room, imported in imports.items():
            for target in imported:
                below = range(self._floor_of[room] + 1, self._floor_of[target] + 1)
                places = [(room, self._floor_of[room]), *((target, index) for index in below)]
                self._lines.update(itertools.pairwise(places))
                for place in places[1:]:
                    if place not in self._rows[place[1]]:
                        self._rows[place[1]].append(place)
        self._x: dict[Place, float] = {}
        self._arrange()

    def parts(self) -> Iterator[str]:
        """The elements of the drawing: the lines, and the rooms above them."""
        for above, below in sorted(self._lines):
            start, end = self._bottom(above), self._top(below)
            x1, x2 = self._x[above], self._x[below]
            middle = (start + end) / 2
            path = f"M{x1:.1f} {start}C{x1:.1f} {middle} {x2:.1f} {middle} {x2:.1f} {end}"
            if not self._is_room(below):
                path += f"V{self._bottom(below)}"
            yield f'<path d="{path}" {STROKE} stroke-opacity="0.45"/>'
        for room, floor in self._floor_of.items():
            width = _width_of((room, floor), is_room=True)
            x, y = self._x[room, floor] - width / 2, self._top((room, floor))
            size = f'width="{width:.1f}" height="{ROOM_HEIGHT}" rx="3"'
            yield f'<rect x="{x:.1f}" y="{y}" {size} {FRAME}/>'
            yield text_at(x + width / 2, y + 16, room, "middle")

    def _is_room(self, place: Place) -> bool:
        return self._floor_of[place[0]] == place[1]

    def _top(self, place: Place) -> int:
        return place[1] * FLOOR_HEIGHT + (FLOOR_HEIGHT - ROOM_HEIGHT) // 2

    def _bottom(self, place: Place) -> int:
        return self._top(place) + ROOM_HEIGHT

    def _arrange(self) -> None:
        """Put each place near what it is joined with on the floor above, or below."""
        joined: defaultdict[Place, list[Place]] = defaultdict(list)
        for above, below in self._lines:
            joined[above].append(below)
            joined[below].append(above)
        self._spread()
        for sweep in range(SWEEPS):
            step = 1 if sweep % 2 else -1
            for row in self._rows[::-step]:
                wanted = {}
                for place in row:
                    xs = [self._x[each] for each in joined[place] if each[1] == place[1] + step]
                    wanted[place] = sum(xs) / len(xs) if xs else self._x[place]
                row.sort(key=lambda place: (wanted[place], place))
                self._spread_row(row)

    def _spread(self) -> None:
        for row in self._rows:
            self._spread_row(row)

    def _spread_row(self, row: list[Place]) -> None:
        widths = [_width_of(place, is_room=self._is_room(place)) for place in row]
        gap = (WIDTH - sum(widths)) / (len(row) + 1)
        x = gap
        for place, width in zip(row, widths, strict=True):
            self._x[place] = x + width / 2
            x += width + gap


def read_floors() -> list[list[str]]:
    """The rooms of each floor, from the top down, as the layer test has them."""
    for node in ast.parse(FLOORS.read_text("utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name("FLOORS")]):
                floors: list[list[str]] = ast.literal_eval(node.value)
                return floors
            case _:
                pass
    raise LookupError(f"{FLOORS} has no FLOORS")


def read_imports() -> dict[str, set[str]]:
    """The rooms that each room imports when it runs, not only for its types."""
    imports: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        room = TOP if parts == ("__init__",) else parts[0]
        imported = imports.setdefault(room, set())
        for node in _running(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == len(parts):
                names = [node.module] if node.module else [alias.name for alias in node.names]
                imported.update(name.partition(".")[0] for name in names)
        imported.discard(room)
    return imports


def without_implied(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Only those imports that do not follow from others, over a room between."""

    def reached(room: str) -> set[str]:
        return imports[room].union(*map(reached, imports[room]))

    return {
        room: {each for each in imported if not any(each in reached(other) for other in imported)}
        for room, imported in imports.items()
    }


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """A part of a module and all parts of it, but what only type checkers read."""
    match node:
        case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=parts):
            pass
        case _:
            yield node
            parts = list(ast.iter_child_nodes(node))
    for part in parts:
        yield from _running(part)


def _width_of(place: Place, *, is_room: bool) -> float:
    return CHARACTER * len(place[0]) + 24 if is_room else 12


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("house-floors", FloorsDirective)
    app.add_directive("house-modules", ModulesDirective)
    return {"parallel_read_safe": True}
