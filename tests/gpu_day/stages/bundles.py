"""The models as ONNX files, made of the weights in the checkout, which need not travel twice; and their images."""

from __future__ import annotations

import shutil

import numpy as np

from puvae_rt.runtime.manifest import Manifest
from tests.cuda import uncompiled
from tests.gpu_day.sheet import unpacked
from tests.gpu_day.stage import Day


def run(day: Day) -> None:
    """Bundles for the largest batch, each with its files' sizes."""
    for model in day.models:
        folder = day.work / "bundles" / model
        shutil.rmtree(folder, ignore_errors=True)
        manifest = uncompiled.write(model, folder, (1, max(day.effort.batches)))
        _unpack(day, manifest)
        day.tell(model, value={"sizes": manifest.sizes, "shortlist": manifest.shortlist, "passes": manifest.passes})


def _unpack(day: Day, manifest: Manifest) -> None:
    """The images as plain arrays: TensorRT 8's Python has no OpenCV."""
    with np.load(day.carried / "samples" / f"{manifest.model}.npz") as file:
        arrays = dict(file)
    if (sheet := arrays.pop("sheet", None)) is not None:
        arrays["images"] = unpacked(sheet, len(arrays["labels"]), manifest.contract.height)
    (day.work / "samples").mkdir(exist_ok=True)
    np.savez(day.work / "samples" / f"{manifest.model}.npz", **arrays)
