"""Settings of a program: one table gives its options, its file, its environment and their checks.

A table is an attrs class whose fields are made by :func:`setting`. The field ``relay_rate`` is the
option ``--relay-rate``, the key ``relay-rate`` of the TOML file, and the variable
``PREFIX_RELAY_RATE`` of the environment. An option precedes a variable, and that precedes the file.
"""

from __future__ import annotations

import argparse
import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from .._errors import LocalProtocolError
from .arguments import checked_by

T = TypeVar("T")
Table = TypeVar("Table", bound=attrs.AttrsInstance)

_KEY = "setting"
_YES, _NO = ("1", "on", "true", "yes"), ("0", "off", "false", "no")


@attrs.frozen
class Setting:
    """What a table says of one setting.

    Attributes:
        parse: makes the value, or one of its values, of a text; raises LocalProtocolError.
        help: what it does, for ``--help``.
        metavar: stands for the value in ``--help``; None for a switch, which is on or off.
        is_list: whether there may be several values.
        group: the heading in ``--help``.
        is_reloaded: whether a running program takes a new value over.
    """

    parse: Callable[[str], Any]
    help: str
    metavar: str | None
    is_list: bool
    group: str
    is_reloaded: bool


def setting(
    default: T,
    parse: Callable[[str], Any],
    metavar: str,
    help: str,  # noqa: A002 - as argparse has it
    *,
    group: str = "",
    is_reloaded: bool = False,
) -> T:
    """A field of a table: a value, or a tuple of values if the default is one."""
    described = Setting(parse, help, metavar, isinstance(default, tuple), group, is_reloaded)
    return attrs.field(default=default, metadata={_KEY: described})


def switch(
    help: str,  # noqa: A002 - as argparse has it
    *,
    group: str = "",
    is_reloaded: bool = False,
) -> bool:
    """A field of a table that is on or off; off by default."""
    described = Setting(
        _parse_switch, help, None, is_list=False, group=group, is_reloaded=is_reloaded
    )
    return attrs.field(default=False, metadata={_KEY: described})


@attrs.frozen
class Sources:
    """Where the values of settings come from.

    Attributes:
        options: what :meth:`argparse.ArgumentParser.parse_args` has returned.
        environment: the variables of the environment.
        prefix: of the variables' names.
        file: the TOML file; None if there is none.
    """

    options: argparse.Namespace
    environment: Mapping[str, str]
    prefix: str
    file: Path | None


def add_options(
    parser: argparse.ArgumentParser, table: type[attrs.AttrsInstance], groups: Mapping[str, str]
) -> None:
    """Add an option for each setting of a table.

    Args:
        parser: gets the options.
        table: the class.
        groups: a sentence for each group.
    """
    added: dict[str, Any] = {}
    for name, each in settings_of(table).items():
        target: Any = parser
        if each.group:
            if each.group not in added:
                added[each.group] = parser.add_argument_group(each.group, groups[each.group])
            target = added[each.group]
        option = f"--{name}"
        if each.metavar is None:
            target.add_argument(option, action="store_true", default=None, help=each.help)
            continue
        target.add_argument(
            option,
            action="append" if each.is_list else "store",
            type=checked_by(each.parse),
            metavar=each.metavar,
            help=each.help + ("; may be repeated" if each.is_list else ""),
        )


def load_settings(table: type[Table], sources: Sources) -> Table:
    """The settings in effect.

    Raises:
        LocalProtocolError: a value is wrong, or there is no setting of a name, or no file.
    """
    known = settings_of(table)
    values: dict[str, Any] = {}
    if sources.file is not None:
        values |= _of_file(known, sources.file)
    values |= _of_environment(known, sources)
    for name in known:
        value = getattr(sources.options, _field(name))
        if value is not None:
            values[name] = tuple(value) if known[name].is_list else value
    return table(**{_field(name): value for name, value in values.items()})


def settings_of(table: type[attrs.AttrsInstance]) -> dict[str, Setting]:
    """The settings of a table, by name."""
    return {
        field.name.replace("_", "-"): field.metadata[_KEY]
        for field in attrs.fields(table)
        if _KEY in field.metadata
    }


def not_reloaded(old: attrs.AttrsInstance, new: attrs.AttrsInstance) -> list[str]:
    """The names of the settings that differ and that a running program does not take over."""
    return [
        name
        for name, each in settings_of(type(old)).items()
        if not each.is_reloaded and getattr(old, _field(name)) != getattr(new, _field(name))
    ]


def taken_over(old: Table, new: Table) -> Table:
    """The old settings with the new values of those that a running program takes over."""
    changes = {
        _field(name): getattr(new, _field(name))
        for name, each in settings_of(type(old)).items()
        if each.is_reloaded
    }
    evolved: Table = attrs.evolve(cast("Any", old), **changes)
    return evolved


def as_toml(settings: attrs.AttrsInstance) -> str:
    """A file with all that is set; what has no value stands in comments."""
    lines: list[str] = []
    for name in settings_of(type(settings)):
        value = getattr(settings, _field(name))
        lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _field(name: str) -> str:
    return name.replace("-", "_")


def _of_file(known: Mapping[str, Setting], file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LocalProtocolError(f"{file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LocalProtocolError(f"{file} is no TOML: {error}") from error
    return {
        name: _parsed(_known(known, name, f"in {file}"), _texts(value), f"{name} in {file}")
        for name, value in content.items()
    }


def _of_environment(known: Mapping[str, Setting], sources: Sources) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in sources.environment.items():
        if not variable.startswith(sources.prefix):
            continue
        name = variable.removeprefix(sources.prefix).lower().replace("_", "-")
        each = _known(known, name, f"for the variable {variable}")
        values[name] = _parsed(each, text.split() if each.is_list else [text], variable)
    return values


def _known(known: Mapping[str, Setting], name: str, where: str) -> Setting:
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise LocalProtocolError(f"there is no setting {name!r} {where}{hint}")
    return known[name]


def _texts(value: object) -> list[str]:
    """The texts of what stands in a TOML file."""
    values = cast("list[object]", value if isinstance(value, list) else [value])
    return [str(each).lower() if isinstance(each, bool) else str(each) for each in values]


def _parsed(each: Setting, texts: Iterable[str], where: str) -> Any:
    try:
        values = tuple(map(each.parse, texts))
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{where}: {error}") from error
    if each.is_list:
        return values
    if len(values) != 1:
        raise LocalProtocolError(f"{where}: give one value, not a list")
    return values[0]


def _parse_switch(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise LocalProtocolError(f"{text!r} is neither true nor false")
    return text.lower() in _YES


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, cast('tuple[object, ...]', value)))}]"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False)
