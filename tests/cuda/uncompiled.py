"""A shipped model's bundle for a GPU without its compiled engine: what PyTorch runs, and what TensorRT 8 is given.

No compiler of NVIDIA's takes part, so it can be written on any machine, on those that no TensorRT serves as well.
"""

from __future__ import annotations

from pathlib import Path

from export.build import _manifest
from export.classifier import choose_classifier
from export.engine import Compiled, _engine
from export.precision import to_fp16
from export.prepare import Build
from export.settings import EXACT, FP16, BuildSettings
from export.source import read_source
from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE
from puvae_rt.graph import plan
from puvae_rt.graph.onnx_file import write_onnx
from puvae_rt.runtime.manifest import Manifest

TARGET = "tensorrt"


def write(model: str, folder: Path, batch: tuple[int, int]) -> Manifest:
    """The manifest; `folder`, which must not be there yet, gets it with engine.onnx in FP16 and the classifier.

    Args:
        model: a shipped one's name.
        folder: of the bundle.
        batch: the smallest and the largest.
    """
    source = read_source(model, sigma=0.0)
    graph, described = plan.for_target(*source.graph(EXACT), TARGET)
    classifier = choose_classifier(None, source.shipped, described.contract, len(described.classes))
    assert classifier is not None, "every shipped model has one"
    settings = BuildSettings(model, folder.parent, TARGET, FP16, batch=batch, verify=False)
    job = Build(settings, source, graph, described, classifier, samples=None)
    folder.mkdir(parents=True)
    typed = to_fp16(graph)
    write_onnx(folder / ENGINE_ONNX_FILE, typed, described)
    (folder / CLASSIFIER_FILE).write_bytes(classifier.model)
    compiled = Compiled(_engine(typed, (), kernels=0, seconds=0.0, evidence="not compiled"), {})
    manifest = _manifest(job, compiled, folder)
    manifest.write(folder)
    return manifest
