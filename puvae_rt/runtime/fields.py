"""Typed access to untrusted JSON: manifests, model.json and the headers of weights."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from puvae_rt.contract import MAX_CLASSES, ImageContract, Score
from puvae_rt.errors import BundleError, ContractError

MAX_FILES = 64
MAX_SIDE = 4096
_MAX_NUMBER = 1e300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Fields:
    """A JSON object whose every read is checked; a refusal says where, what was got, what was expected."""

    def __init__(self, value: Any, where: str, remedy: str = "rebuild the bundle") -> None:
        self._where, self._remedy = where, remedy
        if not isinstance(value, dict):
            raise self._error(f"got {type(value).__name__}, expected an object")
        self._values = value

    def _error(self, problem: str) -> BundleError:
        return BundleError(f"{self._where}: {problem}; {self._remedy}")

    def _fail(self, key: str, expected: str) -> BundleError:
        got = repr(self._values[key])[:80] if key in self._values else "nothing"
        return self._error(f"{key}: got {got}, expected {expected}")

    def text(self, key: str, allowed: tuple[str, ...] | None = None) -> str:
        value = self._values.get(key)
        if not isinstance(value, str) or (allowed and value not in allowed):
            raise self._fail(key, f"one of {', '.join(allowed)}" if allowed else "text")
        return value

    def name(self, key: str) -> str:
        """Text that is safe as a part of a file name."""
        if not _NAME.fullmatch(value := self.text(key)):
            raise self._fail(key, "a name of up to 64 letters, digits, '.', '_' and '-'")
        return value

    def sha256(self, key: str) -> str:
        value = self.text(key)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise self._fail(key, "a sha256 in hexadecimal")
        return value

    def number(self, key: str, low: float = 0.0) -> float:
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= _MAX_NUMBER:
            raise self._fail(key, f"a finite number >= {low}")
        return float(value)

    def integer(self, key: str, low: int = 0, high: int = 1 << 62) -> int:
        value = self._values.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._fail(key, f"an integer from {low} to {high}")
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        return None if self._values.get(key) is None else self.integer(key, low, high)

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if not isinstance(value, bool):
            raise self._fail(key, "true or false")
        return value

    def optional_flag(self, key: str) -> bool:
        return False if self._values.get(key) is None else self.flag(key)

    def integers(self, key: str, low: int) -> tuple[int, ...]:
        value = self._values.get(key)
        if not isinstance(value, list) or not all(type(v) is int and v >= low for v in value):
            raise self._fail(key, f"a list of integers >= {low}")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values.get(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._fail(key, "a list of texts")
        return tuple(value)

    def child(self, key: str) -> Fields:
        return Fields(self._values.get(key), f"{self._where}: {key}", self._remedy)

    def children(self, key: str) -> list[Fields]:
        value = self._values.get(key)
        if not isinstance(value, list):
            raise self._fail(key, "a list of objects")
        return [Fields(item, f"{self._where}: {key}[{i}]", self._remedy) for i, item in enumerate(value)]

    def numbers(self) -> dict[str, float]:
        return {key: self.number(key, -math.inf) for key in self._values}

    def versions(self) -> dict[str, str]:
        return {key: self.text(key) for key in self._values}

    def hashes(self) -> dict[str, str]:
        """{file name: sha256}; names must be plain, so that none leads out of its folder."""
        if not 0 < len(self._values) <= MAX_FILES:
            raise self._error(f"{len(self._values)} files, expected 1 to {MAX_FILES}")
        for name in self._values:
            if name != Path(name).name or name in ("", ".", "..") or "\\" in name or "\0" in name:
                raise self._error(f"{name[:80]!r} is not a plain file name")
        return {name: self.sha256(name) for name in self._values}


def read_contract(fields: Fields) -> ImageContract:
    """The `contract` object of a manifest, a model.json or a weights header."""
    if fields.integers("range", 0) != (0, 1):
        raise BundleError("contract: range: expected [0, 1]; no other range is defined")
    try:
        return ImageContract(*(fields.integer(key, 1, MAX_SIDE) for key in ("channels", "height", "width")))
    except ContractError as error:
        raise BundleError(f"contract: {error}") from error


def read_score(fields: Fields) -> Score:
    try:
        return Score(fields.number("tau"), fields.number("kl_weight"))
    except ContractError as error:
        raise BundleError(f"score: {error}") from error


def read_classes(fields: Fields) -> tuple[str, ...]:
    classes = fields.texts("classes")
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise BundleError(f"classes: got {len(classes)} names, expected 2 to {MAX_CLASSES}")
    return classes
