"""What readers hand to the engine: chunks of rows as a model takes them, and files that broke."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from puvae_rt.purify.rows import Form, Inputs


@dataclass(frozen=True)
class Chunk:
    """Rows that are purified and written together.

    Attributes:
        file: the file they are of; of image files, the first.
        stamp: of that file, or of all image files together.
        start: the first row's number in the file.
        names: the rows' identities.
        inputs: their images.
        form: how the images were given.
        beside: what the input has beside the images: an Arrow table, or arrays by name; or of image files their stamps.
    """

    file: str
    stamp: str
    start: int
    names: list[str]
    inputs: Inputs
    form: Form
    beside: Any = None


class Finished(NamedTuple):
    """All chunks of a file have been read; `beside` is what its assembly needs."""

    file: str
    stamp: str
    rows: int
    beside: dict[str, Any]


class Broken(NamedTuple):
    """A file that cannot be read, from some row on."""

    file: str
    problem: str


Item = Chunk | Finished | Broken
Items = Iterator[Item]
