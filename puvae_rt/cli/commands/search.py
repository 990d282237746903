"""Search the coefficients of PuVAE's losses (the paper's Figure 4), on the validation split.

Each trial trains a proxy, PuVAE with a fully connected encoder, which is several times cheaper than Table 1's and ranks
losses alike. Attacks are crafted on the source classifier M_s only: no classifier that is to be defended takes part in
the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.training.settings import AUTO, DEVICES, SearchSettings

HINT = "run the same command again to continue; finished trials are kept"


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae search`."""

    dataset: str = option(SearchSettings.dataset, help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(SearchSettings.runs, help=f"{shared.RUNS_HELP}; M_s is read there")
    results: Path = option(SearchSettings.out, help=f"{shared.RESULTS_HELP}; written to", old=("--out",), role=SEALED)
    train_images: int = option(
        SearchSettings.images, help="number of training images of a trial", least=1, old=("--images",)
    )
    epochs: int = option(SearchSettings.epochs, help="epochs of a trial", least=1)
    validation_images: int = option(
        SearchSettings.validation, help="number of validation images", least=1, old=("--validation",)
    )
    seed: int = option(SearchSettings.seed, help="seed of everything random", least=0, most=shared.MAX_SEED)
    device: str = option(AUTO, help=shared.DEVICE_HELP, choices=DEVICES)


def run(options: Options) -> Outcome:
    """Run the trials that are not there yet; the accuracy of each."""
    from puvae_rt.training.search import search, table

    device = shared.take_device(options.device)
    found = search(
        SearchSettings(
            dataset=options.dataset,
            data=options.data,
            runs=options.runs,
            out=options.results,
            images=options.train_images,
            epochs=options.epochs,
            validation=options.validation_images,
            seed=options.seed,
            device=device,
        )
    )
    return Outcome(found | {"device": device}, table(found["results"]))
