"""What is to be done: the job, its tasks, and which rows of them are done already.

A row is known by its identity: an image file's name below the input, or a file's name and the row's number in it. Rows
are purified in chunks of the batch's size, whose borders depend on the input alone. A finished chunk is one file of the
output, the part, which appears whole and is named by its rows: whoever writes it again writes the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, NamedTuple

from puvae_rt.contract import MAX_BATCH
from puvae_rt.data.folder import IMAGE_SUFFIXES
from puvae_rt.errors import ContractError, DataError, FileError
from puvae_rt.purify.batch import PurifyBatch
from puvae_rt.purify.places import Entry, Place, open_place
from puvae_rt.purify.settings import IMAGES, NPZ, PARQUET, VIDEO
from puvae_rt.schema import Count, Text, decode, integer, one_of, parse

OWN = "_puvae"  # our folder in the output
PARTS = f"{OWN}/parts"
JOB_FILE = f"{OWN}/job.json"
SUFFIXES = {
    IMAGES: IMAGE_SUFFIXES,
    NPZ: (".npz",),
    PARQUET: (".parquet", ".pq"),
    VIDEO: (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".webm", ".mpg", ".mpeg"),
}
MAX_JOB_BYTES = 1 << 20
_REMEDY = "give another OUTPUT, or remove this one"
_PART = re.compile(r"part-([0-9a-f]{12})-([0-9a-f]{8})-(\d{12}|all)-(\d+)-(\d+)\.\w+\Z")
ALL = "all"  # in the place of a first row: every part of the file in one


@dataclass(frozen=True)
class Job:
    """One run of `puvae purify`, as it is written beside its output and handed to workers.

    Attributes:
        input, output: paths or addresses.
        kind: of the input's files, one of SUFFIXES.
        source: a shipped model's name or a bundle's folder.
        column: of images, in tables and .npz; "" is found in the file.
        batch: rows of a chunk.
        identity: of the engine, as `PurifyBatch.identity`.
        load: more arguments of `Purifier.load`.
    """

    input: Text
    output: Text
    kind: Annotated[str, one_of(*SUFFIXES)]
    source: Text
    column: Text
    batch: Annotated[int, integer(1, MAX_BATCH)]
    identity: Text
    load: dict[Text, Any] = field(default_factory=dict)

    def purifier(self) -> PurifyBatch:
        """What purifies, not yet loaded."""
        return PurifyBatch(self.source, batch=self.batch, identity=self.identity, **self.load)

    @cached_property
    def reads(self) -> Place:
        """Where the input is."""
        return open_place(self.input, wanted="input")

    @cached_property
    def writes(self) -> Place:
        """Where the output goes."""
        return open_place(self.output)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def claim(self) -> None:
        """Makes the output this job's, or finds that it is already.

        Raises:
            ContractError: it holds what another job wrote, or files that no job did.
        """
        import json

        try:
            data = self.writes.read(JOB_FILE, MAX_JOB_BYTES)
        except FileError:
            if self.writes.files():
                raise ContractError(
                    f"{self.output}: holds files, but none of `puvae purify`; expected a new folder: give another one"
                ) from None
            self.writes.write({JOB_FILE: (json.dumps(self.document(), indent=1) + "\n").encode()})
            return
        document = parse(data, f"{self.output}/{JOB_FILE}", _REMEDY, DataError)
        began = decode(document, Job, f"{self.output}/{JOB_FILE}", _REMEDY, DataError)
        for name in ("input", "kind", "identity", "column", "batch"):
            if (got := getattr(self, name)) != (expected := getattr(began, name)):
                raise ContractError(
                    f"{self.output}: begun with {name} {expected!r}, now got {got!r}; expected the same to go on: "
                    f"{_REMEDY}"
                )


class Files(NamedTuple):
    """An input's files of one kind; `left_out`: how many others it has."""

    kind: str
    entries: list[Entry]
    left_out: int


@dataclass(frozen=True)
class Task:
    """What one worker does at a time.

    Attributes:
        files: image files, one chunk; or the one file whose rows `start` to `stop` are read (None: to its end).
        stamps: of the files, as `Entry` has them.
        done: first rows of the file's chunks that are done.
    """

    files: tuple[Text, ...]
    stamps: tuple[Text, ...]
    start: Count = 0
    stop: Count | None = None
    done: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Part:
    """A finished chunk, or with `start` None a finished file: what its name says."""

    of: str  # a hash of the file's name, or of the rows' names
    stamp: str
    start: int | None
    rows: int
    errors: int

    @classmethod
    def named(cls, name: str) -> Part | None:
        """The part that a file's name tells of; None of another file."""
        if (match := _PART.search(name)) is None:
            return None
        of, stamp, start, rows, errors = match.groups()
        return cls(of, stamp, None if start == ALL else int(start), int(rows), int(errors))

    def name(self, suffix: str) -> str:
        """Its file's name, without a folder."""
        start = ALL if self.start is None else f"{self.start:012d}"
        return f"part-{self.of}-{self.stamp}-{start}-{self.rows}-{self.errors}{suffix}"


@dataclass
class Done:
    """What the output holds already."""

    parts: dict[str, list[Part]] = field(default_factory=dict)  # by `of`
    rows: int = 0
    errors: int = 0

    @classmethod
    def found(cls, job: Job) -> Done:
        """Read from the names of the parts alone."""
        done = cls()
        below = "" if job.kind == PARQUET else PARTS
        for entry in job.writes.files(below):
            if (part := Part.named(entry.name)) is not None:
                done.parts.setdefault(part.of, []).append(part)
        for parts in done.parts.values():
            whole = [part for part in parts if part.start is None]
            parts[:] = whole or parts  # the chunks of a finished file, where a kill left some behind
            done.rows += sum(part.rows for part in parts)
            done.errors += sum(part.errors for part in parts)
        return done

    def of(self, entry: Entry) -> list[Part]:
        """The parts of a file; ContractError where it was changed since they were written."""
        parts = self.parts.get(digest([entry.name]), [])
        if any(part.stamp != entry.stamp for part in parts):
            raise changed(entry.name)
        return parts


@dataclass(frozen=True)
class Report:
    """What became of one chunk or file.

    Attributes:
        rows: purified and written, broken ones included.
        errors: (row's identity, why) of the broken ones.
        fatal: the class and text of an error that ends the job; empty otherwise.
    """

    rows: int
    errors: tuple[tuple[str, str], ...] = ()
    fatal: tuple[str, str] | None = None


def files_of(entries: Iterable[Entry], where: str, asked: str | None = None) -> Files:
    """The files of one kind among an input's files.

    Raises:
        DataError: no file of a known kind, or of several kinds where none is asked for.
    """
    found: dict[str, list[Entry]] = {}
    everything = list(entries)
    for entry in everything:
        suffix = "." + entry.name.lower().rpartition(".")[2]
        for kind, suffixes in SUFFIXES.items():
            if suffix in suffixes:
                found.setdefault(kind, []).append(entry)
    counts = ", ".join(f"{len(files)} x {kind}" for kind, files in found.items()) or "no file of these"
    if asked is None and len(found) > 1:
        raise DataError(f"{where}: holds {counts}, expected one kind; say which with --kind")
    kind = asked or next(iter(found), "")
    if kind not in found:
        raise DataError(
            f"{where}: holds {counts}, expected {asked or 'images, .npz, Parquet (.parquet) or videos'}; check the path"
        )
    return Files(kind, found[kind], len(everything) - len(found[kind]))


def changed(name: str) -> ContractError:
    """The error about an input's file that is not what results were made of."""
    return ContractError(f"{name}: was changed since OUTPUT was begun, expected it as it was; give another OUTPUT")


def digest(names: Iterable[str], length: int = 6) -> str:
    """A short name of names, in hexadecimal."""
    return hashlib.blake2b("\0".join(names).encode(), digest_size=length).hexdigest()
