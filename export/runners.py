"""Engines to measure: each a function from images (and noise) to the purified images and distances."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from export.quality import Runner
from puvae_rt.contract import (
    BIAS,
    CANDIDATES,
    CLASSES,
    EMULATED,
    ENGINE_ONNX_FILE,
    ENGINE_PUVAE_FILE,
    IMAGE,
    MEASURED,
    NOISE,
    REFERENCE_FILE,
)
from puvae_rt.kernels.oracle import select_projection
from puvae_rt.native import library
from puvae_rt.native.binding import NativeModel
from puvae_rt.runtime.bundle import CPU, NATIVE
from puvae_rt.runtime.cpu import CHUNK, OrtEngine
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.native import NativeEngine
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
    if manifest.target == NATIVE:
        model = NativeModel(library.load(), folder / ENGINE_PUVAE_FILE)
        return Built(NativeEngine(model, manifest.contract, len(manifest.classes), available_cpus()).run, MEASURED)
    return Built(_emulated(engine, manifest), EMULATED)


def _emulated(engine: Path, manifest: Manifest) -> Runner:
    session = open_session(engine, available_cpus())
    outputs, classes = tuple(session.outputs), len(manifest.classes)

    def chunk(images: Floats, noise: Floats | None) -> Purified:
        feed = {IMAGE: images} if noise is None else {IMAGE: images, NOISE: noise}
        got = dict(zip(outputs, session.run(outputs, feed), strict=True))
        pixels = images.reshape(len(images), -1)
        rows = got[CANDIDATES].reshape(len(images), manifest.shortlist or classes, -1)  # [N,m,D]
        own = {"classes": got[CLASSES], "class_count": classes} if manifest.shortlist is not None else {}
        chosen = select_projection(pixels, rows, manifest.score.tau, got.get(BIAS), **own)
        purified = np.asarray(chosen.purified, np.float32).reshape(images.shape)
        return Purified(purified, chosen.index, chosen.rmse.astype(np.float32), chosen.score.astype(np.float32))

    def run(images: Floats, noise: Floats | None = None) -> Purified:
        parts = [
            chunk(images[i : i + CHUNK], None if noise is None else noise[i : i + CHUNK])
            for i in range(0, len(images), CHUNK)
        ]
        return Purified.join(parts)

    return run
