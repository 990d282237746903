"""From what the user names, a shipped model or a bundle, to verified files."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from puvae_rt._moved import GONE_IN
from puvae_rt.contract import (
    CLASSIFIER_FILE,
    ENGINE_ONNX_FILE,
    ENGINE_PLAN_FILE,
    ENGINE_PUVAE_FILE,
    MANIFEST_FILE,
    ImageContract,
)
from puvae_rt.errors import BundleError, ContractError, QualityError
from puvae_rt.refusal import brief
from puvae_rt.runtime import on_demand
from puvae_rt.runtime.arguments import Choice, checked_classifier, checked_device, checked_source, checked_target
from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped, shipped_names
from puvae_rt.runtime.manifest import TARGETS, Manifest

if TYPE_CHECKING:
    from puvae_rt.device import Device

logger = logging.getLogger(__name__)

CPU, NATIVE = "cpu", "native"
HOST = (CPU, NATIVE)  # what runs without a GPU
_ENGINE_FILES = {CPU: ENGINE_ONNX_FILE, NATIVE: ENGINE_PUVAE_FILE}  # the others' is engine.plan


@dataclass(frozen=True)
class Source:
    """An engine's file with what is needed to run it; every file's sha256 was checked."""

    name: str
    target: str
    contract: ImageContract
    classes: tuple[str, ...]
    engine: Path  # a graph, a plan, or the weights from which a CPU's graph is made
    sha256: str  # of `engine`
    classifier: Path | None
    choice: Choice = Choice()  # of the graph that is made of weights; an engine's file has made its own


def resolve(
    source: str | Path,
    target: str | None,
    classifier: bool | str | Path,
    device: str | Device | None = None,
    choice: Choice = Choice(),
) -> Source:
    """What `Purifier.load` was asked for, as verified files; `device` is opened before an engine is built."""
    source, classifier = checked_source(source), checked_classifier(classifier)
    target, device = checked_target(target, TARGETS), checked_device(device)
    if is_bundle(source):
        found = open_bundle(Path(source), target, choice=choice)
    elif target is None or target in HOST:
        found = from_shipped(str(source), choice, target or CPU)
    else:
        found = open_bundle(built_bundle(str(source), target, device, choice), target)
    if classifier is True:
        return found
    return replace(found, classifier=_chosen_classifier(str(source), classifier) if classifier else None)


def is_bundle(source: str | Path) -> bool:
    """A path rather than a shipped model's name. A shipped name wins over a folder that happens to be called so."""
    if isinstance(source, str) and source in shipped_names():
        return False
    return isinstance(source, Path) or os.sep in source or (Path(source) / MANIFEST_FILE).is_file()


def from_shipped(name: str, choice: Choice = Choice(), target: str = CPU) -> Source:
    """The weights of a shipped model, for target cpu or native, with its default classifier."""
    model = shipped(name)
    return Source(
        name=model.model,
        target=target,
        contract=model.contract,
        classes=model.classes,
        engine=model.path(WEIGHTS_FILE),
        sha256=model.sha256[WEIGHTS_FILE],
        classifier=model.classifier(),
        choice=choice,
    )


def built_bundle(name: str, target: str, device: str | Device | None = None, choice: Choice = Choice()) -> Path:
    """A bundle of a shipped model for a GPU target, built on first use into the engine cache.

    Raises:
        UnknownModelError, and what `on_demand.bundle_of` raises
    """
    return on_demand.bundle_of(shipped(name), target, device, choice)


def open_bundle(
    folder: Path, target: str | None = None, require_quality: bool = True, choice: Choice = Choice()
) -> Source:
    """A bundle's engine.

    Args:
        folder: written by `puvae build`.
        target: that it was built for; None is any.
        require_quality: refuse a bundle that did not pass its quality gate.
        choice: that it was built with; by default any.
    Raises:
        BundleError: it is damaged, or was built for another target.
        ContractError: it was built to choose otherwise.
        QualityError: it did not pass its quality gate.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise BundleError(
            f"{folder}: no {MANIFEST_FILE} in it; give a folder that `puvae build` wrote, "
            f"or a shipped model: {', '.join(shipped_names())}"
        )
    manifest = Manifest.read(folder)
    if target not in (None, manifest.target):
        raise BundleError(
            f"{folder}: built for target {manifest.target!r}, asked to run on {brief(target)}; "
            f"build it with `puvae build --target {target}`"
        )
    _check_choice(folder, manifest, choice)
    engine = _ENGINE_FILES.get(manifest.target, ENGINE_PLAN_FILE)
    if engine not in manifest.files:
        raise BundleError(f"{folder}: the manifest does not list {engine}; rebuild the bundle")
    manifest.verify_files(folder)
    if require_quality:
        _check_quality(folder, manifest)
    return Source(
        name=manifest.model,
        target=manifest.target,
        contract=manifest.contract,
        classes=manifest.classes,
        engine=folder / engine,
        sha256=manifest.files[engine],
        classifier=folder / CLASSIFIER_FILE if CLASSIFIER_FILE in manifest.files else None,
    )


def _check_choice(folder: Path, manifest: Manifest, choice: Choice) -> None:
    """An engine chooses as it was built to."""
    if not choice.with_prior and (manifest.score.prior_weight or manifest.shortlist is not None):
        raise ContractError(
            f"{folder}: built with its prior, asked for prior={choice.prior!r}; rebuild it with `puvae build --prior "
            f"{choice.prior}`"
        )
    own = manifest.shortlist or len(manifest.classes)
    if choice.shortlist not in (None, own):
        raise ContractError(
            f"{folder}: built to decode {own} of {len(manifest.classes)} classes, asked for shortlist="
            f"{choice.shortlist}; rebuild it with `puvae build --shortlist {choice.shortlist}`"
        )


def _check_quality(folder: Path, manifest: Manifest) -> None:
    if manifest.quality is None:
        logger.warning("%s: its quality was never verified; run `puvae verify %s`", folder, folder)
    elif not manifest.quality.passed:
        failures = "; ".join(manifest.quality.failures)
        raise QualityError(f"{folder}: did not pass its quality gate ({failures}), expected a pass; rebuild it")


def _chosen_classifier(source: str, classifier: str | Path) -> Path:
    """An .onnx file, or one of the classifiers shipped with the model `source`."""
    is_name = isinstance(classifier, str) and not classifier.endswith(".onnx") and not {"/", os.sep} & {*classifier}
    if is_name and source in shipped_names():
        return shipped(source).classifier(str(classifier))
    path = Path(classifier)
    if not path.is_file():
        raise BundleError(
            f"classifier {str(classifier)!r}: no such file; give an .onnx file with input `image` and output `logits`, "
            "or the name of a shipped one"
        )
    return path


def from_bundle(folder: Path, target: str | None = None, judged: bool = True) -> Source:
    """`open_bundle` by its old name, until 0.3."""
    warnings.warn(f"from_bundle is now open_bundle; the old name goes in {GONE_IN}", DeprecationWarning, stacklevel=2)
    return open_bundle(folder, target, require_quality=judged)
