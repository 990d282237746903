"""TensorRT 8's engines in the product's own pipeline: built here, attested, compared and timed. For Python 3.10.

The product's code throughout; what runs it is tensorrt8.py beside it.
"""

from __future__ import annotations

from pathlib import Path

from export import layers
from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE, IMAGE
from puvae_rt.device import Device, open_device
from puvae_rt.errors import BuildError
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.tensorrt import TrtEngine, build_plan
from puvae_rt.runtime.manifest import Manifest
from tests.gpu_day import measure
from tests.gpu_day.stage import Day

TARGET = "tensorrt"


def run(day: Day) -> None:
    """Every model's values, then every model's times."""
    with open_device(day.device) as device:
        device.activate()
        for model in day.models:
            with opened(day, model, device) as pipeline:
                measure.values(day, model, pipeline)
                measure.latency(day, model, pipeline)


def opened(day: Day, model: str, device: Device) -> GpuPipeline:
    """The model's pipeline on engines that are built now."""
    folder = day.bundle(model)
    manifest = Manifest.read(folder)
    files = ((ENGINE_ONNX_FILE, manifest.precision), (CLASSIFIER_FILE, "fp32"))
    purifier, classifier = (_engine(day, folder / name, manifest, precision, device) for name, precision in files)
    given = manifest.contract, len(manifest.classes), manifest.score, classifier
    return GpuPipeline(purifier, device, *given, shortlist=manifest.shortlist)


def _engine(day: Day, file: Path, manifest: Manifest, precision: str, device: Device) -> TrtEngine:
    shapes = {IMAGE: manifest.contract.shape}
    plan = build_plan(TARGET, file.read_bytes(), (1, max(day.effort.batches)), shapes)
    listed = layers.listed(plan)
    try:
        layers.check_precision(listed, precision)
        attested = precision
    except BuildError as error:  # a build would stop here; what it takes is worth knowing all the same
        attested = f"not attested: {error}"
    told = {"tensorrt": plan.version, "seconds": plan.seconds, "bytes": len(plan.data), "attested": attested}
    day.tell(manifest.model, "engines", file.name, value=told | {"kernels": layers.kernels(listed)})
    return TrtEngine(TARGET, plan.data, file, device.properties.name)
