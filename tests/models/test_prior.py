"""The prior: what it computes, in its own file and in its PuVAE's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from puvae_rt.contract import ImageContract, Score
from puvae_rt.data import Dataset, Split
from puvae_rt.errors import BuildError, CheckpointError, ContractError
from puvae_rt.models.header import PRIOR_PREFIX
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.selector import Projections, Selector
from puvae_rt.models.spec import PriorLayers, Ranks
from puvae_rt.models.weights import load_weights
from puvae_rt.training.artefacts import load_prior, load_puvae, load_selector, save_prior, save_puvae, save_selector
from puvae_rt.training.initialisation import start_from_thresholds

GRAY, CLASSES = ImageContract(1, 28, 28), 5
LAYERS = PriorLayers(((4, 1), (8, 2), (8, 2)), 16)
FOLDED = 1e-5  # rounding of FP32 through a folded normalization
HALF = 2e-3  # FP16 keeps 11 bits


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *GRAY.shape, generator=torch.Generator().manual_seed(seed))


def prior(seed: int = 0, **options: bool) -> Prior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Prior(GRAY, CLASSES, LAYERS, **options).eval()


def vae(seed: int = 1) -> PuVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PuVAE(GRAY, CLASSES, Ranks(4, 4)).eval()


def dataset() -> Dataset:
    split = Split(np.zeros((4, *GRAY.shape), np.uint8), np.arange(4))
    return Dataset("bars", tuple("abcde"), split, split, split)


@pytest.mark.parametrize("normalized", [False, True])
def test_folding_batch_normalization_changes_nothing(normalized: bool) -> None:
    trained = prior(normalized=normalized, batch_norm=True).train()
    for seed in range(3):
        trained(images(16, seed))  # running statistics that differ from their start
    trained.eval()
    folded = trained.folded()
    assert not any(name.startswith("norms.") for name in folded.state_dict())
    x = images(8, 9)
    assert (folded(x) - trained(x)).abs().max() <= FOLDED * trained(x).abs().max()


def test_contrast_does_not_matter_where_it_is_normalized() -> None:
    x = images(4) * 0.5 + 0.25
    seen, plain = prior(normalized=True), prior()
    darker = 0.6 * x + 0.2
    change, plain_change = ((net(x) - net(darker)).abs().max() for net in (seen, plain))
    assert change < 0.2 * plain_change


def test_threshold_start_ignores_small_perturbations_of_black_and_white() -> None:
    started = prior(batch_norm=True, linear_start=1)
    start_from_thresholds(started)
    black = torch.zeros(1, *GRAY.shape)
    conv = started.convs[0]
    pairs = conv.out_channels // 4
    assert torch.relu(conv(black + 0.2))[:, : 2 * pairs].abs().max() == 0


def test_a_shortlist_is_the_choice_among_the_classes_that_the_prior_ranks_first() -> None:
    whole = Selector(vae(), Score(0.1, prior_weight=2.0), prior())
    short = Selector(whole.vae, whole.score, whole.prior, 2)
    x = images(12)
    with torch.no_grad():
        every, few = whole.project(x), short.project(x)
        first = whole.prior.log_probabilities(x).topk(2, dim=1).indices  # type: ignore[union-attr]
    assert torch.equal(few.classes, first) and few.candidates.shape == (12, 2, *GRAY.shape)
    assert torch.allclose(few.scores, every.scores.gather(1, first), atol=1e-3)
    masked = every.scores.scatter(1, first, every.scores.gather(1, first) - 1e6)
    assert torch.equal(few.chosen(), masked.argmin(1))
    place = (few.classes == few.chosen()[:, None]).float().argmax(1)
    assert torch.equal(few.winners(), few.candidates[torch.arange(12), place])


def test_of_equal_scores_the_lowest_class_wins_wherever_it_is_listed() -> None:
    scores = torch.tensor([[1.0, 0.5, 0.5], [0.5, 0.5, 1.0], [2.0, 3.0, 1.0]])
    classes = torch.tensor([[0, 7, 4], [7, 4, 0], [7, 4, 9]])
    found = Projections(torch.arange(9.0).reshape(3, 3, 1, 1, 1), scores, classes)
    assert found.chosen().tolist() == [4, 4, 9]
    assert found.winners().flatten().tolist() == [2, 4, 8]


def test_the_prior_enters_the_score_with_its_weight() -> None:
    x, net = images(6), prior()
    near = Selector(vae(), Score(0.1), None).project(x).scores
    both = Selector(vae(), Score(0.1, prior_weight=3.0), net).project(x).scores
    assert torch.allclose(both - near, -3.0 * net.log_probabilities(x), atol=1e-3)


def test_a_selector_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(ContractError, match="expected a prior"):
        Selector(vae(), Score(prior_weight=1.0))
    with pytest.raises(ContractError, match="expected a prior"):
        Selector(vae(), Score(), shortlist=3)
    for wrong in (1, CLASSES + 1):
        with pytest.raises(ContractError, match=f"shortlist={wrong}: expected 2 to 5"):
            Selector(vae(), Score(), prior(), wrong)
    for layers in ({"convs": ()}, {"convs": ((4, 3),)}, {"hidden": 0}):
        with pytest.raises(ContractError, match="expected 1 to"):
            replace(LAYERS, **layers)  # type: ignore[arg-type]


def test_a_prior_reads_back(tmp_path: Path) -> None:
    save_prior(tmp_path / "prior.safetensors", prior(), dataset(), {"schedule": {"epochs": 1}})
    back, meta = load_prior(tmp_path / "prior.safetensors")
    assert torch.equal(back(images(3)), prior()(images(3))) and meta["schedule"] == {"epochs": 1}
    with pytest.raises(CheckpointError, match="expected puvae"):
        load_puvae(tmp_path / "prior.safetensors")


def test_puvae_and_prior_read_back_from_one_file(tmp_path: Path) -> None:
    path, score = tmp_path / "w.safetensors", Score(0.2, prior_weight=4.0)
    whole = Selector(vae(), score, prior(), 3)
    save_selector(path, whole, Score(0.1), dataset(), {})
    back, distance, _ = load_selector(path)
    assert (back.score, back.shortlist, distance) == (score, 3, Score(0.1))
    x = images(4)
    with torch.no_grad():
        assert (back.project(x).candidates - whole.project(x).candidates).abs().max() <= HALF
        assert back.prior is not None and (back.prior(x) - prior()(x)).abs().max() <= HALF * prior()(x).abs().max() * 10
    assert torch.equal(load_puvae(path)[0].fc3.bias, back.vae.fc3.bias)

    weights = load_weights(path)
    assert (weights.score, weights.prior, weights.shortlist) == (score, LAYERS, 3)
    assert all(value.dtype == np.float32 for value in weights.tensors.values())
    plain = load_weights(path, prior=False)
    assert (plain.score, plain.prior, plain.shortlist) == (Score(0.1), None, None)
    assert not any(name.startswith(PRIOR_PREFIX) for name in plain.tensors)
    assert load_weights(path, shortlist=2).shortlist == 2 and load_weights(path, shortlist=5).shortlist is None
    with pytest.raises(ContractError, match="shortlist=6: expected 2 to 5"):
        load_weights(path, shortlist=6)
    with pytest.raises(ContractError, match="without a prior"):
        load_weights(path, prior=False, shortlist=2)


def test_a_file_without_a_prior_is_chosen_by_distance(tmp_path: Path) -> None:
    save_puvae(tmp_path / "w.safetensors", vae(), dataset(), Score(0.1), {})
    back, distance, _ = load_selector(tmp_path / "w.safetensors")
    assert (back.prior, back.shortlist, back.score) == (None, None, distance)
    assert load_weights(tmp_path / "w.safetensors").prior is None
    with pytest.raises(CheckpointError, match="no such file"):
        load_selector(tmp_path / "absent.safetensors")


def test_a_shortlist_of_more_classes_than_there_are_is_refused_by_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_selector(path, Selector(vae(), Score(), prior(), 3), Score(), dataset(), {})
    wrong = path.read_bytes().replace(b'\\"shortlist\\": 3', b'\\"shortlist\\": 9')
    assert wrong != path.read_bytes()
    path.write_bytes(wrong)
    with pytest.raises(CheckpointError, match="shortlist"):
        load_selector(path)
    with pytest.raises(BuildError, match="shortlist"):
        load_weights(path)
