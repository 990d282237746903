"""Damage to JSON documents: seeded, so that a case that fails can be made again from its number."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    0.5,
    1.0,
    2,
    10**6,
    1 << 63,
    10**400,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "\udfff.onnx",
    "x" * 5000,
    "cpu\n",
    "x - at `$.files`",
    [],
    {},
    [[]],
    [1, "2", None],
    {"": {}},
    {"\ud800": "\0"},
)


def mutated(document: Any, random: random.Random) -> bytes:
    """The document as JSON with one to three damages to its values, or to its bytes."""
    damaged = copy.deepcopy(document)
    if random.random() < 0.75:
        for _ in range(random.randint(1, 3)):
            damaged = _value(damaged, random)
    data = json.dumps(damaged).encode()
    return _bytes(data, random) if random.random() < 0.4 else data


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _value(document: Any, random: random.Random) -> Any:
    places = _places(document)
    if not places or random.random() < 0.03:
        return random.choice(WRONG)
    container, key = random.choice(places)
    kind = random.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, at = random.choice(places)
        container[key] = copy.deepcopy(other[at]) if _holds(other, at) else None
    elif kind == 2 and isinstance(container, dict):
        container[random.choice([text for text in WRONG if isinstance(text, str)])] = container.pop(key)
    else:
        container[key] = copy.deepcopy(random.choice(WRONG))
    return document


def _holds(container: Any, key: Any) -> bool:
    """Whether the place is still there after other damages."""
    return key in container if isinstance(container, dict) else key < len(container)


def _bytes(data: bytes, random: random.Random) -> bytes:
    at = random.randrange(len(data) + 1)
    kind = random.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return (
            data[:at]
            + random.choice((b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"\xff\xfe", b"\\ud800"))
            + data[at:]
        )
    if kind == 3:  # every key twice
        return data.replace(b"}", b', "model": 1, "model": 2}', 1)
    if kind == 4:
        return data[:at] + data[random.randrange(len(data) + 1) :]
    return random.choice((b"", b"\xef\xbb\xbf" + data, b"\0" * 64, data * 2, data.replace(b":", b"", 1)))
