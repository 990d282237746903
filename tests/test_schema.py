"""Untrusted JSON becomes a typed value, or the caller's error with place, value and expectation."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from puvae_rt.contract import ImageContract
from puvae_rt.errors import BenchmarkError, BundleError
from puvae_rt.schema import (
    Classes,
    Finite,
    Name,
    PlainFileName,
    Sha256,
    Share,
    Text,
    check_seal,
    check_version,
    decode,
    integer,
    one_of,
    parse,
    seal,
)

REMEDY = "make it again"


@dataclass(frozen=True)
class Part:
    size: Annotated[int, integer(1, 8)]
    label: Text = "none"


@dataclass(frozen=True)
class Document:
    model: Name
    target: Annotated[str, one_of("cpu", "rtx")]
    classes: Classes
    contract: ImageContract
    files: Mapping[PlainFileName, Sha256]
    parts: tuple[Part, ...]
    flag: bool
    pair: tuple[Literal[0], Literal[1]] = (0, 1)
    limits: Mapping[Text, Finite] | None = None
    share: Share = 0.5
    extra: Part | None = None


GOOD: dict[str, Any] = {
    "model": "mnist",
    "target": "cpu",
    "classes": ["a", "é"],
    "contract": {"channels": 1, "height": 28, "width": 28},
    "files": {"engine.onnx": "0" * 64},
    "parts": [{"size": 1}, {"size": 8, "label": "x"}],
    "flag": True,
}


def read(document: Any) -> Document:
    return decode(document, Document, "doc.json", REMEDY)


def changed(place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """GOOD with `value` at `place`."""
    document = copy.deepcopy(GOOD)
    at: Any = document
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return document


@pytest.mark.parametrize("data", [GOOD, json.dumps(GOOD), json.dumps(GOOD).encode()], ids=["object", "str", "bytes"])
def test_a_good_document_is_read(data: Any) -> None:
    document = read(data)
    assert document.parts == (Part(1), Part(8, "x"))
    assert document.classes == ("a", "é") and document.contract == ImageContract(1, 28, 28)


def test_unknown_keys_are_ignored_and_null_stands_for_what_may_be_absent() -> None:
    assert read({**GOOD, "new": [1], "limits": None, "extra": None}) == read(GOOD)


# id: (place, value, what the message says)
WRONG: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "type": (("flag",), 1, "flag: got 1, expected true or false"),
    "bool-for-int": (("parts", 0, "size"), True, "parts[0].size: got true, expected an integer from 1 to 8"),
    "float-for-int": (("parts", 0, "size"), 1.0, "parts[0].size: got 1.0, expected an integer from 1 to 8"),
    "too-large": (("parts", 1, "size"), 9, "parts[1].size: got 9, expected an integer from 1 to 8"),
    "huge": (("parts", 1, "size"), 10**40, "expected an integer from 1 to 8"),
    "no-object": (("parts", 1), [], "parts[1]: got a list of 0, expected an object"),
    "no-list": (("parts",), {"a": 1}, "parts: got an object of 1, expected a list"),
    "null": (("model",), None, "model: got null, expected a name of up to 64"),
    "line-end": (("model",), "mnist\n", "model: got 'mnist\\n', expected a name"),
    "choice": (("target",), "cpu\n", "target: got 'cpu\\n', expected one of cpu, rtx"),
    "few": (("classes",), ["a"], "classes: got a list of 1, expected 2 to 1000 names"),
    "surrogate": (("classes", 1), "\ud800", "classes[1]: got '\\ud800', expected text without NUL"),
    "nul": (("classes", 1), "a\0", "classes[1]: got 'a\\x00', expected text without NUL"),
    "post-init": (("contract", "channels"), 2, "contract: channels=2: expected one of (1, 3)"),
    "literal": (("pair",), [0, 2], "pair[1]: got 2, expected 1"),
    "value-of-mapping": (("files", "b"), "0", "files.b: got '0', expected a sha256 in hexadecimal"),
    "name-in-a-path": (("files", "b.onnx"), "0", "files['b.onnx']: got '0', expected a sha256 in hexadecimal"),
    "inside-optional": (("extra",), {"size": 0}, "extra.size: got 0, expected an integer from 1 to 8"),
    "missing-inside": (("extra",), {}, "extra.size: got nothing, expected an integer from 1 to 8"),
    "optional": (("extra",), 5, "extra: got 5, expected an object or null"),
    "nan": (("limits",), {"a": 1.0, "b": math.nan}, "limits.b: got nan, expected a finite number"),
    "infinity": (("limits",), {"a": -math.inf}, "limits.a: got -inf, expected a finite number"),
    "beyond": (("limits",), {"a": 1e301}, "limits.a: got 1e+301, expected a finite number"),
    "huge-integer": (("limits",), {"a": 10**301}, "limits.a: got 1000"),
    "share": (("share",), 1.5, "share: got 1.5, expected a number from 0 to 1"),
    "long": (("model",), "x" * 10_000, f"model: got '{'x' * 79}, expected a name"),
}


@pytest.mark.parametrize("place, value, message", WRONG.values(), ids=WRONG.keys())
def test_a_refusal_says_where_what_and_how_to_mend_it(place: tuple[str | int, ...], value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        read(changed(place, value))
    text = str(caught.value)
    assert message in text
    assert text.startswith("doc.json: ") and text.endswith(f"; {REMEDY}")


@pytest.mark.parametrize("key", list(GOOD))
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(BundleError, match=rf"doc\.json: {key}: got nothing, expected "):
        read({k: v for k, v in GOOD.items() if k != key})


NO_FILES = ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a\ud800", "x" * 256]


@pytest.mark.parametrize("name", NO_FILES, ids=[ascii(name[:12]) for name in NO_FILES])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=r"files: name: got .*, expected a plain file name"):
        read(changed(("files",), {"a": "0" * 64, name: "0" * 64}))


@pytest.mark.parametrize("name", ["engine.onnx", "...", ".hidden", "é 1", "..a"])
def test_a_plain_file_name_is_taken(name: str) -> None:
    assert list(read(changed(("files",), {name: "0" * 64})).files) == [name]


NOT_JSON = {
    "empty": b"",
    "cut": b'{"model": "mn',
    "no-utf8": b'{"model": "\xff"}',
    "nan": b'{"share": NaN}',
    "infinity": b'{"share": -Infinity}',
    "deep": b'{"a":' * 200_000,
    "deep-list": b"[" * 200_000,
    "twice": b'{"model": "a", "model": "b"}',
    "twice-inside": b'{"files": {"a": 1, "a": 1}}',
    "lone-surrogate": b'{"model": "\\ud800"}',
    "lone-surrogate-key": b'{"\\uDFFF": 1}',
    "many-digits": b'{"share": ' + b"9" * 400 + b"}",
    "endless-digits": b'{"share": ' + b"9" * 500_000 + b"}",
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_sound_json_is_the_callers_error(data: bytes) -> None:
    with pytest.raises(BenchmarkError, match=rf"^bench\.json: not readable as JSON \(.*\); {REMEDY}$"):
        parse(data, "bench.json", REMEDY, BenchmarkError)
    with pytest.raises(BenchmarkError, match="not readable as JSON"):
        decode(data, Document, "bench.json", REMEDY, BenchmarkError)


@pytest.mark.parametrize("data", [b"5", b"[]", b"null", b'"text"'])
def test_another_value_than_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"doc\.json: got .*, expected an object; make"):
        read(data)


def test_a_value_that_speaks_msgspecs_own_language_is_no_path() -> None:
    text = "x - at `$.files`"
    with pytest.raises(BundleError, match=r"model: got 'x - at `\$\.files`', expected a name"):
        read(changed(("model",), text))


@pytest.mark.parametrize(
    "version, message",
    [
        (2, "format 2, this version reads 1"),
        ("1", "format: got '1', expected 1"),
        (None, "format: got null"),
        (True, "format"),
    ],
)
def test_another_version_is_said_before_all_else(version: Any, message: str) -> None:
    with pytest.raises(BundleError, match=f"doc: {message}"):
        check_version({"format": version}, "format", 1, "doc", REMEDY)
    check_version({"format": 1}, "format", 1, "doc", REMEDY)


def test_a_seal_covers_every_key_in_any_order() -> None:
    sealed = seal(GOOD)
    check_seal(sealed, "doc", REMEDY)
    check_seal(json.loads(json.dumps(dict(reversed(sealed.items())), indent=3)), "doc", REMEDY)
    check_seal(GOOD, "doc", REMEDY)  # written before there were seals
    assert seal(sealed) == sealed
    for change in ({"flag": False}, {"new": 1}, {"sha256": "0" * 64}, {"sha256": 5}):
        with pytest.raises(BundleError, match="doc: changed after it was written"):
            check_seal({**sealed, **change}, "doc", REMEDY)
