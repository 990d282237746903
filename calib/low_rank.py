"""`python -m calib.low_rank`: the large layers of a trained PuVAE as products of two thin ones each.

FC1 alone holds 25,088 x 1,024 weights, which no single frame can amortise; the trunk's two large convolutions take
most of the multiplications. A layer's *outputs* over real images fill few dimensions: projecting them on their leading
principal directions U gives W ~ U (U^T W), far better than the singular vectors of W itself. For a 7x7 convolution the
outputs are those of its seven columns, so that it becomes a 7x1 convolution to few channels and a 1x7 behind it. A
short training in factored form closes the rest.
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "low-rank")  # first: --help needs none of what follows

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt.contract import NAME_RULE, Score, is_name
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.errors import CheckpointError, ContractError
from puvae_rt.models.puvae import DilatedTrunk, PuVAE, split_phases
from puvae_rt.models.spec import KERNEL, WIDTH, Ranks, check_ranks
from puvae_rt.models.weights import product
from puvae_rt.schema import Positive, decode
from puvae_rt.training.artefacts import LOW_RANK, load_classifier, load_puvae, save_puvae
from puvae_rt.training.device import resolve
from puvae_rt.training.plan import Plan, Reader, Stage, require_made_for, require_positive
from puvae_rt.training.recipes import FINE_TUNING, Recipe, Schedule, attack_scale
from puvae_rt.training.selection import accuracies, validation_inputs
from puvae_rt.training.settings import LowRankSettings
from puvae_rt.training.stages import train_stage
from puvae_rt.training.tasks import PuvaeTask, random_noise

IMAGES = 4000  # whose activations decide the directions; half of them noisy
CHUNK = 250
NOISE = 0.5


@dataclass(frozen=True)
class _Schedule:
    replays: Positive
    bf16: bool = False


@dataclass(frozen=True)
class _Trained:
    """How the full model was trained: the fine-tuning does alike."""

    recipe: Recipe
    schedule: _Schedule


def factor(model: PuVAE, images: Tensor, ranks: Ranks, seed: int = 0) -> PuVAE:
    """A PuVAE of the given ranks, closest to `model` on `images` [N,C,H,W] in [0,1]; None leaves a layer dense.

    A model that is factored already is multiplied back first.

    Raises:
        ContractError: a rank is as large as the layer.
    """
    check_ranks(ranks)
    model = expanded(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        thin = PuVAE(model.contract, model.classes, ranks, model.normalized)
        noisy = images.clone()
        noisy[::2] = (noisy[::2] + random_noise(noisy[::2], NOISE * attack_scale(model.contract))).clamp(0, 1)
        parts = torch.split(noisy, CHUNK)
        thin.load_state_dict({k: v for k, v in model.state_dict().items() if k in thin.state_dict()}, strict=False)
        if ranks.trunk is not None:
            _factor_trunk(model, thin, parts)
        features, hidden = _activations(model, parts)
        if ranks.fc1 is not None:
            _factor(model.fc1_image, thin.fc1_image, features)
        if ranks.fc2 is not None:
            _factor(model.fc2, thin.fc2, hidden)
    return thin.eval()


def expanded(model: PuVAE) -> PuVAE:
    """The same function with every layer dense."""
    if model.ranks == Ranks():
        return model
    tensors = dict(model.state_dict())
    for layer in [name for name, module in model.named_modules() if isinstance(module, nn.Sequential)]:
        first, second, bias = (tensors.pop(f"{layer}.{part}") for part in ("0.weight", "1.weight", "1.bias"))
        tensors |= {f"{layer}.weight": torch.from_numpy(product(first.numpy(), second.numpy())), f"{layer}.bias": bias}
    dense = PuVAE(model.contract, model.classes, normalized=model.normalized)
    dense.load_state_dict(tensors)
    return dense.eval()


def _activations(model: PuVAE, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The outputs of FC1's image half and of FC2 (a random class for each image), [N, HIDDEN] each."""
    features = torch.cat([model.features(part) for part in parts])
    classes = torch.randint(model.classes, (len(features),), device=features.device)
    return features, model.fc2(F.relu(features + model.fc1_label.weight.T[classes]))


def _factor(dense: Any, thin: Any, outputs: Tensor) -> None:
    """y = W v + b  ->  U (U^T W v) + b', exact for the mean of `outputs` [N, HIDDEN]."""
    first, second = thin
    mean = outputs.mean(dim=0)
    u = _principal((outputs - mean).T @ (outputs - mean), first.out_features)  # [HIDDEN, r]
    first.weight.copy_(u.T @ dense.weight)
    second.weight.copy_(u)
    second.bias.copy_(mean - u @ (u.T @ (mean - dense.bias)))


def _factor_trunk(model: PuVAE, thin: PuVAE, parts: Sequence[Tensor]) -> None:
    """The second and third convolution."""
    dense, factored = (cast(DilatedTrunk, m.trunk).convs for m in (model, thin))
    inputs = [split_phases(model.seen(part)) for part in parts]  # [4N,C,H/2,W/2]
    for i in range(1, len(dense)):
        inputs = [F.relu(dense[i - 1](part)) for part in inputs]
        _factor_convolution(dense[i], factored[i], inputs)


def _factor_convolution(dense: Any, thin: Any, inputs: Iterable[Tensor]) -> None:
    """A 7x7 kernel as its columns' outputs, the products of [c,7] patches with M [c*7, o*7], of which only the leading
    directions U are kept: M ~ (M U) U^T. Not centred: a bias would be wrong where the padding begins."""
    columns, rows = thin
    outputs = dense.weight.permute(1, 2, 0, 3).reshape(WIDTH * KERNEL, -1)  # M: [c,a] -> [o,b]
    moments = outputs.new_zeros(len(outputs), len(outputs))
    for part in inputs:
        patches = F.unfold(part, (KERNEL, 1), padding=(KERNEL // 2, 0)).transpose(0, 1).flatten(1)  # [c*7, positions]
        moments += patches @ patches.T
    u = _principal(outputs.T @ moments @ outputs, columns.out_channels)  # [o*7, r]
    columns.weight.copy_((outputs @ u).T.reshape(columns.weight.shape))  # [r,c,7,1]
    rows.weight.copy_(u.reshape(WIDTH, KERNEL, -1).transpose(1, 2).unsqueeze(2))  # [o,r,1,7]
    rows.bias.copy_(dense.bias)


def _principal(moments: Tensor, rank: int) -> Tensor:
    """The leading eigenvectors of a symmetric matrix, [M, rank]."""
    directions: Tensor = torch.linalg.eigh(moments)[1]  # eigenvalues ascend
    return directions[:, -rank:]


def fine_tune(
    stage: Stage, model: PuVAE, source: nn.Module, dataset: Dataset, recipe: Recipe, schedule: Schedule
) -> None:
    """Train the factored `model` in place."""
    identity = _identity(dataset, recipe, model.ranks)
    train_stage(stage, PuvaeTask(model, source, recipe), dataset.train, schedule, identity)


def _identity(dataset: Dataset, recipe: Recipe, ranks: Ranks) -> dict[str, Any]:
    images = {"dataset": dataset.name, "images": len(dataset.train)}
    return images | {"recipe": recipe.record(), "ranks": [*ranks]}


def _made_for(dataset: Dataset, read: Reader, file: Path) -> tuple[Any, dict[str, Any]]:
    model, meta = read(file)
    require_made_for(file, meta, dataset, "train it on these images, with `puvae train`")
    return model, meta


def run(args: LowRankSettings) -> dict[str, Any]:
    """Factors and fine-tunes, or reads back what is finished; validation accuracy of every step.

    Raises:
        DataError, ContractError, CheckpointError: before anything is trained.
    """
    ranks = Ranks(args.fc1, args.fc2, args.trunk)
    check_ranks(ranks)
    for option in ("epochs", "validation"):
        require_positive(option, getattr(args, option))
    if not is_name(args.puvae):
        raise ContractError(f"puvae={args.puvae[:80]!a}: expected {NAME_RULE} (--name)")
    dataset = load_dataset(args.dataset, args.data)
    stage = Stage(args.runs / dataset.name, f"{args.puvae}{LOW_RANK}", resolve(args.device))
    full, meta = _made_for(dataset, load_puvae, stage.folder / f"{args.puvae}.safetensors")
    source, _ = _made_for(dataset, load_classifier, stage.folder / "source.safetensors")
    file = stage.folder / f"{args.puvae}.safetensors"
    trained = decode(meta, _Trained, str(file), "train it again", CheckpointError)
    schedule = replace(FINE_TUNING, epochs=args.epochs, replays=trained.schedule.replays, bf16=trained.schedule.bf16)
    schedule = schedule.fit_to(len(dataset.train))
    history = {key: value for key, value in meta.items() if key in ("recipe", "schedule", "init")}
    history |= {"fine_tuning": schedule.record()}
    recipe, score = trained.recipe, Score(**meta["score"])
    plan = Plan(stage, schedule, _identity(dataset, recipe, ranks), history | {"ranks": ranks._asdict()}, load_puvae)
    plan.check()
    factored = factor(full, torch.from_numpy(dataset.train.head(IMAGES).batch(slice(None))[0]), ranks)
    if not stage.weights.exists():
        thin = copy.deepcopy(factored).to(stage.device)
        fine_tune(stage, thin, source.to(stage.device), dataset, recipe, schedule)
        save_puvae(stage.weights, thin, dataset, score, history)
    fine_tuned, _ = plan.finished()
    inputs, labels = validation_inputs(dataset, source, args.validation, FINE_TUNING.seed)
    models = {"full": full, "factored": factored, "fine_tuned": fine_tuned}
    accuracy = {
        name: accuracies(model.to(stage.device), inputs, labels, {"": score})[""] for name, model in models.items()
    }
    summary = {"dataset": dataset.name, "split": "validation", "n": len(labels), "evidence": "measured"}
    return summary | {"ranks": ranks._asdict(), "accuracy": accuracy}
