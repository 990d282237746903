"""What a build works on: everything that it needs, read and checked before any work is done."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from export.attacked_samples import Progress
from export.classifier import ChosenClassifier, choose_classifier
from export.cost import macs_per_image
from export.output import check_output
from export.samples import Samples
from export.settings import EXACT, FP32, BuildSettings
from export.source import SourceModel, read_source
from export.verify import find_samples
from puvae_rt.contract import MANIFEST_FILE
from puvae_rt.errors import BuildError
from puvae_rt.files import refuse_overwrite
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.graph import plan
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.plan import CPU, HOST, NATIVE
from puvae_rt.native.classifier import ForeignClassifierError, native_classifier
from puvae_rt.native.engine_file import NativeClassifier
from puvae_rt.onnx_io import read_onnx


@dataclass(frozen=True)
class Build:
    """One build, ready to be made.

    Attributes:
        settings: what was asked for.
        source: the model before and after the exact passes, in FP32.
        graph: what is compiled, after every pass and before its precision.
        description: of `graph`; its passes are the engine's.
        classifier: the bundle's, if it gets one.
        samples: what the engine is verified on; None where it is not.
        native_classifier: the classifier as libpuvae runs it, for target native where it can.
    """

    settings: BuildSettings
    source: SourceModel
    graph: Graph
    description: Description
    classifier: ChosenClassifier | None
    samples: Samples | None
    native_classifier: NativeClassifier | None = None

    @property
    def folder(self) -> Path:
        """The folder that the bundle gets."""
        return bundle_folder(self.settings, self.description)


def prepare(settings: BuildSettings, progress: Progress) -> Build:
    """Reads and checks all that a build needs; `progress` is told what was found.

    Raises:
        ContractError: --out is one of the inputs, or --shortlist is not for this model.
        BuildError: the target cannot do what is asked, a file is damaged, or --out cannot be written.
        BundleError: the classifier takes other images, or has other classes.
        DataError: no test images, or of another model.
        UnknownModelError, TargetUnavailableError
    """
    check_target(settings.target, settings.precision)
    source = read_source(settings.model, settings.sigma, settings.choice)
    if settings.target == NATIVE:
        check_native(settings, source)
    model = source.description
    folder = bundle_folder(settings, model)
    refuse_overwrite({"--out": folder}, settings.inputs)
    check_output(folder, MANIFEST_FILE)
    progress(f"{model.model}: {len(model.classes)} classes, {'x'.join(map(str, model.contract.shape))}")
    start, described = source.graph(settings.passes)
    graph, described = plan.for_target(start, described, settings.target)
    progress(f"passes {settings.passes}: {macs_per_image(start) / 1e6:.0f} million multiply-adds an image")
    classifier = choose_classifier(settings.classifier, source.shipped, model.contract, len(model.classes))
    samples = None
    if settings.verify:
        with nullcontext() if classifier is None else classifier.as_file() as attacked:
            samples = find_samples(settings.samples, settings.data, model, progress, attacked)
    native = _for_libpuvae(classifier, progress) if settings.target == NATIVE and classifier is not None else None
    return Build(settings, source, graph, described, classifier, samples, native)


def _for_libpuvae(classifier: ChosenClassifier, progress: Progress) -> NativeClassifier | None:
    """The classifier's layers; None, which is told, where they are others than those of A to D."""
    try:
        with classifier.as_file() as path:
            return native_classifier(read_onnx(path))
    except ForeignClassifierError as error:
        progress(f"{classifier.name}: {error}")
        return None


def bundle_folder(settings: BuildSettings, model: Description) -> Path:
    """The folder of a bundle: OUT/MODEL-TARGET-PRECISION."""
    return settings.out / f"{model.model}-{settings.target}-{settings.precision}"


def check_target(target: str, precision: str) -> None:
    """Raises BuildError for what a target cannot do, and TargetUnavailableError where its library is absent."""
    if target == CPU and precision != FP32:
        raise BuildError(
            f"--precision {precision} with --target cpu: ONNX Runtime would compute in FP32 behind casts on a CPU; "
            "build --precision fp32, or --target rtx"
        )
    if target == NATIVE and precision != FP32:
        raise BuildError(f"--precision {precision} with --target native: libpuvae computes in FP32; leave it out")
    if target not in HOST:
        trt.load(target)


def check_native(settings: BuildSettings, source: SourceModel) -> None:
    """Raises BuildError for what libpuvae does not do."""
    if settings.sigma > 0:
        raise BuildError(f"--sigma {settings.sigma:g} with --target native: it is deterministic; build --target cpu")
    if settings.passes != EXACT:
        raise BuildError("--passes none with --target native, which is the exact passes; build --target cpu")
    if source.weights is None:
        raise BuildError(
            f"--model {settings.model} with --target native: an .onnx holds rewritten weights; give the checkpoint "
            "(.safetensors) or a shipped model's name"
        )
