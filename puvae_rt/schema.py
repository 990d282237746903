"""Untrusted JSON, read into typed values: manifests, model.json, headers of weights, results, ground truth.

A document is described by a dataclass or a `msgspec.Struct` that stands beside what it describes, made of the
constrained types below. Whatever does not fit becomes the caller's typed error, which names the place, what was got
and what was expected. Keys that the type does not know are ignored, so that a newer file can be read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from puvae_rt.contract import MAX_CLASSES, MAX_NUMBER, NAME_PATTERN, NAME_RULE
from puvae_rt.errors import BundleError, PuvaeError
from puvae_rt.files import read_bytes
from puvae_rt.refusal import explain, shown

T = TypeVar("T")

MAX_INTEGER = 1 << 62
MAX_FILES = 64  # that one document lists
_MAX_DIGITS = 300  # of an integer: one with more does not fit into a float
_SEAL = "sha256"  # key of a document's own hash
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escaped one


def integer(low: int, high: int = MAX_INTEGER) -> Meta:
    """The constraint of an integer from `low` to `high`, both included."""
    return Meta(ge=low, le=high, description=f"an integer from {low} to {high}")


def number(low: float, high: float = MAX_NUMBER) -> Meta:
    """The constraint of a finite number from `low` to `high`, both included."""
    expected = f"a finite number >= {low:g}" if high == MAX_NUMBER else f"a number from {low:g} to {high:g}"
    return Meta(ge=low, le=high, description=expected)


def one_of(*allowed: str) -> Meta:
    """The constraint of a text out of `allowed`."""
    pattern = "|".join(map(re.escape, allowed))
    return Meta(pattern=rf"\A(?:{pattern})\Z", description=f"one of {', '.join(allowed)}")


Count = Annotated[int, integer(0)]
Positive = Annotated[int, integer(1)]
Finite = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER, description="a finite number")]
NonNegative = Annotated[float, number(0)]
AboveZero = Annotated[float, number(1e-9)]  # what a ratio may be taken of
Share = Annotated[float, number(0, 1)]
# A lone surrogate cannot be encoded, so it can neither be printed nor name a file; NUL ends a name in C.
Text = Annotated[str, Meta(pattern=r"\A[^\ud800-\udfff\0]*\Z", description="text without NUL and lone surrogates")]
# Safe as a part of a file name.
Name = Annotated[str, Meta(pattern=NAME_PATTERN, description=NAME_RULE)]
# None leads out of its folder.
PlainFileName = Annotated[
    str,
    Meta(pattern=r"\A(?!\.{1,2}\Z)[^/\\\0\ud800-\udfff]{1,255}\Z", description="a plain file name without a folder"),
]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="a sha256 in hexadecimal")]
FileHashes = Annotated[  # name -> sha256
    Mapping[PlainFileName, Sha256], Meta(min_length=1, max_length=MAX_FILES, description=f"1 to {MAX_FILES} files")
]
Texts = tuple[Text, ...]
Classes = Annotated[
    tuple[Text, ...], Meta(min_length=2, max_length=MAX_CLASSES, description=f"2 to {MAX_CLASSES} names")
]


def parse(
    data: bytes | str, where: str, remedy: str, error: type[PuvaeError] = BundleError, *, finite: bool = True
) -> Any:
    """The plain value of a JSON text: UTF-8, no key twice in one object, no lone surrogate, no endless integer.

    Args:
        data: the text.
        where: what is read, as the message begins: a path.
        remedy: how to mend it, as the message ends.
        error: what is raised.
        finite: refuse NaN and Infinity, which are no JSON; Python writes them all the same, as a loss that diverged.
    Raises:
        error: it is anything else, or nested too deeply.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        constant = _refuse_constant if finite else None
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=constant, parse_int=_integer)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a UnicodeEncodeError where one stands alone
        return value
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not readable as JSON ({problem}); {remedy}") from problem


def read_json(
    path: Path,
    limit: int,
    remedy: str,
    error: type[PuvaeError] = BundleError,
    *,
    finite: bool = True,
    within: Path | str | None = None,
) -> Any:
    """The plain value in a regular file of at most `limit` bytes of JSON, inside `within` if given; as `parse`."""
    try:
        data = read_bytes(path, limit, within)
    except OSError as problem:
        raise error(f"{problem}; {remedy}") from problem
    return parse(data, str(path), remedy, error, finite=finite)


def decode(data: Any, kind: type[T], where: str, remedy: str, error: type[PuvaeError] = BundleError) -> T:
    """The value of type `kind` in a JSON text (bytes, str) or in an already parsed document.

    Args:
        data: the text, or plain dicts, lists, texts and numbers.
        kind: a dataclass or a `msgspec.Struct`; a ValueError of its `__post_init__` counts as a refusal.
        where: what is read, as the message begins: a path.
        remedy: how to mend it, as the message ends.
        error: what is raised.
    Raises:
        error: "WHERE: key.path: got X, expected Y; REMEDY".
    """
    document = parse(data, where, remedy, error) if isinstance(data, bytes | str) else data
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{where}: {explain(problem, document, kind)}; {remedy}") from problem
    except (ValueError, RecursionError, OverflowError) as problem:
        raise error(f"{where}: not readable ({problem}); {remedy}") from problem


def check_version(
    document: Any, key: str, readable: int, where: str, remedy: str, error: type[PuvaeError] = BundleError
) -> None:
    """Refuses a document of another version before its other fields are judged."""
    got = document.get(key) if isinstance(document, Mapping) else readable
    if type(got) is not int:
        raise error(f"{where}: {key}: got {shown(got)}, expected {readable}; {remedy}")
    if got != readable:
        raise error(f"{where}: {key} {got}, this version reads {readable}; {remedy}")


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its own sha256, which covers every other key of it."""
    content = {key: value for key, value in document.items() if key != _SEAL}
    return {**content, _SEAL: _content_sha256(content)}


def check_seal(document: Mapping[str, Any], where: str, remedy: str, error: type[PuvaeError] = BundleError) -> None:
    """Refuses a document that carries its own sha256 and was changed since; without one nothing is checked."""
    if (expected := document.get(_SEAL)) is None:
        return
    try:
        got = _content_sha256({key: value for key, value in document.items() if key != _SEAL})
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not readable ({problem}); {remedy}") from problem
    if got != expected:
        raise error(
            f"{where}: changed after it was written: its sha256 is {got[:12]}..., expected {shown(expected)}; {remedy}"
        )


def _content_sha256(content: Mapping[str, Any]) -> str:
    """Of the canonical JSON: sorted keys, no spaces, ASCII."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{shown(twice)} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
