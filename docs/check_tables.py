"""Sphinx directives that show the connectivity check as the code defines it."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from stream_tables import _comments
from wire_tables import _table

from trio_p2p._traversal.check import OPENINGS, STEPS, CheckState, Step, Verdict
from trio_p2p._traversal.proofs import Word


class WordsDirective(SphinxDirective):
    """A table of what the two sides say."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        meanings = _comments(Word)
        rows = [("word", "keyed text", "meaning")]
        rows += [
            (_shown(word), word.value.decode() or "none", meanings[word.name]) for word in Word
        ]
        return [_table(rows, [20, 24, 56])]


class OpeningsDirective(SphinxDirective):
    """A table of how each side begins."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("side", "the connection was", "the other endpoint was", "says", "then")]
        for (role, came, is_told), step in OPENINGS.items():
            told = "told" if is_told else "not told"
            rows.append((role.name.lower(), came.value, told, *_does(step)))
        return [_table(rows, [12, 20, 22, 20, 26])]


class StepsDirective(SphinxDirective):
    """A table of what each side does when it hears something."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("state", "hears", "says", "then")]
        rows += [(state.name, _shown(word), *_does(step)) for (state, word), step in STEPS.items()]
        return [_table(rows, [22, 24, 24, 30])]


class StatesDirective(SphinxDirective):
    """A table of what a side waits for, and of what it may find out."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("state", "what it means")]
        rows += [(state.name, state.value) for state in CheckState]
        verdicts = [("verdict", "what it means")]
        verdicts += [(_shown(verdict), verdict.value) for verdict in Verdict]
        return [_table(rows, [22, 78]), _table(verdicts, [22, 78])]


def _does(step: Step) -> tuple[str, str]:
    then = step.then
    says = "–" if step.says is None else _shown(step.says)
    return says, f"verdict: {_shown(then)}" if isinstance(then, Verdict) else then.name


def _shown(member: Word | Verdict) -> str:
    return member.name.lower().replace("_", " ").replace("s proof", "'s proof")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("check-words", WordsDirective)
    app.add_directive("check-openings", OpeningsDirective)
    app.add_directive("check-steps", StepsDirective)
    app.add_directive("check-states", StatesDirective)
    return {"parallel_read_safe": True}
