"""The help of the shell tools, for a terminal of 80 columns and 24 lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import attrs

from .terminal import columns_of, fitted


class HelpfulParser(argparse.ArgumentParser):
    """A parser whose usage is one line: the options are below it, one by one."""

    def summarize_usage(self, arguments: str = "") -> None:
        """Say in the usage that there are options.

        Args:
            arguments: the others, as they are given.
        """
        self.usage = f"%(prog)s [OPTION]... {arguments}".rstrip()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit with 2."""
        self.print_usage(sys.stderr)
        hint = f"       {self.prog} --help shows the options"
        text = fitted(f"{self.prog}: error: {message}", columns_of(sys.stderr))
        self.exit(2, f"{hint}\n{text}\n")


@attrs.frozen
class Topic:
    """What some commands are for.

    Attributes:
        name: a word.
        commands: their names.
    """

    name: str
    commands: Sequence[str]


class Overview(HelpfulParser):
    """A parser of commands, whose help shows all of them on one screen, by topic.

    Args:
        topics: the topics, the most frequent first.
        purposes: of all commands, by name.
        prog: as for any parser.
        usage: as for any parser.
        description: lines on top.
        closing: the last line.
    """

    def __init__(
        self,
        topics: Sequence[Topic],
        purposes: Mapping[str, str],
        *,
        prog: str,
        usage: str,
        description: str,
        closing: str,
    ) -> None:
        super().__init__(prog=prog, usage=usage, description=description)
        self.purposes = purposes
        self._topics = topics
        self._closing = closing

    def format_help(self) -> str:
        """The screen."""
        lines = [self.format_usage(), f"{self.description}\n"]
        for topic in self._topics:
            for number, command in enumerate(topic.commands):
                name = "" if number else topic.name
                lines.append(f"{name:9}  {command:10}  {self.purposes[command]}")
        return "\n".join([*lines, "", self._closing, ""])
