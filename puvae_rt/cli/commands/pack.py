"""Pack a model for shipping: weights, graphs, classifiers and test images with stored attacks in one folder.

The attacks are on the first --classifier. Images whose terms do not allow it stay out (--no-images): builds then take
those of the data set. With --keep only the purifier of a packed model is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, WRITTEN, option
from puvae_rt.errors import ContractError

_settings = shared.own("export.settings")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae pack`."""

    weights: Path = option(help="trained weights of the purifier, .safetensors", old=("--puvae",), role=READ)
    out: Path = option(help="folder to write, called as the model: puvae_rt/assets/mnist", role=WRITTEN)
    source_classifier: Path | None = option(
        None, help="the classifier M_s that the purifier was trained with, .safetensors", old=("--source",), role=READ
    )
    classifier: tuple[Path, ...] | None = option(
        None, help="classifiers to defend, .safetensors; the first is attacked", old=("--target",), role=READ
    )
    keep: Path | None = option(
        None,
        help="packed model whose classifiers, images and attacks are taken, in place of --source-classifier and "
        "--classifier",
        metavar="FOLDER",
    )
    images: int = option(1000, help="number of test images to attack and ship", least=1, old=("--samples",))
    no_images: bool = option(False, help="ship none of the images: builds verify on the user's data set")
    half: bool = option(False, help="store the classifiers' weights in FP16; they are computed in FP32")
    classifier_rank: int = option(
        _settings.RANK,
        help=f"rank of the classifiers' fully connected layers of over {_settings.LARGE // 10**6} million weights",
        metavar="R",
    )
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)


def run(options: Options) -> Outcome:
    """Write the folder; what is in it."""
    trained = (options.source_classifier, options.classifier)
    if (options.keep and any(trained)) or (not options.keep and not all(trained)):
        raise ContractError("give the classifiers once: as --source-classifier and --classifier, or as those of --keep")
    assets = shared.own("export.assets")
    if options.keep:
        result = assets.repack(options.weights, options.keep, options.out)
        return Outcome(result, _table(result))
    samples, thin = shared.own("export.attacked_samples"), shared.own("export.thin_classifier")
    parts = assets.Parts.load(options.weights, options.source_classifier, options.classifier)
    assets.check_request(parts, options.out, options.classifier_rank)
    dataset = samples.dataset_of(parts.puvae.model, parts.puvae.classes, parts.puvae.contract, options.data)
    result = assets.pack(
        parts.thin(samples.choose(dataset.train, thin.IMAGES), options.classifier_rank, shared.note),
        options.weights,
        samples.choose(dataset.test, options.images),
        options.out,
        shared.note,
        ship_images=not options.no_images,
        half=options.half,
    )
    return Outcome(result, _table(result))


def _table(result: dict[str, Any]) -> str:
    if "kept" in result:
        lines = [f"{result['folder']}: kept {', '.join(result['kept'])}"]
    else:
        shipped = "" if "samples.npz" in result["bytes"] else ", not shipped"
        lines = [f"{result['folder']}: {result['images']} test images{shipped}"]
    lines += [f"  {size:>9,} bytes  {name}" for name, size in result["bytes"].items()]
    for key in result:
        if key.startswith(prefix := "accuracy_"):
            shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in result[key].items())
            lines.append(f"  accuracy of {key.removeprefix(prefix)} without a purifier: {shares}")
    return "\n".join(lines)
