"""An engine that nobody has built yet: built when a shipped model is first loaded for a GPU target, and kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from puvae_rt.errors import BuildError
from puvae_rt.files import temporary_folder
from puvae_rt.runtime import cache
from puvae_rt.runtime.arguments import Choice
from puvae_rt.runtime.assets import WEIGHTS_FILE, ShippedModel
from puvae_rt.toolchain import build_on_demand
from puvae_rt.version import __version__

if TYPE_CHECKING:
    from puvae_rt.device import Device, Properties

PRECISION = "fp16"


def bundle_of(model: ShippedModel, target: str, device: str | Device | None = None, choice: Choice = Choice()) -> Path:
    """The bundle of a shipped model for a GPU target: out of the engine cache, or built into it.

    Args:
        model: what to build.
        target: "rtx" or "tensorrt".
        device: where it is to run. It is opened before anything is built: a build takes a minute.
        choice: how the projection is chosen.
    Raises:
        TargetUnavailableError, DeviceError, BuildError
        ToolchainError: `export` is not installed beside puvae_rt.
        DataError: the model ships no test images, and its dataset is not to be had.
        QualityError: the engine that came out is not good enough.
    """
    from puvae_rt.gpu.tensorrt import library  # lazily: a CPU user needs none of it

    version, gpu = library.load(target).__version__, _gpu(device)
    library.check_served(target, gpu)
    capabilities = library.shared_capabilities(target, gpu.compute_capability)
    identity: cache.Identity = {
        "target": target,
        "precision": PRECISION,
        "source_sha256": model.sha256[WEIGHTS_FILE],
        "classifier_sha256": model.sha256[f"{model.default_classifier}.onnx"],
        "library": version,
        "build": library.BUILD,
        "gpu": ", ".join(capabilities or (gpu.name, library.dotted(gpu.compute_capability))),
        "puvae_rt": __version__,
        "prior": choice.prior,
        "shortlist": choice.shortlist or "own",
    }

    def make(folder: Path) -> None:
        with temporary_folder() as scratch:
            options = {"prior": choice.prior, "shortlist": choice.shortlist}
            for path in build_on_demand(model.model, target, PRECISION, scratch, capabilities, options).iterdir():
                shutil.copyfile(path, folder / path.name)

    bundle = cache.obtain(f"{model.model}-{target}-{PRECISION}", identity, make)
    if bundle is None:
        raise BuildError(
            f"model {model.model!r} for target {target!r}: its engine has no place to be kept; set {cache.ENVIRONMENT} "
            f"to a writable folder, or build it with `puvae build --model {model.model} --target {target}`"
        )
    return bundle


def _gpu(device: str | Device | None) -> Properties:
    from puvae_rt.device import open_device  # lazily, as above

    if device is not None and not isinstance(device, str):
        return device.properties
    with open_device(device) as opened:
        return opened.properties
