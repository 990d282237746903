"""Engines to measure: each a function from images (and noise) to the purified images and distances."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.quality import Runner
from puvae_rt.contract import (
    BIAS,
    CANDIDATES,
    CLASSES,
    EMULATED,
    ENGINE_ONNX_FILE,
    IMAGE,
    MEASURED,
    NO_LABEL,
    NOISE,
    REFERENCE_FILE,
)
from puvae_rt.kernels.oracle import select_projection
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.cpu import CHUNK, OrtEngine
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.results import Floats, Purified
from puvae_rt.runtime.session import open_session


class Built(NamedTuple):
    """An engine that runs, and how: "measured", or "emulated" where another one stands in for it."""

    runner: Runner
    evidence: str


def reference(folder: Path, manifest: Manifest) -> Runner:
    """The bundle's FP32 reference graph in ONNX Runtime, as a function."""
    return OrtEngine(folder / REFERENCE_FILE, manifest.contract, len(manifest.classes), available_cpus()).run


def on_cpu(folder: Path, manifest: Manifest) -> Built:
    """The engine itself where it runs on a CPU; otherwise its ONNX file, layer by layer in its own precision, and the
    selection kernel's twin behind it."""
    engine = folder / ENGINE_ONNX_FILE
    if manifest.target == CPU:
        whole = OrtEngine(engine, manifest.contract, len(manifest.classes), available_cpus())
        return Built(whole.run, MEASURED)
    return Built(_emulated(engine, manifest), EMULATED)


def among_all(own: Purified, listed: npt.NDArray[np.integer[Any]], classes: int) -> Purified:
    """A choice among m classes told as one among all: rmse is NaN and score infinite for those not decoded.

    Args:
        own: with `projected` from 0 to m - 1, `rmse` and `score` [N,m].
        listed: which classes they are, [N,m].
        classes: K.
    """
    rmse, score = (np.full((len(own), classes), absent, np.float32) for absent in (np.nan, np.inf))
    np.put_along_axis(rmse, listed, own.rmse, axis=1)
    np.put_along_axis(score, listed, own.score, axis=1)
    chosen = np.take_along_axis(listed, np.maximum(own.projected, 0)[:, None], axis=1)[:, 0]
    projected = np.where(own.projected == NO_LABEL, NO_LABEL, chosen).astype(np.int64)
    return Purified(own.images, projected, rmse, score)


def _emulated(engine: Path, manifest: Manifest) -> Runner:
    session = open_session(engine, available_cpus())
    outputs, classes = tuple(session.outputs), len(manifest.classes)

    def chunk(images: Floats, noise: Floats | None) -> Purified:
        feed = {IMAGE: images} if noise is None else {IMAGE: images, NOISE: noise}
        got = dict(zip(outputs, session.run(outputs, feed), strict=True))
        rows = got[CANDIDATES].reshape(len(images), manifest.shortlist or classes, -1)  # [N,m,D]
        chosen = select_projection(images.reshape(len(images), -1), rows, manifest.score.tau, got.get(BIAS))
        purified = np.asarray(chosen.purified, np.float32).reshape(images.shape)
        own = Purified(purified, chosen.index, chosen.rmse.astype(np.float32), chosen.score.astype(np.float32))
        return own if manifest.shortlist is None else among_all(own, got[CLASSES], classes)

    def run(images: Floats, noise: Floats | None = None) -> Purified:
        parts = [
            chunk(images[i : i + CHUNK], None if noise is None else noise[i : i + CHUNK])
            for i in range(0, len(images), CHUNK)
        ]
        return Purified.join(parts)

    return run
