"""What became of each image: kept image by image while an attack runs, and joined over several attacks.

A file of outcomes is JSON lines, the first with the settings, then one for each image as soon as its attack is over. A
run that is killed goes on behind the last of them, also with more images than before. In a row of results the outcomes
are a text of 1 (right) and 0 (wrong), beside the hash of the images that it speaks of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.cells import WORST
from puvae_rt.evaluation.results import Row, accuracy_fields
from puvae_rt.files import atomic_file, locked, read_bytes
from puvae_rt.schema import NonNegative, Positive, Text, check_version, decode
from puvae_rt.scratch import told
from puvae_rt.training.device import forked_random

FOLDER = "outcomes"
FORMAT = 1
DIGEST = 16  # hexadecimal digits of a hash that names images
MAX_BYTES = 64 << 20
RIGHT, WRONG = "1", "0"
_REMEDY = "delete it, its images will be attacked again"

Attack = Callable[[Tensor, Tensor], Sequence[str]]  # images, labels -> what broke each image, "" where nothing did


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        image: hash of the image and its label.
        broken_by: what made the defended classifier wrong; empty where it is right.
        seconds: that its attack took; images attacked together share the time.
        device: the GPU that attacked it; None is the CPU.
    """

    image: Text
    broken_by: Text
    seconds: NonNegative
    device: Text | None = None

    def record(self) -> Row:
        """It as a line of a file; the CPU goes without saying."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class _Head:
    """The first line of a file of outcomes."""

    format: Positive
    settings: dict[str, Any]


def image_names(images: Tensor, labels: Tensor) -> list[str]:
    """A hash of each image [N,C,H,W] with its label [N]."""
    pairs = zip(images.cpu().numpy(), labels.tolist(), strict=True)
    return [hashlib.sha256(image.tobytes() + b"%d" % label).hexdigest()[:DIGEST] for image, label in pairs]


def image_set(images: Tensor, labels: Tensor) -> str:
    """One hash of all images [N,C,H,W] and labels [N], in their order."""
    return hashlib.sha256("".join(image_names(images, labels)).encode("ascii")).hexdigest()[:DIGEST]


def outcome_fields(standing: Tensor, images: Tensor, labels: Tensor) -> Row:
    """The accuracy with its interval, image by image as well, as fields of a row.

    `standing` [N] says which of the clean images [N,C,H,W] are still right.
    """
    marks = "".join(RIGHT if stands else WRONG for stands in standing.tolist())
    return accuracy_fields(marks.count(RIGHT), len(marks)) | {"standing": marks, "image_set": image_set(images, labels)}


def standing_of(row: Row) -> Tensor:
    """Which images of a row are right, [N] bool."""
    return torch.tensor([mark == RIGHT for mark in row["standing"]])


def outcome_file(models: Path, settings: Row) -> tuple[Path, Row]:
    """Where the outcomes of an attack are kept, below the folder of the trained models, and what they depend on.

    `settings` decide them, as in a row of results; the number of images is left out.
    """
    settings = json.loads(json.dumps({name: value for name, value in settings.items() if name != "n"}))
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode("utf-8")).hexdigest()[:DIGEST]
    name = "-".join(str(settings[key]) for key in ("classifier", "defense", "attack", "epsilon"))
    return models / settings["dataset"] / FOLDER / f"{name}-{digest}.jsonl", settings


def attack_in_turn(
    path: Path,
    settings: Row,
    images: Tensor,
    labels: Tensor,
    chunk: int,
    attack: Attack,
    clock: Callable[[], float],
    gpu: str | None = None,
) -> list[Outcome]:
    """The outcome of every image, out of the file where it is known already, else attacked and appended to the file.

    Args:
        path: of the outcomes; made with its folder.
        settings: what decides the outcomes, as `outcome_file` gives it.
        images: clean, [N,C,H,W].
        labels: [N].
        chunk: images attacked together; a chunk of which one is missing is attacked again, so that chance is the same.
        attack: called with PyTorch's random numbers at the beginning of the chunk's own stream.
        clock: seconds.
        gpu: the GPU that it computes on, if it does; whatever device began a file, another one may go on with it.
    Raises:
        ResultsError: the file is damaged, or holds outcomes of other settings.
        FileError: it cannot be written, or another process is at it.
    """
    names = image_names(images, labels)
    with locked(path):
        known = {outcome.image: outcome for outcome in read_outcomes(path, settings)}
        for place, start in enumerate(range(0, len(names), chunk)):
            part = slice(start, start + chunk)
            if all(name in known for name in names[part]):
                continue
            begin = clock()
            with forked_random(images.device):
                torch.manual_seed(settings["seed"] * 1_000_003 + place)
                broken = attack(images[part], labels[part])
            seconds = (clock() - begin) / len(broken)
            made = [Outcome(name, by, seconds, gpu) for name, by in zip(names[part], broken, strict=True)]
            known |= {outcome.image: outcome for outcome in made}
            _append(path, [outcome.record() for outcome in made])
    return [known[name] for name in names]


def read_outcomes(path: Path, settings: Row) -> list[Outcome]:
    """The outcomes in a file, which is begun where there is none; a line that a kill has cut short is taken away.

    Raises:
        ResultsError: a damaged line, or other settings.
    """
    data = read_bytes(path, MAX_BYTES) if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        with atomic_file(path) as part:
            part.write_bytes(whole)
    if not whole:
        _append(path, [{"format": FORMAT, "settings": settings}])
        return []
    first, *lines = whole.splitlines()
    where = f"{path}: line"
    head = decode(first, _Head, f"{where} 1", _REMEDY, ResultsError)
    check_version(vars(head), "format", FORMAT, str(path), _REMEDY, ResultsError)
    if head.settings != settings:
        raise ResultsError(f"{path}: holds outcomes of other settings, expected those of its name; {_REMEDY}")
    return [decode(line, Outcome, f"{where} {i}", _REMEDY, ResultsError) for i, line in enumerate(lines, 2)]


def _append(path: Path, lines: Sequence[Row]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with told(path, "cannot be written"), path.open("ab") as file:
        file.write(text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def broken_by(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many images each attack has broken."""
    return dict(Counter(outcome.broken_by for outcome in outcomes if outcome.broken_by))


def devices_of(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many images each device has attacked; empty where it was the CPU alone."""
    found = Counter(outcome.device or "CPU" for outcome in outcomes)
    return {} if found.keys() <= {"CPU"} else dict(found)


class Worst(NamedTuple):
    """Several attacks on the same images of one defended classifier, an image counted where it stands against all."""

    dataset: str
    classifier: str
    defense: str
    weights: dict[str, str]
    epsilon: float  # the largest radius that is counted
    attacks: tuple[str, ...]
    clean: Row | None  # the fields of `accuracy_fields` without an attack, where they were measured on these images
    worst: Row  # the same against all attacks


def join(rows: Sequence[Row]) -> list[Worst]:
    """The worst of all attacks on each defended classifier, at every radius that was measured.

    `rows` are of results/defense.json and results/adaptive.json alike. Those that speak of the same images and weights
    are joined; an attack of a smaller radius counts at a larger one as well, whose ball it lies in. Rows without
    outcomes, and attacks without an L-infinity bound, are left out.
    """
    usable = [r for r in rows if r.get("image_set") and r["epsilon"] is not None and r["attack"] != WORST]
    return [worst for _, group in groupby(sorted(usable, key=_system), key=_system) for worst in _radii(list(group))]


def _system(row: Row) -> tuple[str, ...]:
    weights = json.dumps(row.get("weights", {}), sort_keys=True)
    return row["dataset"], row["classifier"], row["defense"], row["image_set"], weights


def _radii(rows: list[Row]) -> Iterator[Worst]:
    clean = next((row for row in rows if row["epsilon"] == 0), None)
    for epsilon in sorted({row["epsilon"] for row in rows} - {0}):
        inside = [row for row in rows if row["epsilon"] <= epsilon]
        standing = torch.stack([standing_of(row) for row in inside]).all(dim=0)
        yield Worst(
            rows[0]["dataset"],
            rows[0]["classifier"],
            rows[0]["defense"],
            rows[0].get("weights", {}),
            epsilon,
            tuple(dict.fromkeys(row["attack"] for row in inside if row["epsilon"] > 0)),
            clean,
            accuracy_fields(int(standing.sum()), len(standing)),
        )
