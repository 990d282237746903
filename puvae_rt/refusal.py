"""Refusals in our words: where in a document, what was got, and what its type expected."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from puvae_rt.errors import escaped

_MAX_PROBLEM = 300  # characters of another library's message
_MAX_SHOWN = 80  # characters of a wrong value in a message
_ERROR = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def explain(error: msgspec.ValidationError, document: Any, kind: Any) -> str:
    """The refusal in our words, with the value that msgspec does not show."""
    match = _ERROR.fullmatch(str(error))
    assert match is not None  # its first group takes any text
    place = _Place("", document, kind)
    for step in _STEP.finditer(match["path"] or ""):
        if step["field"]:
            place = place.field(step["field"])
        elif step["index"]:
            place = place.item(int(step["index"]))
        else:
            place = place.wrong_value()
    if match["key"]:
        place = place.wrong_key()
    if error.__cause__ is not None:
        problem = str(error.__cause__)
    elif missing := _MISSING.fullmatch(match["problem"]):
        place = place.field(missing[1])
        problem = f"got nothing, expected {_expected(place.kind)}"
    else:
        problem = f"got {shown(place.value)}, expected {_expected(place.kind)}"
    return f"{place.path}: {problem}" if place.path else problem


def printable(problem: object) -> str:
    """What a library says about a damaged file: one line, without what the file could do to a terminal."""
    return escaped(" ".join(str(problem).split())[:_MAX_PROBLEM])


def shown(value: Any) -> str:
    """A wrong value as a message shows it: short, and printable on any terminal."""
    if isinstance(value, Mapping | list | tuple):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return brief(value)


def brief(value: Any, limit: int = _MAX_SHOWN) -> str:
    """The beginning of a value's `repr`, printable on any terminal; its type where it has none."""
    try:
        return ascii(value[:limit] if isinstance(value, str) else value)[:limit]
    except Exception:  # an integer of thousands of digits, or whatever an object's own raises
        return type(value).__name__


class _Place(NamedTuple):
    """A value inside a document, with the type that it should have had."""

    path: str  # "engine.layers[0].name"
    value: Any
    kind: Any

    def field(self, name: str) -> _Place:
        value = self.value.get(name) if isinstance(self.value, Mapping) else None
        return _Place(f"{self.path}.{name}".lstrip("."), value, _hints(self.kind)[name])

    def item(self, index: int) -> _Place:
        kinds = get_args(_bare(self.kind))
        kind = kinds[0] if len(kinds) == 1 or kinds[-1] is Ellipsis else kinds[index]
        return _Place(f"{self.path}[{index}]", self.value[index], kind)

    def wrong_value(self) -> _Place:
        """The first value of a mapping that does not fit."""
        kind = get_args(_bare(self.kind))[1]
        key = next(key for key, value in self.value.items() if not _fits(value, kind))
        plain = isinstance(key, str) and re.fullmatch(rf"\w{{1,{_MAX_SHOWN}}}", key, re.ASCII)
        step = f".{key}" if plain else f"[{shown(key)}]"
        return _Place(f"{self.path}{step}", self.value[key], kind)

    def wrong_key(self) -> _Place:
        kind = get_args(_bare(self.kind))[0]
        return _Place(f"{self.path}: name", next(key for key in self.value if not _fits(key, kind)), kind)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return False
    return True


def _expected(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Annotated:
        described = [meta.description for meta in kind.__metadata__ if isinstance(meta, Meta) and meta.description]
        return described[-1] if described else _expected(get_args(kind)[0])
    if get_origin(kind) is Literal:
        values = ", ".join(map(shown, get_args(kind)))
        return f"one of {values}" if len(get_args(kind)) > 1 else values
    if options := _options(kind):
        return " or ".join(map(_expected, options))
    words = {str: "text", int: "an integer", float: "a finite number", bool: "true or false", type(None): "null"}
    if kind in words:
        return words[kind]
    return "a list" if get_origin(kind) in (list, tuple) else "an object"


def _options(kind: Any) -> tuple[Any, ...]:
    """The types of a union; none when it is no union."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _bare(kind: Any) -> Any:
    """The type without its constraints, and without the None that may stand in its place."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    for option in _options(kind):
        if option is not type(None):
            return _bare(option)
    return kind


def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(_bare(kind), include_extras=True)


def install(extra: str) -> str:
    """How to install an extra of this package, as words to follow "install it with"."""
    return f"`python -m pip install '.[{extra}]'` in the folder of its clone"
