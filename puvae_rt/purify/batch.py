"""One callable for every engine of distribution: dicts of NumPy arrays in and out. It imports none of them."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puvae_rt.contract import MAX_BATCH, NO_LABEL
from puvae_rt.errors import BundleError, ContractError, InputError
from puvae_rt.files import sha256_of
from puvae_rt.purify.rows import Inputs, form_of, to_form, to_inputs
from puvae_rt.runtime.bundle import is_bundle, resolve
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.runtime.results import Floats, Ints, Purified

LABEL, PROJECTED, SCORE, RMSE = "label", "projected", "score", "rmse"
DEGRADED, BUNDLE, ERROR = "degraded", "bundle", "error"
COLUMNS = (LABEL, PROJECTED, SCORE, RMSE, DEGRADED, BUNDLE, ERROR)  # of a result, beside the image
INPUT_PREFIX = "input_"  # of a column that was called as one of COLUMNS


@dataclass(frozen=True)
class Results:
    """Purified rows.

    Attributes:
        images: float32 [N,C,H,W] in [0,1]; zeros where there is an error.
        columns: name -> [N], those of COLUMNS.
    """

    images: Floats
    columns: dict[str, NDArray[Any]]

    @property
    def errors(self) -> list[str]:
        """[N], why a row could not be purified; empty where it was."""
        return [str(error) for error in self.columns[ERROR]]


class PurifyBatch:
    """Purifies the images of a batch: a dict of columns [N] in, the same with results out.

    The column of images holds bytes of image files, or arrays: uint8 of any size, [N,H,W], [N,H,W,C] or [N,C,H,W] (or
    an object array of such images of different sizes), RGB; or float32 in [0,1] of the model's size. It comes back
    purified, in the same form, at the model's size. Beside it come `label` (the classifier's class), `projected` (the
    projection's), `score` and `rmse` of the projection chosen, `degraded`, `bundle` (what purified it) and `error`
    (why a row has no result, else empty: one broken image fails no batch). A column that has one of these names
    already is kept as `input_label` and so on.

    It may be pickled, and opens its engine once in each process, at the first call there.

    Attributes:
        load: the further arguments of `Purifier.load`.

    Args:
        source: a shipped model's name or a bundle's folder; a worker of another machine needs it at the same path.
        column: the column of images.
        batch: rows of every call of the engine: the last one is padded, so that a row's result does not depend on how
            many come with it. None takes them as they come.
        identity: what `identity` has to be, for a worker that must have the very engine that its driver has.
        load: more arguments of `Purifier.load`: target, threads, classifier, seed, device, prior, shortlist.
    Raises:
        ContractError: `batch` out of its range. A call raises InputError for a batch without the column or with
            columns of different lengths, and what `Purifier.load` raises.
    """

    def __init__(
        self,
        source: str | Path = "mnist",
        *,
        column: str = "image",
        batch: int | None = None,
        identity: str | None = None,
        **load: Any,
    ) -> None:
        if batch is not None and not 1 <= batch <= MAX_BATCH:
            raise ContractError(f"batch={batch}: expected 1 to {MAX_BATCH} rows")
        bundle = is_bundle(source)
        self.source = os.path.abspath(source) if bundle else str(source)  # noqa: PTH100  # a worker has another folder
        self.column, self.batch, self._expected = column, batch, identity
        self.load, self._is_bundle = load, bundle
        self._purifier: Purifier | None = None
        self._identity = ""

    def __call__(self, batch: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """The batch with its images purified, and the results beside them."""
        values = batch.get(self.column)
        if values is None:
            raise InputError(
                f"batch: got columns {', '.join(map(ascii, batch)) or 'none'}, expected {self.column!r} among them; "
                "give PurifyBatch(column=...)"
            )
        if len(lengths := {len(column) for column in batch.values()}) > 1:
            raise InputError(f"batch: got columns of {sorted(lengths)} rows, expected one length; mend the batch")
        if not len(values):
            return {name: np.asarray(column) for name, column in batch.items()}
        results = self.run(to_inputs(values, self.purifier.contract))
        others = renamed([name for name in batch if name != self.column])
        kept = {new: np.asarray(batch[name]) for name, new in others.items()}
        images = to_form(results.images, form_of(values), results.errors)
        return {**kept, self.column: images, **results.columns}

    @property
    def purifier(self) -> Purifier:
        """The purifier of this process, loaded at its first use."""
        if self._purifier is None:
            self._identity = self._checked_identity()
            source: str | Path = Path(self.source) if self._is_bundle else self.source
            self._purifier = Purifier.load(source, **self.load)
        return self._purifier

    @property
    def identity(self) -> str:
        """What purifies: the model's name, and a hash of its engine, classifier and way to choose."""
        return self._identity or self._checked_identity()

    def run(self, inputs: Inputs) -> Results:
        """Purifies rows that `to_inputs` made, padded to whole batches."""
        purifier, count = self.purifier, len(inputs.images)
        size = self.batch or count
        parts, labels = [], []
        for start in range(0, count, size):
            images = inputs.images[start : start + size]
            if missing := size - len(images):
                images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])
            purified = purifier.purify(images)
            parts.append(purified)
            labels.append(purifier.label(purified))
        return self._results(Purified.join(parts), np.concatenate(labels), inputs.problems)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the engine, which each process opens for itself."""
        return {**self.__dict__, "_purifier": None}

    def _results(self, purified: Purified, labels: Ints, problems: list[str]) -> Results:
        count = len(problems)
        bad = np.array([bool(problem) for problem in problems])
        projected = np.where(bad, NO_LABEL, purified.projected[:count])
        chosen = np.maximum(projected, 0)[:, None]
        unknown = projected == NO_LABEL
        score, rmse = (np.take_along_axis(each[:count], chosen, 1)[:, 0] for each in (purified.score, purified.rmse))
        columns: dict[str, NDArray[Any]] = {
            LABEL: np.where(bad, NO_LABEL, labels[:count]),
            PROJECTED: projected,
            SCORE: np.where(unknown, np.float32(np.nan), score),
            RMSE: np.where(unknown, np.float32(np.nan), rmse),
            DEGRADED: unknown,
            BUNDLE: np.full(count, self._identity),
            ERROR: np.array(problems, dtype=str),
        }
        return Results(np.where(bad[:, None, None, None], np.float32(0), purified.images[:count]), columns)

    def _checked_identity(self) -> str:
        wanted = {"target", "classifier", "device"} & self.load.keys()
        options = {"target": None, "classifier": True} | {name: self.load[name] for name in wanted}
        source: str | Path = Path(self.source) if self._is_bundle else self.source
        try:
            found = resolve(source, **options)
        except BundleError as error:
            raise BundleError(f"on {socket.gethostname()}: {error}") from error
        judge = "" if found.classifier is None else sha256_of(found.classifier)
        choice = [self.load.get("prior"), self.load.get("shortlist")]
        digest = hashlib.sha256(repr([found.target, found.sha256, judge, choice]).encode()).hexdigest()
        identity = f"{found.name}-{found.target}@{digest[:16]}"
        if self._expected not in (None, identity):
            raise BundleError(
                f"on {socket.gethostname()}: {self.source} is {identity}, expected {self._expected}, which the driver "
                "has; copy the same bundle and install the same version on every machine"
            )
        return identity


def renamed(names: list[str]) -> dict[str, str]:
    """Input column -> what it is called beside results; InputError where two would have one name."""
    new = {name: INPUT_PREFIX + name if name in COLUMNS else name for name in names}
    if len(set(new.values())) < len(new):
        raise InputError(
            f"columns {', '.join(map(ascii, names))}: one is called as a renamed one; rename {INPUT_PREFIX}*"
        )
    return new
