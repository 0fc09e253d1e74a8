"""Drawings for the documentation: inline SVG in the text's own colour, with a text beside it.

Nothing is loaded from elsewhere. Everything is drawn in ``currentColor``, so that a drawing is as
readable on a dark page as on a light one. Builders that do not make HTML get the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from html import escape

import attrs
from docutils import nodes
from sphinx import addnodes

LINE_HEIGHT = 34
HEAD = 9  # how long an arrow's head is
LOOP = 16  # how wide an arrow is that leads back to its own lane
MARGIN = 52  # from the middle of the outer lanes
CHARACTER = 6.0  # about how wide a character is
FONT = 'font-family="sans-serif" font-size="11" fill="currentColor"'
STROKE = 'stroke="currentColor" fill="none"'
FRAME = 'stroke="currentColor" stroke-opacity="0.7" fill="currentColor" fill-opacity="0.07"'

_numbers = itertools.count()


@attrs.frozen
class Arrow:
    """One line of lanes.

    Attributes:
        source: the lane that it leaves.
        target: the lane that it leads to, perhaps the same.
        label: what it stands for.
        is_lost: whether it ends half-way.
        ends: from where to where it leads, in words; the lanes' names if empty.
    """

    source: str
    target: str
    label: str
    is_lost: bool = False
    ends: str = ""

    @property
    def text(self) -> str:
        """The arrow in words."""
        ends = self.ends or f"{self.source} → {self.target}"
        return f"{ends}: {self.label}{' (does not arrive)' if self.is_lost else ''}"


def lanes(
    names: Sequence[str], arrows: Sequence[Arrow], title: str, width: int
) -> list[nodes.Node]:
    """Lanes side by side, and arrows between them from the top down.

    Args:
        names: of the lanes, from left to right.
        arrows: from the top down.
        title: what it shows, for those who do not see it.
        width: in pixels, of a page that is wide enough.
    """
    space = (width - 2 * MARGIN) / (len(names) - 1)
    middle = {name: MARGIN + space * index for index, name in enumerate(names)}
    height = 44 + LINE_HEIGHT * len(arrows)
    parts: list[str] = []
    for name, x in middle.items():
        box = CHARACTER * len(name) + 24
        frame = f'<rect x="{x - box / 2:.1f}" y="1" width="{box:.1f}" height="22" rx="3" {FRAME}/>'
        line = f'<path d="M{x:.1f} 24V{height}" {STROKE} stroke-opacity="0.25"/>'
        parts += [frame, text_at(x, 16, name, "middle"), line]
    for index, arrow in enumerate(arrows):
        y = 44 + LINE_HEIGHT * index + 16
        parts += _arrow(arrow, middle, y, width)
    return drawing(parts, width, height, title, [arrow.text for arrow in arrows])


def drawing(
    parts: Iterable[str], width: float, height: float, title: str, lines: Sequence[str]
) -> list[nodes.Node]:
    """A drawing, as nodes.

    Args:
        parts: its elements.
        width: of the drawing, in pixels; it shrinks on a narrow page.
        height: of the drawing.
        title: what it shows.
        lines: the same as it, in words.
    """
    name = f"drawing-{next(_numbers)}"
    described = "; ".join(lines)
    svg = (
        f'<div style="overflow-x: auto"><svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-text" xmlns="http://www.w3.org/2000/svg" '
        f'style="width: 100%; max-width: {width:.0f}px; min-width: {width * 0.75:.0f}px">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(described)}</desc>'
        f"{''.join(parts)}</svg></div>"
    )
    otherwise = addnodes.only(expr="not html")
    items = (nodes.list_item("", nodes.paragraph("", line)) for line in lines)
    otherwise += [nodes.paragraph("", f"{title}:"), nodes.bullet_list("", *items)]
    return [nodes.raw("", svg, format="html"), otherwise]


def _arrow(arrow: Arrow, middle: dict[str, float], y: float, width: float) -> list[str]:
    start, end = middle[arrow.source], middle[arrow.target]
    left = min(start, end)
    direction = 1 if end > start else -1
    if arrow.source == arrow.target:
        side = 1 if start < width / 2 else -1
        path = f"M{start:.1f} {y - 6}h{side * LOOP}v10h{side * (HEAD - LOOP)}"
        x, anchor = start + side * (LOOP + 6), "start" if side > 0 else "end"
        return [
            f'<path d="{path}" {STROKE}/>',
            _head(start, y + 4, -side),
            text_at(x, y + 3, arrow.label, anchor),
        ]
    if arrow.is_lost:
        end = (start + 2 * end) / 3
        cross = f"M{end - 5:.1f} {y - 5}l10 10m0 -10l-10 10"
        ending = f'<path d="{cross}" {STROKE} stroke-width="2"/>'
        left = min(start, end)
    else:
        ending = _head(end, y, direction)
    dashes = ' stroke-dasharray="5 3"' if arrow.is_lost else ""
    return [
        f'<path d="M{start:.1f} {y}H{end - direction * HEAD / 2:.1f}" {STROKE}{dashes}/>',
        ending,
        _label(left + 8, y - 5, arrow.label, width),
    ]


def _label(x: float, y: float, text: str, width: float) -> str:
    """A text that begins at a place, or farther to the left if it would be cut off."""
    fits = x + CHARACTER * len(text) < width
    return text_at(x, y, text, "start") if fits else text_at(width - 2, y, text, "end")


def text_at(x: float, y: float, text: str, anchor: str) -> str:
    """A text that begins, has its middle, or ends at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT}>{escape(text)}</text>'


def _head(x: float, y: float, direction: int) -> str:
    back = x - direction * HEAD
    return f'<path d="M{x:.1f} {y}L{back:.1f} {y - 4}V{y + 4}Z" fill="currentColor"/>'
