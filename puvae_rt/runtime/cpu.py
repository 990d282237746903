"""The CPU target's engine and the classifier behind it, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from puvae_rt.contract import IMAGE, LABEL, LOGITS, NOISE, PURIFIED, RMSE, SCORE, ImageContract
from puvae_rt.errors import EngineError
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.results import NO_LABEL, Floats, Ints, Purified
from puvae_rt.runtime.session import ANY_FLOAT, INT64, Wanted, open_session

# Images per run: as fast per image as a batch of 128 and a third of its memory (80 MB instead of 260).
CHUNK = 8

T = TypeVar("T")


class OrtEngine:
    """A puvae graph in an ONNX Runtime session: images [N,C,H,W] (and noise [N,K,32]) -> Purified.

    Args:
        model: the graph's file.
        contract: the images' shape.
        classes: K.
        threads: of the session, which share the work of one run.
        at_once: runs of `CHUNK` images each that a larger batch may have under way at once.
        optimized: the file was optimized for this processor already.
    Raises:
        BundleError: the file, or what the graph takes and gives, is not as it has to be.
    """

    def __init__(
        self,
        model: Path | bytes,
        contract: ImageContract,
        classes: int,
        threads: int,
        *,
        at_once: int = 1,
        optimized: bool = False,
    ) -> None:
        self._session = open_session(model, threads, optimized=optimized)
        self._classes, self._at_once = classes, at_once
        self.takes_noise = NOISE in self._session.inputs
        self._shapes = contract.shape, (), (classes,), (classes,)  # per image, of _OUTPUTS
        noise = {NOISE: Wanted((classes, LATENT))} if self.takes_noise else {}
        wanted = dict(zip(_OUTPUTS, map(Wanted, self._shapes), strict=True)) | {LABEL: Wanted((), (INT64,))}
        self._session.check({IMAGE: Wanted(contract.shape)} | noise, wanted)

    def run(self, images: Floats, noise: Floats | None = None) -> Purified:
        """The closest projections; EngineError when ONNX Runtime fails, or its outputs are not what they have to be."""
        chunks = [
            (images[i : i + CHUNK], None if noise is None else noise[i : i + CHUNK])
            for i in range(0, len(images), CHUNK)
        ]
        return Purified.join(side_by_side(self._run_chunk, chunks, self._at_once))

    def _run_chunk(self, images: Floats, noise: Floats | None) -> Purified:
        feed = {IMAGE: images} if noise is None else {IMAGE: images, NOISE: noise}
        outputs = self._session.run(_OUTPUTS, feed)
        n = len(images)
        for name, value, shape in zip(_OUTPUTS, outputs, self._shapes, strict=True):
            if value.shape != (n, *shape):
                raise EngineError(
                    f"{self._session.name}: {name} is {list(value.shape)} for {n} images, expected {[n, *shape]}; "
                    "rebuild the bundle"
                )
        self._check_choices(outputs[1].tolist(), outputs[2])
        return Purified(*outputs)

    def _check_choices(self, labels: Sequence[int], rmse: Floats) -> None:
        """Every label is a class at a finite distance, or says that there is none."""
        for label, distances in zip(labels, rmse, strict=True):
            if label != NO_LABEL and not (0 <= label < self._classes and isfinite(distances[label])):
                distance = distances[label] if 0 <= label < self._classes else "none"
                raise EngineError(
                    f"{self._session.name}: label {label} at distance {distance}, expected {NO_LABEL} or a class from "
                    f"0 to {self._classes - 1} at a finite distance; rebuild the bundle"
                )

    def close(self) -> None:
        """Nothing to do: the session is freed with its last reference, after the calls under way in other threads."""


_OUTPUTS = (PURIFIED, LABEL, RMSE, SCORE)


def side_by_side(work: Callable[..., T], items: Sequence[tuple[Any, ...]], at_once: int) -> list[T]:
    """`work` of every item's arguments, in order, up to `at_once` at a time.

    The threads last as long as the call: a tenth of a millisecond each, and nothing that a fork could lose.
    """
    if min(at_once, len(items)) == 1:
        return [work(*item) for item in items]
    with ThreadPoolExecutor(min(at_once, len(items))) as pool:
        try:
            futures = [pool.submit(work, *item) for item in items]
        except RuntimeError:  # no more threads are to be had, or the interpreter is ending
            return [work(*item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:  # an error or Ctrl-C: what has not begun need not be waited for
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Classifier:
    """An image classifier in ONNX: images [N,C,H,W] in [0,1] -> logits [N,K].

    Args:
        model: the .onnx file, or a model's bytes.
        contract: the images' shape.
        classes: K.
        threads: of the session.
        one_file: refuse weights that lie in another file; otherwise they may lie beside it.
        name: what messages call it; by default the file.
    Raises:
        BundleError: the file, or what the model takes and gives, is not as it has to be.
    """

    def __init__(
        self,
        model: Path | bytes,
        contract: ImageContract,
        classes: int,
        threads: int,
        *,
        one_file: bool = False,
        name: str = "",
    ) -> None:
        image, logits = Wanted(contract.shape), Wanted((classes,), ANY_FLOAT)
        sides = ",".join(map(str, contract.shape))
        remedy = (
            f"export the classifier with input `{IMAGE}` [N,{sides}] float32 in [0,1] and output `{LOGITS}` "
            f"[N,{classes}] float32, N free" + (", as one file" if one_file else "")
        )
        self._classes = classes
        self._session = open_session(model, threads, name=name, remedy=remedy, one_file=one_file)
        self._session.check({IMAGE: image}, {LOGITS: logits})

    def logits(self, images: Floats) -> Floats:
        """float32 [N,C,H,W] in [0,1] -> float32 [N,K]; EngineError when the model fails on them, or gives NaN."""
        parts = [self._logits(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def labels(self, images: Floats) -> Ints:
        """float32 [N,C,H,W] in [0,1] -> int64 [N], from 0 to K - 1; EngineError as in `logits`."""
        return np.asarray(self.logits(images).argmax(axis=1), np.int64)

    def _logits(self, images: Floats) -> Floats:
        logits = np.asarray(self._session.run((LOGITS,), {IMAGE: images})[0], np.float32)
        if logits.shape != (len(images), self._classes) or np.isnan(logits).any():
            got = "NaN in logits" if logits.shape == (len(images), self._classes) else f"logits {list(logits.shape)}"
            raise EngineError(
                f"{self._session.name}: {got} for {len(images)} images, expected {[len(images), self._classes]} "
                "numbers; export the classifier again"
            )
        return logits
