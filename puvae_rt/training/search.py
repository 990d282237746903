"""`python -m puvae_rt.training.search`: the coefficient search (the paper's Figure 4), on the validation split.

Each trial trains a proxy, PuVAE with a fully connected encoder, which is several times cheaper than Table 1's
and ranks losses alike. Attacks are crafted on the source classifier M_s only: no classifier that is to be defended
takes part in the choice. Finished trials are kept; a killed search goes on behind them.
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "search")  # first: --help needs none of what follows

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from puvae_rt.contract import MEASURED, ImageContract, Score
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.data.archive import open_archive
from puvae_rt.errors import DataError
from puvae_rt.files import atomic_file, write_json, write_text
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import HIDDEN, Ranks
from puvae_rt.pictures import panels, save_figure
from puvae_rt.refusal import shown
from puvae_rt.schema import Share, Text, decode, read_json
from puvae_rt.training.artefacts import load_classifier
from puvae_rt.training.device import device_of, resolve
from puvae_rt.training.loop import fit
from puvae_rt.training.plan import make_folder, require_made_for, require_positive
from puvae_rt.training.recipes import OURS, PAPER, REPLAYS, Recipe, Schedule
from puvae_rt.training.selection import accuracies, accuracy_table, validation_inputs
from puvae_rt.training.settings import SearchSettings
from puvae_rt.training.tasks import PuvaeTask

_MAX_BYTES = 16 << 20
_REMEDY = "move it away to start afresh"
PICTURES = 8  # images of which a trial shows its projection
PLAIN = replace(PAPER, reconstruction=1.0, kl=1.0)
NOISY = replace(PLAIN, input_noise=0.5)
RANKED = replace(NOISY, ranking=20.0)
PROXY_OURS = replace(OURS, threshold_start=False)  # the proxy has no convolutions to start from
TRIALS = {
    "paper": PAPER,
    "reconstruction .1": replace(PAPER, reconstruction=0.1),
    "reconstruction 1": replace(PAPER, reconstruction=1.0),
    "reconstruction 1, kl 1": PLAIN,
    "same, source 0": replace(PLAIN, source=0.0),
    "same, input noise .5": NOISY,
    "noise .5, ranking": RANKED,
    "noise .5, ranking, 3 negatives": replace(RANKED, negatives=3),
    "noise .7, ranking tau .1, 3 negatives": replace(PROXY_OURS, self_attack=0.0),
    "same, self-attack .3": PROXY_OURS,
    "same, 9 negatives": replace(PROXY_OURS, negatives=9),
}
SCORES = {"rmse": Score(), "tau .1": Score(0.1), "tau .3": Score(0.3), "tau .3, kl .3": Score(0.3, 0.3)}


@dataclass(frozen=True)
class _Trial:
    trial: Text
    accuracy: Mapping[Text, Mapping[Text, Share]]  # of each score, on each kind of image


@dataclass(frozen=True)
class _Finished:
    results: tuple[_Trial, ...]


class Proxy(PuVAE):
    """PuVAE with W1a T(x) replaced by one fully connected layer on the pixels."""

    def __init__(self, contract: ImageContract, classes: int) -> None:
        super().__init__(contract, classes, Ranks(1, None))
        self.trunk = nn.Flatten()
        self.fc1_image = nn.Linear(contract.pixels, HIDDEN)


def run_trial(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    source: nn.Module,
    schedule: Schedule,
    inputs: dict[str, Tensor],
    labels: Tensor,
) -> tuple[dict[str, Any], Any]:
    """One trial's row and its projections of the first validation images, uint8 [PICTURES,C,H,W]."""
    schedule = replace(schedule, replays=REPLAYS if recipe.self_attack else 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        model = Proxy(dataset.contract, len(dataset.classes)).to(device_of(source))
    curve = fit(PuvaeTask(model, source, recipe), dataset.train, schedule, {})
    accuracy = accuracies(model, inputs, labels, SCORES)
    with torch.no_grad():
        candidates, kl = model.project(inputs["clean"][:PICTURES].to(device_of(source)))
    shown = candidates.cpu()[torch.arange(len(candidates)), labels[:PICTURES]]
    row = {"trial": name, "recipe": recipe.record(), "schedule": schedule.record(), "images": len(dataset.train)}
    row |= {"kl_nats": float(kl.mean()), "final_loss": curve[-1]["loss"], "accuracy": accuracy}
    return row, (shown * 255).round().to(torch.uint8).numpy()


def search(args: SearchSettings) -> dict[str, Any]:
    """Runs every trial that has not been run yet; returns the rows of all and leaves them in OUT.

    Raises:
        DataError, ContractError, CheckpointError: before anything is trained.
    """
    for option in ("images", "epochs", "validation"):  # before anything is trained
        require_positive(option, getattr(args, option))
    dataset = load_dataset(args.dataset, args.data)
    dataset = replace(dataset, train=dataset.train.head(args.images))
    file = args.runs / dataset.name / "source.safetensors"
    source, meta = load_classifier(file)
    require_made_for(file, meta, dataset, "train it on these images, with `puvae train`")
    source.to(resolve(args.device))
    inputs, labels = validation_inputs(dataset, source, args.validation, args.seed)
    path = args.out / f"search_{dataset.name}.json"
    rows, pictures = read_finished(path)
    make_folder(args.out)
    for name in tqdm([name for name in TRIALS if name not in pictures], desc="trials"):
        schedule = Schedule(epochs=args.epochs, seed=args.seed).fit_to(len(dataset.train))
        row, pictures[name] = run_trial(name, TRIALS[name], dataset, source, schedule, inputs, labels)
        rows.append(row)
        write(path, rows, pictures)
    draw(path, inputs["clean"][:PICTURES])
    return {"dataset": dataset.name, "split": "validation", "results": rows}


def read_finished(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and pictures of the trials done already; DataError when the two files do not belong together."""
    if not path.exists():
        return [], {}
    document = read_json(path, _MAX_BYTES, _REMEDY, DataError, finite=False)
    decode(document, _Finished, str(path), _REMEDY, DataError)
    rows: list[dict[str, Any]] = document["results"]
    with open_archive(path.with_suffix(".npz"), "a search's pictures", _REMEDY) as stored:
        if lacking := [row["trial"] for row in rows if row["trial"] not in stored.names]:
            raise DataError(f"{path}: {stored.path.name} has no pictures of {shown(lacking[0])}; {_REMEDY}")
        pictures = {row["trial"]: stored.array(row["trial"]) for row in rows}
    return rows, pictures


def write(path: Path, rows: list[dict[str, Any]], pictures: dict[str, Any]) -> None:
    """Pictures first: a row is only ever there with its picture."""
    with atomic_file(path.with_suffix(".npz")) as part:
        np.savez_compressed(part, **pictures)
    write_json(path, {"split": "validation", "evidence": MEASURED, "results": rows})


def draw(path: Path, originals: Tensor) -> None:
    """The pictures (PNG) and the table (Markdown) beside the results."""
    rows, pictures = read_finished(path)
    strips = {"input": (originals * 255).numpy()} | {row["trial"]: pictures[row["trial"]] for row in rows}
    figure, axes = panels(len(strips), 1, (9, 0.8 * len(strips)))
    for panel, (name, images) in zip(axes[:, 0], strips.items(), strict=True):
        strip = np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1).squeeze()  # [H, PICTURES*W(, 3)]
        panel.imshow(strip.astype(np.uint8), cmap="gray", vmin=0, vmax=255)
        panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        panel.set_xticks([])
        panel.set_yticks([])
    save_figure(figure, path.with_suffix(".png"), dpi=110)
    write_text(path.with_suffix(".md"), table(rows) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    """Accuracy of the chosen class, %, for each trial and score."""
    return accuracy_table(
        "trial | score",
        ((f"{row['trial']} | {score}", found) for row in rows for score, found in row["accuracy"].items()),
    )
