"""`python -m calib.low_rank`: FC1 and FC2 of a trained PuVAE as products of thin matrices.

FC1 alone holds 25,088 x 1,024 weights, which no single frame can amortise. Its *outputs* over real images fill few
dimensions: projecting them on their leading principal directions U gives W ~ U (U^T W), far better than the
singular vectors of W itself. A short training in factored form closes the rest.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from puvae_rt.command import run_command
from puvae_rt.contract import Score
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE, Ranks
from puvae_rt.models.spec import HIDDEN
from puvae_rt.training.artefacts import load_classifier, load_puvae, save_puvae
from puvae_rt.training.recipes import PUVAE_SCHEDULE, Recipe, Schedule
from puvae_rt.training.search import accuracies, validation_inputs
from puvae_rt.training.stages import Stage, train_stage
from puvae_rt.training.tasks import PuvaeTask, random_noise

SHIPPED_RANKS = Ranks(fc1=48, fc2=96)  # 7 MB of weights for MNIST
FINE_TUNING = replace(PUVAE_SCHEDULE, epochs=2, learning_rate=3e-4)
IMAGES = 4000  # whose activations decide the directions; half of them noisy
CHUNK = 500
NOISE = 0.5


def factor(model: PuVAE, images: Tensor, ranks: Ranks, seed: int = 0) -> PuVAE:
    """A PuVAE with FC1 and FC2 of the given ranks, closest to `model` on `images` [N,C,H,W] in [0,1].

    Raises:
        ContractError: `model` is factored already, or a rank is missing or as large as the layer.
    """
    if model.ranks != Ranks():
        raise ContractError(f"model of ranks {tuple(model.ranks)}: expected dense layers; factor the full model")
    for name, rank in ranks._asdict().items():
        if rank is None or not 0 < rank < HIDDEN:
            raise ContractError(f"rank of {name}: got {rank}, expected 1 to {HIDDEN - 1} (--{name})")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        thin = PuVAE(model.contract, model.classes, ranks)
        features, hidden = _activations(model, images)
    thin.load_state_dict({k: v for k, v in model.state_dict().items() if k in thin.state_dict()}, strict=False)
    _factor(model.fc1_image, thin.fc1_image, features)
    _factor(model.fc2, thin.fc2, hidden)
    return thin.eval()


def _activations(model: PuVAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of FC1's image half and of FC2 (a random class for each image), [N, HIDDEN] each."""
    noisy = images.clone()
    noisy[::2] = (noisy[::2] + random_noise(noisy[::2], NOISE)).clamp(0, 1)
    features = torch.cat([model.features(part) for part in torch.split(noisy, CHUNK)])
    classes = torch.randint(model.classes, (len(images),))
    return features, model.fc2(relu(features + model.fc1_label.weight.T[classes]))


@torch.no_grad()
def _factor(dense: Any, thin: Any, outputs: Tensor) -> None:
    """y = W v + b  ->  U (U^T W v) + b', exact for the mean of `outputs` [N, HIDDEN]."""
    first, second = thin
    mean = outputs.mean(dim=0)
    _, directions = torch.linalg.eigh((outputs - mean).T @ (outputs - mean))  # eigenvalues ascend
    u = directions[:, -first.out_features :]  # [HIDDEN, r]
    first.weight.copy_(u.T @ dense.weight)
    second.weight.copy_(u)
    second.bias.copy_(mean - u @ (u.T @ (mean - dense.bias)))


def fine_tune(
    stage: Stage, model: PuVAE, source: nn.Module, dataset: Dataset, recipe: Recipe, schedule: Schedule
) -> None:
    identity = {"dataset": dataset.name, "images": len(dataset.train), "recipe": asdict(recipe)}
    train_stage(stage, PuvaeTask(model, source, recipe), dataset.train, schedule, identity | {"ranks": [*model.ranks]})


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Factors and fine-tunes, or reads back what is finished; validation accuracy of every step."""
    dataset = load_dataset(args.dataset, args.data)
    folder: Path = args.runs / dataset.name
    full, meta = load_puvae(folder / f"{args.puvae}.safetensors")
    source, _ = load_classifier(folder / "source.safetensors")
    score = Score(**meta["score"])
    images = torch.from_numpy(dataset.train.head(IMAGES).batch(slice(None))[0])
    factored = factor(full, images, Ranks(args.fc1, args.fc2))
    stage = Stage(folder, f"{args.puvae}_low_rank")
    if not stage.weights.exists():
        thin = copy.deepcopy(factored)
        schedule = replace(FINE_TUNING, epochs=args.epochs, replays=meta["schedule"]["replays"])
        fine_tune(stage, thin, source, dataset, Recipe(**meta["recipe"]), schedule)
        history = {key: meta[key] for key in ("recipe", "schedule")} | {"fine_tuning": asdict(schedule)}
        save_puvae(stage.weights, thin, dataset, score, history)
    fine_tuned, _ = load_puvae(stage.weights)
    if fine_tuned.ranks != factored.ranks:
        raise ContractError(
            f"{stage.weights}: ranks {tuple(fine_tuned.ranks)}; asked for {args.fc1}, {args.fc2}; move it away"
        )
    inputs, labels = validation_inputs(dataset, source, args.validation, FINE_TUNING.seed)
    models = {"full": full, "factored": factored, "fine_tuned": fine_tuned}
    accuracy = {name: accuracies(model, inputs, labels, {"": score})[""] for name, model in models.items()}
    ranks = fine_tuned.ranks._asdict()
    return {"dataset": dataset.name, "split": "validation", "n": len(labels), "ranks": ranks, "accuracy": accuracy}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m calib.low_rank", description=__doc__)
    p.add_argument("--dataset", default="mnist", help="as for puvae_rt.train (default: mnist)")
    p.add_argument("--data", type=Path, help="as for puvae_rt.train")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where puvae_rt.train wrote (default: runs)")
    p.add_argument("--puvae", default="puvae_ours", help="name of the full model's file (default: %(default)s)")
    p.add_argument("--fc1", type=int, default=SHIPPED_RANKS.fc1, help="rank of FC1 (default: %(default)s)")
    p.add_argument("--fc2", type=int, default=SHIPPED_RANKS.fc2, help="rank of FC2 (default: %(default)s)")
    p.add_argument("--epochs", type=int, default=FINE_TUNING.epochs, help="of fine-tuning (default: %(default)s)")
    p.add_argument("--validation", type=int, default=2000, help="images of the report (default: %(default)s)")
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def show(summary: dict[str, Any]) -> str:
    lines = ["| FC1, FC2 | clean | noise | FGSM on M_s | iFGSM on M_s |", "| --- | --- | --- | --- | --- |"]
    for name, accuracy in summary["accuracy"].items():
        cells = " | ".join(f"{100 * accuracy[kind]:.1f}" for kind in ("clean", "noise", "fgsm", "ifgsm"))
        lines.append(f"| {name.replace('_', '-')} | {cells} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: run(args), show, args.json, "the same command goes on from the last checkpoint")


if __name__ == "__main__":
    sys.exit(main())
