"""Compare a bundle's engine with its FP32 reference: values, choices, accuracy clean and under the stored attacks.

Exits with 0 when every limit holds, 1 when one is broken, 2 when the comparison could not be made.
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "verify")  # first: --help needs none of what follows

from pathlib import Path

from export import runners
from export.attacked_samples import Progress, attack, choose, dataset_of
from export.quality import measure
from export.runners import Built
from export.samples import Samples, load_samples
from puvae_rt.attacks.radii import radii_of
from puvae_rt.contract import CLASSIFIER_FILE
from puvae_rt.data import DATA_VARIABLE
from puvae_rt.errors import DataError
from puvae_rt.graph.description import Description
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names
from puvae_rt.runtime.bundle import NATIVE
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest, Quality

# The straightforward graph is seven times as much work; a tenth of the images keeps its gate under half a minute.
PLAIN_IMAGES = 100
DATASET_IMAGES = 200  # of a model that ships none: their attacks are made at every build


def verify(
    folder: Path,
    manifest: Manifest,
    samples: Samples,
    built: Built | None = None,
    classifier: Classifier | None = None,
    progress: Progress = lambda line: None,
) -> Quality:
    """The quality of the engine in `folder` against the reference graph beside it, on every image set.

    Args:
        folder: a bundle's files, already checked against the manifest.
        manifest: the bundle's.
        samples: images and labels; only the first 100 for a build without the exact passes.
        built: what runs the engine; None is the CPU.
        classifier: the bundle's; None opens it.
        progress: told of each image set.
    Raises:
        BundleError: a graph that the runtime refuses.
    """
    built = built or runners.on_cpu(folder, manifest)
    classes = len(manifest.classes)
    if classifier is None and CLASSIFIER_FILE in manifest.files:
        classifier = Classifier(folder / CLASSIFIER_FILE, manifest.contract, classes, available_cpus())
    return measure(
        runners.reference(folder, manifest),
        built.runner,
        samples if manifest.passes else samples.head(PLAIN_IMAGES),
        NATIVE if manifest.target == NATIVE else manifest.precision,
        built.evidence,
        noise_classes=classes if manifest.sigma > 0 else 0,
        classifier=None if classifier is None else classifier.labels,
        progress=progress,
        shortlist=manifest.shortlist,
    )


def find_samples(
    given: Path | None,
    data: Path | None,
    model: Description | Manifest,
    progress: Progress = lambda line: None,
    classifier: Path | None = None,
) -> Samples:
    """The test images given, or those shipped with a model of this name, or else 200 of its dataset.

    Args:
        given: an .npz that `puvae pack` wrote.
        data: the dataset to take images of, even where others ship; attacked as those that ship are.
        model: what is verified.
        progress: told of each attack made here.
        classifier: the bundle's, an .onnx file: what is attacked where `model` is none that ships.
    Raises:
        DataError: there are none, or they are damaged or of another model.
    """
    if given is not None:
        return load_samples(given, model.contract, len(model.classes))
    known = shipped(model.model) if model.model in shipped_names() else None
    if data is None and known is not None and SAMPLES_FILE in known.sha256:
        return load_samples(known.path(SAMPLES_FILE), model.contract, len(model.classes))
    attacked = classifier if known is None else known.classifier()
    if attacked is None:
        raise DataError(
            f"model {model.model!r} ships no test images to verify with, and the bundle has no classifier to attack "
            "others on; build it with --classifier FILE, give --samples FILE.npz (images, labels, and "
            "attacked_<name>, all uint8, as `puvae pack` writes it), or build with --no-verify"
        )
    try:
        dataset = dataset_of(model.model, model.classes, model.contract, data)
    except DataError as error:
        raise DataError(
            f"no test images to verify {model.model!r} with: {error}; or set {DATA_VARIABLE} to the folder that holds "
            "the dataset, or give --samples FILE.npz"
        ) from error
    return attack(attacked, choose(dataset.test, DATASET_IMAGES), radii_of(model.contract).epsilon, progress)
