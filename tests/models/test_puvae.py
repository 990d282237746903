"""The model is Table 1: shapes, the phase form of the dilated trunk, the two label inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from puvae_rt.contract import ImageContract
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.puvae import PuVAE, merge_phases, split_phases
from puvae_rt.models.spec import ARCHITECTURES, Ranks
from tests.tolerances import EXACT_ATOL, LIGHT

SHAPES = [pytest.param(ImageContract(1, 28, 28), id="mnist"), pytest.param(ImageContract(3, 32, 32), id="cifar10")]


@pytest.mark.parametrize("contract", SHAPES)
def test_trunk_equals_three_dilated_convolutions(contract: ImageContract) -> None:
    torch.manual_seed(0)
    model = PuVAE(contract, 10, Ranks(4, 4))
    x = expected = torch.rand(3, *contract.shape)
    for conv in model.trunk.convs:
        expected = F.relu(F.conv2d(expected, conv.weight, conv.bias, padding=6, dilation=2))
    torch.testing.assert_close(model.trunk(x), expected.flatten(1), atol=EXACT_ATOL, rtol=0)


@pytest.mark.parametrize("contract", SHAPES)
def test_phases_split_and_merge_are_inverse(contract: ImageContract) -> None:
    x = torch.rand(2, *contract.shape)
    assert torch.equal(merge_phases(split_phases(x), contract.height, contract.width), x)


@pytest.mark.parametrize("contract", SHAPES)
@pytest.mark.parametrize("classes", [2, 43])
def test_projection_of_each_class_is_the_plain_forward_pass(contract: ImageContract, classes: int) -> None:
    torch.manual_seed(0)
    model = PuVAE(contract, classes, Ranks(4, 4))
    x = torch.rand(3, *contract.shape)
    candidates, kl = model.project(x)
    assert candidates.shape == (3, classes, *contract.shape) and kl.shape == (3, classes)
    onehot = F.one_hot(torch.full((3,), 1), classes).float()
    expected = model.decode(model.encode(x, onehot).mu, onehot)
    torch.testing.assert_close(candidates[:, 1], expected, atol=EXACT_ATOL, rtol=0)


def test_normalised_projections_take_the_light_of_their_image() -> None:
    torch.manual_seed(0)
    model = PuVAE(ImageContract(3, 32, 32), 4, Ranks(4, 4), normalized=True)
    x = torch.rand(3, 3, 32, 32)
    candidates, kl = model.project(x)
    darker, same_kl = model.project(0.4 * x + 0.1)
    torch.testing.assert_close(darker, 0.4 * candidates + 0.1, atol=LIGHT, rtol=0)
    torch.testing.assert_close(same_kl, kl, atol=LIGHT, rtol=LIGHT)
    flat, _ = model.project(torch.full((1, 3, 32, 32), 0.3))
    assert flat.isfinite().all() and (flat - 0.3).abs().max() < 0.05  # no contrast to give


def test_sampling_without_noise_names_the_shape_it_needs() -> None:
    model = PuVAE(ImageContract(1, 28, 28), 10, Ranks(4, 4))
    with pytest.raises(ValueError, match=r"noise of shape \[2,10,32\]"):
        model.project(torch.rand(2, 1, 28, 28), sigma_eps=0.1)


def test_other_image_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="resize"):
        PuVAE(ImageContract(1, 64, 64), 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("contract", SHAPES)
def test_classifiers_take_both_image_shapes(name: str, contract: ImageContract) -> None:
    assert classifier(name, contract, 7)(torch.rand(2, *contract.shape)).shape == (2, 7)
