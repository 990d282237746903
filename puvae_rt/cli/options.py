"""A dataclass of options -> the arguments of a command: each default, range and help is written once."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from puvae_rt.errors import ContractError, number_text

OLD_GOES_IN = "0.3"
_FLAG = "flag"
READ, WRITTEN, SEALED = "read", "written", "sealed"
_METAVARS = {Path: "PATH", int: "N", float: "X"}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Flag:
    """How a field is given on the command line.

    Attributes:
        help: what it is, with its unit; default and range are added.
        default_text: the default in words, where the field's is None.
        choices: all allowed values.
        least, most: of a number, both allowed.
        above: a number above which it must be.
        parse: text -> value, where the field's type does not say.
        metavar: the value in the usage line.
        old: spellings of the last version, which warn.
        group: of flags that exclude each other.
        none: allow no value at all, for a tuple.
        positional: given without a flag.
        instead: what to write in place of this flag, which is of the last version alone.
        role: of a path: READ, WRITTEN, or SEALED for a folder that nothing may be written into.
    """

    help: str
    default_text: str | None = None
    choices: Sequence[str] | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    parse: Callable[[str], Any] | None = None
    metavar: str | tuple[str, ...] | None = None
    old: tuple[str, ...] = ()
    group: str | None = None
    none: bool = False
    positional: bool = False
    instead: str | None = None
    role: str | None = None

    def told(self, default: Any) -> str:
        """The help with range and default behind it."""
        notes = []
        if self.least is not None and self.most is not None:
            notes.append(f"{self.least:g} to {self.most:g}")
        elif self.least is not None:
            notes.append(f"at least {self.least:g}")
        if self.above is not None:
            notes.append(f"above {self.above:g}")
        if text := self.default_text or _worded(default):
            notes.append(f"default: {text}")
        return (self.help + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")

    def check(self, name: str, value: Any) -> None:
        """ContractError for a number out of range; NaN and infinity are in none."""
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, (int, float)) or isinstance(number, bool):
                continue
            if not math.isfinite(number):
                raise ContractError(f"{name} {number_text(number)}: expected a finite number")
            if self.least is not None and not number >= self.least:
                raise ContractError(f"{name} {number_text(number)}: expected at least {self.least:g}")
            if self.most is not None and not number <= self.most:
                raise ContractError(f"{name} {number_text(number)}: expected at most {self.most:g}")
            if self.above is not None and not self.above < number < float("inf"):
                raise ContractError(f"{name} {number_text(number)}: expected a finite number above {self.above:g}")


def option(default: Any = dataclasses.MISSING, *, help: str, **flag: Any) -> Any:
    """A field that `add_options` makes a flag of; without a default it has to be given."""
    return dataclasses.field(default=default, metadata={_FLAG: Flag(help, **flag)})


def flags_of(options: type) -> dict[dataclasses.Field[Any], Flag]:
    """The fields of `options` that are flags."""
    return {field: field.metadata[_FLAG] for field in dataclasses.fields(options) if _FLAG in field.metadata}


def flag_name(field: dataclasses.Field[Any]) -> str:
    """`--as-typed`."""
    return "--" + field.name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Give `parser` an argument for each field of `options`."""
    hints = get_type_hints(options)
    groups: dict[str, Any] = {}
    for field, flag in flags_of(options).items():
        place: Any = parser
        if flag.group is not None:
            if flag.group not in groups:
                groups[flag.group] = parser.add_mutually_exclusive_group()
            place = groups[flag.group]
        settings = _settings(hints[field.name], field, flag)
        if flag.positional:
            place.add_argument(field.name, **settings)
            continue
        hidden = settings | {"help": argparse.SUPPRESS, "action": _Old, "new": flag.instead or flag_name(field)}
        if settings.get("action") == "store_true":
            hidden |= {"nargs": 0, "const": True}
        if flag.instead is not None:
            place.add_argument(flag_name(field), dest=field.name, **hidden)
            continue
        place.add_argument(flag_name(field), dest=field.name, **settings)
        if flag.old:
            place.add_argument(*flag.old, dest=field.name, **hidden | {"default": argparse.SUPPRESS})


def read_options(parser: argparse.ArgumentParser, options: type[T], args: argparse.Namespace) -> T:
    """The parsed arguments as `options`.

    Raises:
        ContractError: a number out of its range.
    """
    values = {}
    for field, flag in flags_of(options).items():
        value = getattr(args, field.name)
        if value is dataclasses.MISSING:
            parser.error(f"the following arguments are required: {flag_name(field)}")
        values[field.name] = tuple(value) if isinstance(value, list) else value
        flag.check(field.name if flag.positional else flag_name(field), values[field.name])
    return options(**values)


def paths_of(options: Any, role: str) -> dict[str, Path]:
    """The paths that `options` holds of a role, by how they were given."""
    found: dict[str, Path] = {}
    for field, flag in flags_of(type(options)).items():
        if flag.role == role and (value := getattr(options, field.name)) is not None:
            name = field.name.upper() if flag.positional else flag_name(field)
            several = isinstance(value, tuple)
            found |= {f"{name} {each}" if several else name: Path(each) for each in (value if several else (value,))}
    return found


class _Old(argparse.Action):
    """A spelling of the last version: it works, and says what to write in its place."""

    def __init__(self, *args: Any, new: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._new = new

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(f"warning: {option_string} is now {self._new}; the old spelling goes in {OLD_GOES_IN}", file=sys.stderr)
        setattr(namespace, self.dest, self.const if self.nargs == 0 else values)


def _settings(kind: Any, field: dataclasses.Field[Any], flag: Flag) -> dict[str, Any]:
    """What `add_argument` takes for a field of type `kind`."""
    settings: dict[str, Any] = {"help": flag.told(field.default)}
    if kind is bool:
        return settings | {"action": "store_true"}
    if get_origin(kind) in (Union, types.UnionType):
        kind, *_ = (each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple and flag.parse is None:
        of = get_args(kind)
        settings["nargs"] = ("*" if flag.none else "+") if of[-1] is Ellipsis else len(of)
        kind = of[0]
    settings |= {"type": flag.parse or kind, "choices": flag.choices, "metavar": flag.metavar}
    if flag.metavar is None and flag.choices is None:
        settings["metavar"] = _METAVARS.get(kind)
    return settings if flag.positional else settings | {"default": field.default}


def _worded(default: Any) -> str:
    if default is dataclasses.MISSING or default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return " ".join(map(str, default)) or "none"
    return f"{default:g}" if isinstance(default, float) else str(default)
